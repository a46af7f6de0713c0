/** The protocol of occurrences and runs on a real PostgreSQL: each rule of migration 0003, and what races cannot do. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { declareLost, join, leave, type MemberFacts, type Membership } from '../members/membership.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import {
  type ClaimAnswer,
  claim,
  type DueClaim,
  defineEvents,
  type EventRow,
  finish,
  type RunResult,
  waiting,
} from './ledger.ts';

let server: TestPostgres;
let arbiter: Arbiter;
let startMs: number;

before(async () => {
  server = await startTestPostgres();
});
after(() => server.stop());

beforeEach(async () => {
  await arbiter?.close();
  arbiter = openArbiter({ url: await server.createDatabase(), max: 8 });
});
after(() => arbiter?.close());

const facts: MemberFacts = {
  host: 'here',
  agentPid: 1,
  address: null,
  pid: null,
  revision: 1,
  healthPage: null,
  reason: null,
};

async function member(instance: string, more: Partial<MemberFacts> = {}): Promise<Membership> {
  const joined = await join(arbiter.query, {
    instance,
    agentId: `${instance}-${Math.random()}`,
    provedDead: [],
    watched: null,
    ttlMs: 5_000,
    state: 'up',
    facts: { ...facts, ...more },
  });
  assert.equal(joined.outcome, 'joined');
  return (joined as { membership: Membership }).membership;
}

/** Its lease runs out, and another one, who has watched for long enough, says so. */
async function lose(lost: Membership): Promise<void> {
  const witness = await member(`witness-${Math.random()}`);
  await arbiter.query(
    `update holdfast.member set unbroken_since = now() - interval '1 h' where instance = $1`,
    [witness.instance],
  );
  await arbiter.query(`update holdfast.member set lease_until = now() - interval '1 s' where instance = $1`, [
    lost.instance,
  ]);
  assert.ok(await declareLost(arbiter.query, witness, lost));
}

const row = (name: string, more: Partial<EventRow> = {}): EventRow => ({
  name,
  place: '',
  calendar: null,
  digest: 'd',
  definition: { on: { kind: 'one' }, overlap: 'skip', lost: { reruns: 1 } },
  alarm: [],
  ...more,
});

/** Defines the event as of an hour ago, so that every test has due moments behind it. */
async function define(...rows: EventRow[]): Promise<void> {
  await defineEvents(arbiter.query, 1, rows);
  const [moved] = await arbiter.query<{ ms: number }>(
    `update holdfast.event_cursor set cursor = date_trunc('second', cursor) - interval '1 h'
      returning holdfast.ms(cursor) as ms`,
  );
  startMs = moved?.ms ?? 0;
}

const due = (name: string, fromMs: number, toMs: number, more: Partial<DueClaim> = {}): DueClaim => ({
  event: name,
  place: '',
  digest: 'd',
  cursorMs: startMs + fromMs,
  toMs: startMs + toMs,
  missed: null,
  dueMs: [startMs + toMs],
  inLine: false,
  overlap: 'skip',
  reruns: 1,
  ...more,
});

async function answers(
  who: Membership,
  ...claims: Parameters<typeof claim>[2][number][]
): Promise<readonly ClaimAnswer[]> {
  const answer = await claim(arbiter.query, who, claims);
  assert.equal(answer.outcome, 'answered', JSON.stringify(answer));
  return (answer as { answers: readonly ClaimAnswer[] }).answers;
}

async function granted(who: Membership, one: Parameters<typeof claim>[2][number]) {
  const [answer] = await answers(who, one);
  assert.equal(answer?.outcome, 'granted', JSON.stringify(answer));
  return answer as Extract<ClaimAnswer, { outcome: 'granted' }>;
}

const result = (token: string, outcome: RunResult['outcome'], more: Partial<RunResult> = {}): RunResult => ({
  token,
  outcome,
  reason: null,
  result: null,
  retryMs: null,
  prefer: null,
  ...more,
});

const ledger = () =>
  arbiter.query<Record<string, unknown>>(
    `select state, outcome, reason, attempts, held, dues from holdfast.occurrence order by due`,
  );

test('P1: of many agents that claim one moment at the same time exactly one is granted it', async () => {
  await define(row('e'));
  const members = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => member(name)));
  const all = await Promise.all(members.map((one) => answers(one, due('e', 0, 10))));
  const outcomes = all.map(([answer]) => answer?.outcome).sort();
  assert.deepEqual(outcomes, ['granted', 'moved', 'moved', 'moved', 'moved', 'moved']);
  assert.equal((await ledger()).length, 1);
});

test("a moment that has not come on the arbiter's clock is refused, with how long to wait", async () => {
  await define(row('e'));
  const [answer] = await answers(await member('a'), due('e', 0, 7_200_000));
  assert.equal(answer?.outcome, 'early');
  assert.ok(answer.outcome === 'early' && Math.abs(answer.waitMs - 3_600_000) < 5_000);
  assert.deepEqual(await ledger(), []);
});

test('a calendar that another revision replaced claims nothing', async () => {
  await define(row('e'));
  const [answer] = await answers(await member('a'), due('e', 0, 10, { digest: 'another' }));
  assert.equal(answer?.outcome, 'changed');
});

test('P2: the result of a run is the outcome of its occurrence', async () => {
  await define(row('e'));
  const who = await member('a');
  const run = await granted(who, due('e', 0, 10));
  assert.equal(run.attempt, 1);
  assert.deepEqual(await finish(arbiter.query, [result(run.token, 'succeeded', { result: '12 invoices' })]), [
    { outcome: 'done' },
  ]);
  assert.deepEqual(await ledger(), [
    { state: 'done', outcome: 'succeeded', reason: null, attempts: 1, held: null, dues: 1 },
  ]);
  const [again] = await finish(arbiter.query, [result(run.token, 'succeeded')]);
  assert.equal(again?.outcome, 'done', 'a result whose answer was lost may be sent again');
  const [other] = await finish(arbiter.query, [result(run.token, 'failed')]);
  assert.equal(other?.outcome, 'ended', 'but it cannot be changed');
});

test('a failed run waits for its next attempt, and the last failure is the outcome', async () => {
  await define(row('e'));
  const who = await member('a');
  const first = await granted(who, due('e', 0, 10));
  await finish(arbiter.query, [result(first.token, 'failed', { reason: 'no', retryMs: 60_000 })]);
  assert.deepEqual(await waiting(arbiter.query, 'a'), [], 'not before its pause is over');
  await arbiter.query(`update holdfast.occurrence set not_before = now()`);
  const [waits] = await waiting(arbiter.query, 'a');
  assert.equal(waits?.attempts, 1);
  const second = await granted(who, { event: 'e', place: '', occurrence: first.occurrence });
  assert.equal(second.attempt, 2);
  assert.ok(BigInt(second.token) > BigInt(first.token), 'P3: tokens rise');
  await finish(arbiter.query, [result(second.token, 'failed', { reason: 'no again' })]);
  const [line] = await ledger();
  assert.deepEqual(
    [line?.state, line?.outcome, line?.reason, line?.attempts],
    ['done', 'failed', 'no again', 2],
  );
});

test('attempts that were lost or given back use up no retry: only failures are counted', async () => {
  await define(row('e'));
  const who = await member('a');
  let run = await granted(who, due('e', 0, 10));
  const failures = [run.failures];
  for (const outcome of ['lost', 'failed', 'returned', 'failed'] as const) {
    await finish(arbiter.query, [result(run.token, outcome, { retryMs: 0 })]);
    run = await granted(who, { event: 'e', place: '', occurrence: run.occurrence });
    failures.push(run.failures);
  }
  assert.deepEqual(failures, [0, 0, 1, 1, 2]);
});

test('P1, P3: an instance that is declared lost loses its runs in the same moment, and its late result is refused', async () => {
  await define(row('e'));
  const lost = await member('a');
  const run = await granted(lost, due('e', 0, 10));
  await lose(lost);
  const [late] = await finish(arbiter.query, [result(run.token, 'succeeded')]);
  assert.equal(late?.outcome, 'ended');
  const successor = await member('b');
  const next = await granted(successor, { event: 'e', place: '', occurrence: run.occurrence });
  assert.equal(next.attempt, 2);
  assert.equal((await claim(arbiter.query, lost, [due('e', 10, 20)])).outcome, 'fenced');
});

test('P2: when all reruns are used up, or there are none, the occurrence is abandoned', async () => {
  await define(row('e'), row('never-twice'));
  const first = await member('a');
  const run = await granted(first, due('e', 0, 10, { reruns: 1 }));
  await granted(first, due('never-twice', 0, 10, { reruns: 0 }));
  await leave(arbiter.query, first);
  const states = async () =>
    arbiter.query(`select event, state, outcome from holdfast.occurrence order by event`);
  assert.deepEqual(await states(), [
    { event: 'e', state: 'waiting', outcome: null },
    { event: 'never-twice', state: 'done', outcome: 'abandoned' },
  ]);
  const second = await member('b');
  await granted(second, { event: 'e', place: '', occurrence: run.occurrence });
  await lose(second);
  assert.deepEqual((await states())[0], { event: 'e', state: 'done', outcome: 'abandoned' });
});

test('a run that was never begun is given back without loss', async () => {
  await define(row('never-twice'));
  const who = await member('a');
  const run = await granted(who, due('never-twice', 0, 10, { reruns: 0 }));
  await finish(arbiter.query, [result(run.token, 'returned')]);
  const [waits] = await waiting(arbiter.query, 'b');
  assert.equal(waits?.occurrence, run.occurrence);
});

test('a run is handed over only to an instance that is known to be there', async () => {
  await define(row('e'));
  const [leaving] = [await member('a'), await member('b')];
  const run = await granted(leaving, due('e', 0, 10));
  const handOver = (prefer: string) => finish(arbiter.query, [result(run.token, 'handed over', { prefer })]);
  assert.deepEqual(await handOver('c'), [{ outcome: 'nobody' }]);
  assert.deepEqual(await handOver('b'), [{ outcome: 'done' }]);
  assert.equal((await waiting(arbiter.query, 'b'))[0]?.prefer, 'b');
});

test('overlap: skip records the reason, delay waits for its turn, allow runs beside', async () => {
  await define(row('skip'), row('delay'), row('allow'));
  const who = await member('a');
  for (const name of ['skip', 'delay', 'allow'] as const)
    await granted(who, due(name, 0, 10, { overlap: name }));
  const second = await answers(
    who,
    ...(['skip', 'delay', 'allow'] as const).map((name) => due(name, 10, 20, { overlap: name })),
  );
  assert.deepEqual(
    second.map(({ outcome }) => outcome),
    ['skipped', 'recorded', 'granted'],
  );
  assert.match((second[0] as { reason: string }).reason, /still runs on a$/);
});

test('delayed occurrences run one after the other, in order', async () => {
  await define(row('e'));
  const who = await member('a');
  let run: { token: string; dueMs: number } = await granted(who, due('e', 0, 10, { overlap: 'delay' }));
  await answers(who, due('e', 10, 20, { overlap: 'delay' }), due('e', 20, 30, { overlap: 'delay' }));
  for (const offset of [20, 30]) {
    assert.deepEqual(await waiting(arbiter.query, 'a'), []);
    await finish(arbiter.query, [result(run.token, 'succeeded')]);
    const found = await waiting(arbiter.query, 'a');
    assert.equal(found.length, 1);
    run = await granted(who, { event: 'e', place: '', occurrence: found[0]?.occurrence ?? '' });
    assert.equal(run.dueMs, startMs + offset);
  }
});

test('several moments that are caught up with run in line, although overlaps are skipped otherwise', async () => {
  await define(row('e'));
  const who = await member('a');
  const dueMs = [5, 10, 15].map((offset) => startMs + offset);
  const missed = { firstMs: startMs + 1, lastMs: startMs + 3, count: 2, reason: 'too old' };
  const run = await granted(who, due('e', 0, 15, { dueMs, missed, inLine: true }));
  assert.equal(run.dueMs, startMs + 5);
  assert.deepEqual(
    (await ledger()).map(({ state, outcome, held, dues }) => [state, outcome, held, dues]),
    [
      ['done', 'missed', null, 2],
      ['running', null, null, 1],
      ['waiting', null, 'predecessor', 1],
      ['waiting', null, 'predecessor', 1],
    ],
  );
});

test('two agents that finish and claim at once never leave a delayed occurrence without its turn', async () => {
  await define(row('e'));
  const [one, other] = [await member('a'), await member('b')];
  let run = await granted(one, due('e', 0, 1, { overlap: 'delay' }));
  for (let offset = 1; offset < 40; offset++) {
    await Promise.all([
      finish(arbiter.query, [result(run.token, 'succeeded')]),
      answers(other, due('e', offset, offset + 1, { overlap: 'delay' })),
    ]);
    const [running] = await arbiter.query<{ token: string; occurrence: string }>(
      `select token::text, occurrence::text from holdfast.run where ended_at is null`,
    );
    const [waits] = await waiting(arbiter.query, 'a');
    assert.ok(running ?? waits, `nothing runs and nothing may be claimed after ${offset}`);
    run = running
      ? { ...run, ...running }
      : await granted(one, { event: 'e', place: '', occurrence: waits?.occurrence ?? '' });
  }
});

test('P1: a suspected death is fenced before its work goes on; a seen one needs no fence', async () => {
  await define(row('e'), row('f'));
  const suspected = await member('a', { fence: true });
  const seen = await member('b', { fence: true });
  await granted(suspected, due('e', 0, 10));
  await granted(seen, due('f', 0, 10));
  await lose(suspected);
  await leave(arbiter.query, seen);
  assert.deepEqual(
    (await waiting(arbiter.query, 'c')).map(({ event }) => event),
    ['f'],
  );
  await arbiter.query(`select holdfast.fence_done('a')`);
  assert.equal((await waiting(arbiter.query, 'c')).length, 2);
});

test('what is due while an event is paused is skipped with who paused it and why', async () => {
  await define(row('e'));
  const who = await member('a');
  await arbiter.query(`select holdfast.event_pause('e', 'anna@host', 'the mail server is down')`);
  const [answer] = await answers(who, due('e', 0, 10));
  assert.deepEqual(
    [answer?.outcome, (answer as { reason?: string }).reason],
    ['skipped', 'paused by anna@host: the mail server is down'],
  );
  await arbiter.query(`select holdfast.event_resume('e')`);
  await granted(who, due('e', 10, 20));
});

test('an event that a revision no longer has is retired, and agents of an older one cannot bring it back', async () => {
  await define(row('e'), row('f'));
  const who = await member('a');
  await defineEvents(arbiter.query, 2, [row('f')]);
  const known = await defineEvents(arbiter.query, 1, [row('e'), row('f')]);
  assert.deepEqual(
    known.map(({ event }) => event),
    ['f'],
  );
  const [answer] = await answers(who, due('e', 0, 10));
  assert.equal(answer?.outcome, 'changed');
});

test('a new schedule takes over when the old one has been settled, in one statement', async () => {
  await define(row('e'));
  const who = await member('a');
  const [known] = await defineEvents(arbiter.query, 2, [row('e', { digest: 'new' })]);
  assert.deepEqual([known?.digest, known?.revision], ['d', 1]);
  const become = { calendar: null, digest: 'new', revision: 2 };
  const missed = { firstMs: startMs + 1, lastMs: startMs + 1, count: 1, reason: 'the schedule changed' };
  await answers(who, due('e', 0, 10, { dueMs: [], missed, become }));
  const [old] = await answers(who, due('e', 10, 20));
  assert.equal(old?.outcome, 'changed');
  await granted(who, due('e', 10, 20, { digest: 'new' }));
});

test('P3: for one ttl after a failover nothing is granted, because what was granted last may be unknown', async () => {
  await define(row('e'));
  const who = await member('a');
  await arbiter.query(
    `create or replace function holdfast.timeline() returns int language sql stable as 'select 2'`,
  );
  const answer = await claim(arbiter.query, who, [due('e', 0, 10)]);
  assert.equal(answer.outcome, 'grace');
  assert.ok(answer.outcome === 'grace' && answer.waitMs > 4_000 && answer.waitMs <= 5_000);
});

test('the outcome of a run that its application commits is refused when the token is stale', async () => {
  await define(row('e'));
  const lost = await member('a');
  const run = await granted(lost, due('e', 0, 10));
  await arbiter.query('select holdfast.run_check($1, false)', [run.token]);
  await lose(lost);
  await assert.rejects(arbiter.query('select holdfast.run_commit($1, $2)', [run.token, 'done']), {
    code: 'HF001',
    message: /is fenced: declared lost by witness/,
  });
});

test('somebody is to be told of the outcomes that the configuration names, and of no others', async () => {
  await define(row('e', { alarm: ['failed'] }));
  const who = await member('a');
  const good = await granted(who, due('e', 0, 10));
  await finish(arbiter.query, [result(good.token, 'succeeded')]);
  const bad = await granted(who, due('e', 10, 20));
  await finish(arbiter.query, [result(bad.token, 'failed', { reason: 'no' })]);
  const alarms = await arbiter.query<{ alarm: { outcome: string; reason: string } }>(
    'select holdfast.alarm_take(10) as alarm',
  );
  assert.deepEqual(
    alarms.map(({ alarm }) => [alarm.outcome, alarm.reason]),
    [['failed', 'no']],
  );
  assert.deepEqual(
    await arbiter.query('select holdfast.alarm_take(10)'),
    [],
    'nobody else tells it meanwhile',
  );
});

test('what ended long ago is forgotten, what has not ended is kept', async () => {
  await define(row('e'), row('f'));
  const who = await member('a');
  const run = await granted(who, due('e', 0, 10));
  await finish(arbiter.query, [result(run.token, 'succeeded')]);
  await granted(who, due('f', 0, 10));
  const [removed] = await arbiter.query('select holdfast.event_prune(-1, 100) as count');
  assert.deepEqual(removed, { count: 1 });
  assert.deepEqual(
    (await ledger()).map(({ state }) => state),
    ['running'],
  );
});
