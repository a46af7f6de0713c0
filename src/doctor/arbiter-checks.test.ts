import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import type { ReplicationView } from '../members/durability.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { judgeStandby, judgeTakeover } from './arbiter-checks.ts';
import { judgeConnections, judgeLatency, percentile } from './arbiter-load-checks.ts';
import {
  arbiterTableChecks,
  expectedTables,
  judgeBloat,
  judgeHotUpdates,
  judgeTables,
  type TableView,
} from './arbiter-table-checks.ts';
import type { Check, Finding } from './check.ts';
import { checks } from './checks.ts';
import type { DoctorContext } from './context.ts';

const alone: ReplicationView = { synchronousNames: '', synchronousCommit: 'on', receivers: [] };
const standby = (syncState: string) => ({ name: 'db2', state: 'streaming', syncState });

test('a standby that commits wait for is green, none or a late one yellow, a missing one red', () => {
  const verdictOf = (view: Partial<ReplicationView>, hosts = 2) =>
    judgeStandby({ ...alone, ...view }, hosts).verdict;
  assert.equal(verdictOf({ synchronousNames: 'db2', receivers: [standby('sync')] }), 'green');
  const unfindable = verdictOf({ synchronousNames: 'db2', receivers: [standby('sync')] }, 1);
  assert.equal(unfindable, 'yellow', 'the address names one host');
  assert.equal(verdictOf({ receivers: [standby('async')] }), 'yellow');
  assert.equal(verdictOf({}), 'yellow');
  assert.equal(verdictOf({ synchronousNames: 'db2' }), 'red');
  assert.equal(verdictOf({ receivers: [{ name: null, state: null, syncState: null }] }), 'yellow');
});

test('the worst take-over is lease, heartbeat, two statements and the fence, and a long one is yellow', () => {
  const health = { unhealthyAfter: 2, everyMs: 1_000, timeoutMs: 500 };
  const judge = (ttlMs: number, fenceMs?: number): Finding =>
    judgeTakeover({
      lease: { ttlMs, heartbeatMs: 1_000 },
      fence: fenceMs === undefined ? undefined : { kind: 'command', command: 'true', timeoutMs: fenceMs },
      app: { health } as Parameters<typeof judgeTakeover>[0]['app'],
    });
  assert.deepEqual(judge(5_000).figures, { worstCaseMs: 12_000, usersMovedAfterMs: 2_500 });
  assert.equal(judge(5_000).verdict, 'green');
  assert.equal(judge(5_000, 20_000).figures?.worstCaseMs, 32_000);
  assert.equal(judge(5_000, 20_000).verdict, 'yellow');
});

test('connections are counted at the limits of all pools, with what others hold and without what is reserved', () => {
  const budget = {
    ...{ max: 100, reserved: 3, instances: 3, balancers: 1, hasKeys: false },
    used: [{ name: 'holdfast agent shop-1', count: 5 }],
  };
  const seen = judgeConnections(budget);
  assert.deepEqual(seen.figures, {
    ...{ inUse: 5, usable: 97, maxConnections: 100, reserved: 3 },
    ...{ poolsAtMost: 3 * (6 + 9 + 8) + 2, others: 0 },
  });
  assert.equal(seen.verdict, 'green');
  const withOthers = (count: number) => [...budget.used, { name: 'shop', count }];
  assert.equal(judgeConnections({ ...budget, used: withOthers(12) }).verdict, 'yellow');
  assert.equal(judgeConnections({ ...budget, used: withOthers(30) }).verdict, 'red');
  assert.equal(
    judgeConnections({ ...budget, instances: 1, used: [{ name: 'holdfast cli', count: 90 }] }).verdict,
    'red',
  );
  assert.equal(judgeConnections({ ...budget, hasKeys: true }).figures?.poolsAtMost, 3 * 23 + 10);
});

test('percentiles are values that were measured', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(values, 50), 50);
  assert.equal(percentile(values, 99), 99);
  assert.equal(percentile([7], 99), 7);
  assert.equal(percentile([], 50), 0);
});

test('commits are judged by the heartbeat that they are', () => {
  const verdictOf = (commitMs: number) =>
    judgeLatency({ readMs: [1], commitMs: [1, commitMs], heartbeatMs: 1_000 }).verdict;
  assert.equal(verdictOf(250), 'green');
  assert.equal(verdictOf(251), 'yellow');
  assert.equal(verdictOf(1_001), 'red');
});

const table = (name: string, changed: Partial<TableView> = {}): TableView => ({
  ...{
    name,
    persistence: 'p',
    bytes: 8_192,
    live: 100,
    dead: 0,
    updates: 0,
    hotUpdates: 0,
    isVacuumed: true,
  },
  ...changed,
});

test('a missing table and an UNLOGGED one are named, with the statement that mends it', () => {
  assert.equal(judgeTables(['member'], [table('member')]).verdict, 'green');
  assert.match(
    judgeTables(['member', 'lease'], [table('member')]).evidence[0] ?? '',
    /holdfast\.lease: missing/,
  );
  const unlogged = judgeTables(['member'], [table('member', { persistence: 'u' })]);
  assert.equal(unlogged.verdict, 'red');
  assert.match(unlogged.remedy ?? '', /alter table holdfast\.member set logged;/);
});

test('the share of HOT updates is judged where there were enough of them', () => {
  assert.equal(judgeHotUpdates([table('member', { updates: 4_999 })]).verdict, 'green');
  assert.equal(judgeHotUpdates([table('member', { updates: 5_000, hotUpdates: 4_000 })]).verdict, 'green');
  const cold = judgeHotUpdates([table('session_seen', { updates: 5_000, hotUpdates: 3_999 })]);
  assert.equal(cold.verdict, 'yellow');
  assert.match(cold.evidence[0] ?? '', /session_seen: 79 % of 5000/);
});

test('dead rows, a vacuum that is off and an old transaction are named', () => {
  assert.equal(judgeBloat([table('member')], { ageMs: 1_000, application: 'psql' }).verdict, 'green');
  const bloated = judgeBloat([table('member', { dead: 10_001 })], undefined);
  assert.match(bloated.evidence.join(' '), /10001 dead rows beside 100 live ones/);
  const unkept = judgeBloat([table('member'), table('lease', { isVacuumed: false })], undefined);
  assert.match(unkept.evidence.join(' '), /off for holdfast\.lease/);
  const old = judgeBloat([table('member')], { ageMs: 3_600_000, application: 'psql' });
  assert.equal(old.verdict, 'yellow');
  assert.match(old.evidence.join(' '), /"psql" has been open for 60 minutes/);
});

suite('on a real PostgreSQL', () => {
  let postgres: TestPostgres;
  let arbiter: Arbiter;

  before(async () => {
    postgres = await startTestPostgres();
    arbiter = openArbiter({ url: await postgres.createDatabase(), max: 2 });
  });

  after(async () => {
    await arbiter.close();
    await postgres.stop();
  });

  const contextWith = (own: Arbiter): DoctorContext =>
    ({
      arbiter: own,
      arbiterAddress: 'postgres://here',
      clock: systemClock,
      newMark: () => 'abcdef0123456789',
    }) as unknown as DoctorContext;

  const run = (id: string, own = arbiter): Promise<Finding> =>
    (checks.find((one) => one.id === id) as Check).run(contextWith(own));

  test('it is a primary, and its tables are those that the migrations create', async () => {
    assert.equal((await run('arbiter.primary')).verdict, 'green');
    const rows = await arbiter.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'holdfast'::regnamespace and relkind = 'r'`,
    );
    const inDatabase = rows.map(({ name }) => name).filter((name) => name !== 'migration');
    assert.deepEqual((await expectedTables()).toSorted(), inDatabase.toSorted());
    for (const { id } of arbiterTableChecks) assert.equal((await run(id)).verdict, 'green', id);
  });

  test('a table that was dropped is missing', async () => {
    const own = openArbiter({ url: await postgres.createDatabase() });
    await own.query('drop table holdfast.alarm');
    const finding = await run('arbiter.tables', own);
    await own.close();
    assert.equal(finding.verdict, 'red');
    assert.match(finding.evidence[0] ?? '', /holdfast\.alarm: missing/);
  });

  test('a notification is heard on a direct connection', async () => {
    const finding = await run('arbiter.notifications');
    assert.equal(finding.verdict, 'green', finding.evidence.join(' '));
  });

  test('a pooler in transaction mode, which lends the connection that listens to others, is found by trying', async () => {
    // As PgBouncer does it: LISTEN is answered, and runs on a server connection that the client does not keep.
    const pooled: Arbiter = {
      ...arbiter,
      listen: (_channels, handlers, options) =>
        arbiter.listen(['another_channel'], { ...handlers, onNotify: () => assert.fail('heard') }, options),
    };
    const finding = await run('arbiter.notifications', pooled);
    assert.equal(finding.verdict, 'red');
    assert.match(finding.evidence[0] ?? '', /PgBouncer does this with pool_mode = transaction/);
  });

  test('a role without any rights of monitoring gets its answers too', async () => {
    const url = await postgres.createDatabase();
    const admin = openArbiter({ url });
    await admin.query(`create role plain login password 'plain'`);
    await admin.query(`grant usage on schema holdfast to plain`);
    await admin.query(`grant all on all tables in schema holdfast to plain`);
    const own = openArbiter({ url: url.replace(/\/\/[^@]*@/, '//plain:plain@'), max: 2 });
    for (const { id } of checks.filter((one) =>
      /^arbiter\.(primary|standby|notifications|tables|hot|bloat)/.test(one.id),
    ))
      assert.ok(['green', 'yellow'].includes((await run(id, own)).verdict), id);
    const rows = await own.query(`select pg_logical_emit_message(true, 'holdfast doctor', '')`);
    assert.equal(rows.length, 1, 'a commit can be measured');
    await own.close();
    await admin.close();
  });

  test('a database that is not there is the red finding of arbiter.primary', async () => {
    const away = openArbiter({ url: 'postgres://nobody@127.0.0.1:1/none', connectTimeoutMs: 500 });
    const finding = await run('arbiter.primary', away);
    await away.close();
    assert.equal(finding.verdict, 'red');
    assert.match(finding.evidence[0] ?? '', /cannot be reached/);
  });
});
