import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { plainFacts } from '../members/member-facts.fixture.ts';
import { join, leave, type Membership } from '../members/membership.ts';
import type { EventSettings } from '../settings/index.ts';
import { silentLog } from '../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { Appointments } from './appointments.ts';
import { defineEvent } from './definition.ts';

let server: TestPostgres;
let arbiter: Arbiter;
const open: Candidate[] = [];

before(async () => {
  server = await startTestPostgres();
});
after(() => server.stop());
afterEach(async () => {
  for (const { appointments, running } of open.splice(0)) {
    await appointments.close();
    await running;
  }
  await arbiter.close();
});

const settings: EventSettings = {
  name: 'scheduler',
  calendar: undefined,
  run: undefined,
  on: { kind: 'designated' },
  overlap: 'skip',
  missed: { kind: 'latest' },
  lost: { reruns: 3 },
  timeoutMs: 1_000,
  retry: { times: 0, backoffMs: 0, maxBackoffMs: 0 },
  payload: undefined,
  limit: 1,
  appointed: { kind: 'command', command: 'true' },
  dismissed: { kind: 'command', command: 'true' },
};

interface Candidate {
  readonly instance: string;
  readonly member: Membership;
  readonly appointments: Appointments;
  readonly running: Promise<void>;
  readonly told: string[];
  die(): void;
  holds(): boolean;
  /** A heartbeat succeeds. */
  beat(timeline?: number): Promise<void>;
}

/** What an instance answers to its hooks; undefined: it has understood; hangs: nothing. */
type Answers = { appointed?: string | undefined; dismissed?: string | undefined };

async function candidate(instance: string, answers: Answers = {}): Promise<Candidate> {
  const joined = await join(arbiter.query, {
    instance,
    agentId: instance,
    provedDead: [],
    watched: null,
    ttlMs: 5_000,
    state: 'up',
    facts: plainFacts,
  });
  assert.equal(joined.outcome, 'joined');
  const { membership: member } = joined as { membership: Membership };
  const definition = defineEvent(settings, instance);
  const told: string[] = [];
  const death = Promise.withResolvers<void>();
  const appointments = new Appointments({
    query: arbiter.query,
    clock: systemClock,
    log: silentLog,
    instance,
    definitions: [definition],
    lease: { membership: member, mayAct: () => true },
    isEligible: () => true,
    async tell(_definition, change, { signal }) {
      told.push(change);
      if (answers[change] !== 'hangs') return answers[change];
      await systemClock.sleep(60_000, signal);
      return 'ended';
    },
    instanceDied: () => death.promise,
    stopWorkMs: 100,
    async stopInstance() {
      told.push('stopped');
    },
    onAppointed: () => undefined,
  });
  const one: Candidate = {
    instance,
    member,
    appointments,
    told,
    die: () => death.resolve(),
    running: appointments.run(),
    holds: () => appointments.holds(definition),
    async beat(timeline = 1) {
      const [row] = await arbiter.query<{ number: string }>('select number from holdfast.change');
      appointments.renewed({ timeline, change: Number(row?.number) });
    },
  };
  open.push(one);
  return one;
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 5_000;
  while (!condition()) {
    assert.ok(performance.now() < deadlineMs, 'not within five seconds');
    await systemClock.sleep(5);
  }
}

async function two(first?: Answers, second?: Answers): Promise<readonly [Candidate, Candidate]> {
  arbiter = openArbiter({ url: await server.createDatabase() });
  const both = [await candidate('a', first), await candidate('b', second)] as const;
  await Promise.all(both.map((one) => one.beat()));
  return both;
}

const appointedOf = (...all: readonly Candidate[]): Candidate[] => all.filter((one) => one.holds());

test('P1: of several that could be, one is appointed and told so', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length > 0);
  await systemClock.sleep(700); // beyond the turn of the second
  assert.equal(appointedOf(...both).length, 1);
  assert.deepEqual(
    both.flatMap(({ told }) => told),
    ['appointed'],
  );
});

test('whoever resigns is told first, and then another one is appointed', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  const other = both.find((one) => one !== holder);
  await holder?.appointments.resign('it has to go');
  assert.deepEqual(holder?.told, ['appointed', 'dismissed']);
  await other?.beat();
  await until(() => other?.holds() === true);
  assert.equal(holder?.holds(), false);
});

test('when the appointed one is gone, its place is taken', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  const other = both.find((one) => one !== holder);
  await leave(arbiter.query, holder?.member as Membership);
  await other?.beat();
  await until(() => other?.holds() === true);
});

test('P4: when the lease is over the application is told, and stopped if it cannot be told', async () => {
  const deaf = { dismissed: 'no answer' };
  const both = await two(deaf, deaf);
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  holder?.appointments.expired('the lease could not be renewed');
  await until(() => holder?.told.includes('stopped') === true);
  assert.deepEqual(holder?.told, ['appointed', 'dismissed', 'stopped']);
  assert.equal(holder?.holds(), false);
});

test('P4: a hook that is under way does not hold up the dismissal when the lease is over', async () => {
  const both = await two({ appointed: 'hangs' }, { appointed: 'hangs' });
  await until(() => both.some(({ told }) => told.includes('appointed')));
  const chosen = both.find(({ told }) => told.includes('appointed'));
  const startMs = performance.now();
  chosen?.appointments.expired('the lease could not be renewed');
  await until(() => chosen?.told.includes('dismissed') === true);
  assert.ok(performance.now() - startMs < 1_000);
  assert.equal(chosen?.holds(), false);
});

test('an instance that cannot be appointed leaves it to another one', async () => {
  const [first, second] = await two({ appointed: 'out of memory' });
  await until(() => first.holds() || second.holds() || first.told.includes('dismissed'));
  await second.beat();
  await until(() => second.holds());
  assert.equal(first.holds(), false);
});

test('P3: after a failover that has no record of the appointment the appointed one is dismissed', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  const other = both.find((one) => one !== holder);
  await arbiter.query('delete from holdfast.lease');
  await arbiter.query(
    `insert into holdfast.lease values ('event:scheduler', $1, $2, holdfast.next_token(), now())`,
    [other?.instance, String(other?.member.token)],
  );
  await holder?.beat(2);
  await until(() => holder?.told.includes('dismissed') === true);
});

test('after a failover that kept it the appointed one goes on', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  await holder?.beat(2);
  await systemClock.sleep(300);
  assert.deepEqual(holder?.told, ['appointed']);
  assert.equal(holder?.holds(), true);
});

test('a lease that ran out and was renewed before anybody noticed brings the appointment back', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  holder?.appointments.expired('the lease could not be renewed');
  await until(() => holder?.holds() === false);
  await holder?.beat();
  await until(() => holder?.holds() === true);
  assert.deepEqual(holder?.told, ['appointed', 'dismissed', 'appointed']);
});

test('P5: an application that dies is no longer appointed, and another one is, or itself when it is back', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  const other = both.find((one) => one !== holder);
  holder?.die();
  await until(() => holder?.holds() === false);
  assert.deepEqual(holder?.told, ['appointed'], 'there is nobody to be told');
  await systemClock.sleep(50); // the release is on its way
  await other?.beat();
  await until(() => other?.holds() === true);
});

test('P1: the place of a lost instance is not taken before it is fenced', async () => {
  const both = await two();
  await until(() => appointedOf(...both).length === 1);
  const [holder] = appointedOf(...both);
  const other = both.find((one) => one !== holder);
  await arbiter.query(
    `insert into holdfast.fence (instance, asked_at, not_before) values ($1, now(), now())`,
    [holder?.instance],
  );
  await arbiter.query(
    `update holdfast.member set state = 'lost', token = holdfast.next_token() where instance = $1`,
    [holder?.instance],
  );
  await other?.beat();
  await systemClock.sleep(500);
  assert.equal(other?.holds(), false);
  await arbiter.query('select holdfast.fence_done($1)', [holder?.instance]);
  await other?.beat();
  await until(() => other?.holds() === true);
});
