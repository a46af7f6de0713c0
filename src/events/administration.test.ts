import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { acquireLease, releaseLease } from '../leases/named-lease.ts';
import { plainFacts } from '../members/member-facts.fixture.ts';
import { join, leave, type Membership } from '../members/membership.ts';
import { parseConfiguration } from '../settings/index.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import {
  eventNames,
  eventTotals,
  findOccurrences,
  listEvents,
  listRuns,
  overdueAfterMs,
  pauseEvent,
  resumeEvent,
  triggerEvent,
} from './administration.ts';
import { defineEvent, type EventDefinition, eventRow } from './definition.ts';
import { claim, defineEvents, finish, type Grant, waiting } from './ledger.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
let member: Membership;

before(async () => {
  postgres = await startTestPostgres();
});
after(async () => {
  await arbiter?.close();
  await postgres.stop();
});
beforeEach(async () => {
  await arbiter?.close();
  arbiter = openArbiter({ url: await postgres.createDatabase() });
  member = await joined('shop-1');
  await define(1, events);
});

const events = `
  invoices: { schedule: "0 2 * * *", timezone: Europe/Amsterdam, run: { post: /invoices }, retry: { times: 1 } }
  pictures: { every: 1h, on: each, run: { command: ./clean } }
  stock:    { every: 15m, run: { post: /stock } }`;

const settingsOf = (section: string) =>
  parseConfiguration(
    `cluster: shop\napp: { command: node server.js, instances: 2 }\nevents:${section}\n`,
    'shop.yaml',
  ).configuration.events;

async function define(revision: number, section: string, instance = 'shop-1'): Promise<EventDefinition[]> {
  const definitions = settingsOf(section).map((settings) => defineEvent(settings, instance));
  await defineEvents(
    arbiter.query,
    revision,
    definitions.map((definition) => eventRow(definition, [])),
  );
  return definitions;
}

async function joined(instance: string): Promise<Membership> {
  const result = await join(arbiter.query, {
    instance,
    agentId: randomUUID(),
    provedDead: [],
    watched: null,
    ttlMs: 600_000,
    state: 'up',
    facts: plainFacts,
  });
  assert.equal(result.outcome, 'joined');
  return result.membership;
}

/** Claims what a person asked for, as an agent does. */
async function begin(event: string): Promise<Grant> {
  const [found] = (await waiting(arbiter.query, member.instance)).filter((one) => one.event === event);
  assert.ok(found, `${event} waits`);
  const answer = await claim(arbiter.query, member, [
    { event, place: found.place, occurrence: found.occurrence },
  ]);
  assert.equal(answer.outcome, 'answered');
  const [granted] = answer.answers;
  assert.equal(granted?.outcome, 'granted');
  return granted;
}

const end = (
  { token }: Grant,
  outcome: 'succeeded' | 'failed',
  rest: { reason?: string; result?: string; retryMs?: number } = {},
) =>
  finish(arbiter.query, [
    { token, outcome, reason: null, result: null, retryMs: null, prefer: null, ...rest },
  ]);

const eventNamed = async (name: string) => {
  const { events: found } = await listEvents(arbiter.query, { name });
  assert.ok(found[0]);
  return found[0];
};

test('the list has every event with its definition as the configuration has it, and the places it is served at', async () => {
  const { events: listed, nowMs } = await listEvents(arbiter.query);
  assert.ok(Math.abs(nowMs - Date.now()) < 5_000);
  assert.deepEqual(
    listed.map(({ name, open, last, paused }) => ({ name, open, last, paused })),
    ['invoices', 'pictures', 'stock'].map((name) => ({ name, open: [], last: null, paused: null })),
  );
  const configured = JSON.parse(JSON.stringify(settingsOf(events)));
  assert.deepEqual(
    listed.map(({ definition }) => definition),
    configured,
  );
  assert.deepEqual(
    listed.map(({ places }) => places.map(({ place, isServed }) => [place, isServed])),
    [[['', true]], [['shop-1', true]], [['', true]]],
  );
});

test('the place of an instance that has left is listed as not served', async () => {
  await leave(arbiter.query, member);
  const { places } = await eventNamed('pictures');
  assert.deepEqual(
    places.map(({ isServed }) => isServed),
    [false],
  );
});

test('the appointed instance of a designated event is listed for as long as its membership lives', async () => {
  await define(
    2,
    '\n  clock: { on: designated, appointed: { post: /on } }\n  stock: { every: 15m, run: { post: /stock } }',
  );
  const { query } = arbiter;
  const appointed = async (name = 'clock') => (await eventNamed(name)).appointed;
  assert.equal(await appointed(), null);
  const first = await acquireLease(query, 'event:clock', member);
  assert.equal(first.outcome, 'granted');
  await acquireLease(query, 'event:stock', member);
  assert.deepEqual(
    [await appointed(), await appointed('stock')],
    ['shop-1', null],
    'only where it is designated',
  );
  await releaseLease(query, 'event:clock', first.token);
  assert.equal(await appointed(), null, 'given back');

  await acquireLease(query, 'event:clock', member);
  await query(`update holdfast.member set state = 'lost', token = holdfast.next_token()`);
  assert.equal(await appointed(), null, 'lost');
  member = await joined('shop-1');
  assert.equal(await appointed(), null, 'its new membership has not been appointed');
  await acquireLease(query, 'event:clock', member);
  assert.equal(await appointed(), 'shop-1');
  await leave(query, member);
  assert.equal(await appointed(), null, 'left');
});

test('an event that runs shows where and since when; one that waits for its retry shows until when and why', async () => {
  await triggerEvent(arbiter.query, 'invoices', { by: 'alice' });
  const grant = await begin('invoices');
  const [running] = (await eventNamed('invoices')).open;
  assert.deepEqual([running?.state, running?.instance, running?.attempts], ['running', 'shop-1', 1]);
  assert.ok(Math.abs((running?.startedMs ?? 0) - Date.now()) < 5_000);
  await end(grant, 'failed', { reason: 'HTTP 500', retryMs: 30_000 });
  const [retrying] = (await eventNamed('invoices')).open;
  assert.deepEqual(
    [retrying?.state, retrying?.instance, retrying?.held, retrying?.reason],
    ['waiting', null, null, 'HTTP 500'],
  );
  assert.ok((retrying?.notBeforeMs ?? 0) > Date.now() + 20_000);
});

test('the occurrence that ended last is the last one, with its instance and how long it took', async () => {
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  await end(await begin('stock'), 'failed', { reason: 'HTTP 500' });
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  await end(await begin('stock'), 'succeeded');
  const { last } = await eventNamed('stock');
  assert.deepEqual([last?.outcome, last?.instance, last?.dues], ['succeeded', 'shop-1', 1]);
  assert.ok((last?.durationMs ?? -1) >= 0);
});

test('the ledger shows occurrences with their attempts: token, times, outcome, reason and answer of each', async () => {
  await triggerEvent(arbiter.query, 'invoices', { by: 'alice', payload: { month: 1 } });
  const first = await begin('invoices');
  assert.deepEqual(first.payload, { month: 1 });
  await end(first, 'failed', { reason: 'HTTP 500', result: 'oops', retryMs: 0 });
  const second = await begin('invoices');
  await end(second, 'succeeded', { result: '12 invoices' });
  const { occurrences } = await listRuns(arbiter.query, { limit: 10 });
  const [one] = occurrences;
  assert.equal(occurrences.length, 1);
  assert.deepEqual(
    [one?.event, one?.timezone, one?.cause, one?.askedBy, one?.outcome, one?.attempts],
    ['invoices', 'Europe/Amsterdam', 'manual', 'alice', 'succeeded', 2],
  );
  assert.deepEqual(
    one?.runs.map(({ attempt, instance, token, outcome, reason, result }) => ({
      attempt,
      instance,
      token,
      outcome,
      reason,
      result,
    })),
    [
      {
        attempt: 1,
        instance: 'shop-1',
        token: first.token,
        outcome: 'failed',
        reason: 'HTTP 500',
        result: 'oops',
      },
      {
        attempt: 2,
        instance: 'shop-1',
        token: second.token,
        outcome: 'succeeded',
        reason: null,
        result: '12 invoices',
      },
    ],
  );
});

test('runs are filtered by event, outcome, time and number, what is under way first', async () => {
  for (const outcome of ['succeeded', 'failed', 'succeeded'] as const) {
    await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
    await end(await begin('stock'), outcome);
  }
  await triggerEvent(arbiter.query, 'invoices', { by: 'alice' });
  await begin('invoices');
  const outcomes = async (filter: Partial<Parameters<typeof listRuns>[1]>) =>
    (await listRuns(arbiter.query, { limit: 10, ...filter })).occurrences.map(
      ({ outcome, state }) => outcome ?? state,
    );
  assert.deepEqual(await outcomes({}), ['running', 'succeeded', 'failed', 'succeeded']);
  assert.deepEqual(await outcomes({ limit: 2 }), ['running', 'succeeded']);
  assert.deepEqual(await outcomes({ event: 'stock' }), ['succeeded', 'failed', 'succeeded']);
  assert.deepEqual(await outcomes({ outcome: 'failed' }), ['failed']);
  assert.deepEqual(await outcomes({ outcome: 'running' }), ['running']);
  assert.deepEqual(await outcomes({ sinceMs: Date.now() + 60_000 }), ['running']);
});

test('built-in events are left out unless they are asked for', async () => {
  const [stock] = settingsOf(events).filter(({ name }) => name === 'stock');
  assert.ok(stock);
  const builtIn = defineEvent({ ...stock, name: 'holdfast-ledger' }, 'shop-1');
  const rows = settingsOf(events).map((settings) => eventRow(defineEvent(settings, 'shop-1'), []));
  await defineEvents(arbiter.query, 2, [...rows, eventRow(builtIn, [])]);
  await triggerEvent(arbiter.query, 'holdfast-ledger', { by: 'alice' });
  const count = async (filter: Partial<Parameters<typeof listRuns>[1]>) =>
    (await listRuns(arbiter.query, { limit: 10, ...filter })).occurrences.length;
  assert.deepEqual([await count({}), await count({ builtIn: true })], [0, 1]);
  assert.equal(await count({ event: 'holdfast-ledger' }), 1);
  assert.equal((await eventTotals(arbiter.query)).events, 3);
});

test('a triggered event that runs on each instance is asked for at each that is there', async () => {
  await joined('shop-2');
  await define(1, events, 'shop-2');
  const answer = await triggerEvent(arbiter.query, 'pictures', { by: 'alice' });
  assert.equal(answer.outcome, 'asked');
  assert.deepEqual(
    answer.occurrences.map(({ place, held }) => [place, held]),
    [
      ['shop-1', null],
      ['shop-2', null],
    ],
  );
  const ids = answer.occurrences.map(({ occurrence }) => occurrence);
  const found = await findOccurrences(arbiter.query, ids);
  assert.deepEqual(
    found.occurrences.map(({ occurrence, state }) => [occurrence, state]),
    ids.map((id) => [id, 'waiting']),
  );
  assert.deepEqual((await findOccurrences(arbiter.query, ['1'])).occurrences, []);
});

test('a second trigger waits in line behind the first', async () => {
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  const answer = await triggerEvent(arbiter.query, 'stock', { by: 'bob' });
  assert.equal(answer.outcome === 'asked' && answer.occurrences[0]?.held, 'predecessor');
});

test('a payload of null is null, and one that is left out is the one of the configuration', async () => {
  await triggerEvent(arbiter.query, 'stock', { by: 'alice', payload: null });
  await triggerEvent(arbiter.query, 'invoices', { by: 'alice' });
  const rows = await arbiter.query<{ event: string; payload: string | null }>(
    'select event, payload::text from holdfast.occurrence order by event',
  );
  assert.deepEqual(rows, [
    { event: 'invoices', payload: null },
    { event: 'stock', payload: 'null' },
  ]);
});

test('a pause keeps its author and reason until it is resumed; who comes second changes nothing', async () => {
  assert.deepEqual(await pauseEvent(arbiter.query, 'stock', { by: 'alice', reason: 'wrong prices' }), {
    outcome: 'paused',
  });
  assert.deepEqual(await pauseEvent(arbiter.query, 'stock', { by: 'bob', reason: 'me too' }), {
    outcome: 'unchanged',
    by: 'alice',
    reason: 'wrong prices',
  });
  const { paused } = await eventNamed('stock');
  assert.deepEqual([paused?.by, paused?.reason], ['alice', 'wrong prices']);
  assert.equal((await eventTotals(arbiter.query)).paused[0]?.event, 'stock');
  assert.deepEqual(await resumeEvent(arbiter.query, 'stock'), { outcome: 'resumed' });
  assert.deepEqual(await resumeEvent(arbiter.query, 'stock'), { outcome: 'unchanged' });
  assert.equal((await eventNamed('stock')).paused, null);
});

test('an event that nobody has defined is unknown to trigger, pause and resume', async () => {
  const by = 'alice';
  assert.equal((await triggerEvent(arbiter.query, 'nothing', { by })).outcome, 'unknown');
  assert.equal((await pauseEvent(arbiter.query, 'nothing', { by, reason: 'x' })).outcome, 'unknown');
  assert.equal((await resumeEvent(arbiter.query, 'nothing')).outcome, 'unknown');
});

test('an event that the configuration no longer has is not listed, and its runs still are', async () => {
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  await end(await begin('stock'), 'succeeded');
  await define(2, '\n  invoices: { schedule: "0 2 * * *", run: { post: /invoices } }');
  const { events: listed } = await listEvents(arbiter.query);
  assert.deepEqual(
    listed.map(({ name }) => name),
    ['invoices'],
  );
  assert.deepEqual(await eventNames(arbiter.query), {
    current: ['invoices'],
    retired: ['pictures', 'stock'],
  });
  assert.equal((await listRuns(arbiter.query, { event: 'stock', limit: 5 })).occurrences.length, 1);
});

test('the totals count what runs, waits and went wrong, and find what nobody claims', async () => {
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  await end(await begin('stock'), 'failed');
  await triggerEvent(arbiter.query, 'stock', { by: 'alice' });
  await triggerEvent(arbiter.query, 'invoices', { by: 'alice' });
  await begin('invoices');
  const calm = await eventTotals(arbiter.query);
  assert.deepEqual(
    [calm.events, calm.running, calm.waiting, calm.lastDay, calm.unclaimed, calm.fences],
    [3, 1, 1, { failed: 1, missed: 0, abandoned: 0 }, [], []],
  );
  assert.deepEqual(
    calm.cursors.map(({ event, place, isGate }) => [event, place, isGate]),
    [
      ['invoices', '', false],
      ['pictures', 'shop-1', false],
      ['stock', '', false],
    ],
  );
  await arbiter.query(
    `update holdfast.occurrence set not_before = not_before - $1::float8 * interval '1 ms' where state = 'waiting'`,
    [overdueAfterMs + 1_000],
  );
  const late = await eventTotals(arbiter.query);
  assert.deepEqual(
    late.unclaimed.map(({ event }) => event),
    ['stock'],
  );
});
