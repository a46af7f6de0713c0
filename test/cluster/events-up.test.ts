/** Scheduled events under `holdfast up`, while its parts, and in the end `up` itself, are killed at random moments. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { type Cluster, processesOf, startCluster, until } from './cluster.fixture.ts';
import {
  command,
  type EventsFolder,
  type EventsView,
  eventsFolder,
  linesOf,
  openView,
} from './events.fixture.ts';

const post = (name: string) => `run: {post: /holdfast/events/${name}}`;

let postgres: TestPostgres;
let folder: EventsFolder;
let view: EventsView;
let cluster: Cluster;

before(async () => {
  postgres = await startTestPostgres();
  const database = await postgres.createDatabase();
  folder = await eventsFolder({
    database,
    ttl: '2s',
    heartbeat: '400ms',
    events: {
      short: `every: 1s, ${post('short')}, payload: {workMs: 100, commit: true}`,
      long: `every: 2s, ${post('long')}, overlap: allow, lost: {rerun: 20}, payload: {workMs: 1200, commit: true}`,
      command: `every: 3s, run: {command: "${command}"}, lost: {rerun: 20}, payload: {workMs: 700}`,
      all: `every: 1s, ${post('all')}, missed: all, payload: {commit: true}`,
      few: `every: 1s, ${post('few')}, missed: {all: {count: 2, age: 1h}}, payload: {commit: true}`,
      none: `every: 1s, ${post('none')}, missed: {none: {after: 1s}}, payload: {commit: true}`,
    },
    extra: `alarm: { on: [missed], command: 'printf "%s\\n" "$HOLDFAST_ALARM" >> FOLDER/alarms' }`,
  });
  view = openView(folder, database);
  cluster = await startCluster({ folder: folder.folder });
});
after(async () => {
  await cluster?.dispose();
  await view?.close();
  await postgres?.stop();
});

const random = (below: number): number => Math.floor(Math.random() * below);

/** In the database each occurrence happened once, and it did exactly where the ledger says so. */
async function assertEffectsOnce(): Promise<number> {
  const twice = await view.query(
    'select event, due, count(*) from public.effects group by 1, 2 having count(*) > 1',
  );
  assert.deepEqual(twice, []);
  const different = await view.query(
    `select coalesce(e.event, o.event) as event, coalesce(e.due, o.due) as due, o.outcome, e.token::text
     from public.effects e
     full join (select * from holdfast.occurrence where outcome = 'succeeded'
       and event in ('short', 'long', 'all', 'few', 'none')) o on o.event = e.event and o.due = e.due
     where e.event is null or o.event is null`,
  );
  assert.deepEqual(different, []);
  const tokens = await view.query(
    "select e.token from public.effects e join holdfast.run r using (token) where r.outcome is distinct from 'succeeded'",
  );
  assert.deepEqual(tokens, [], 'effects of runs that did not succeed');
  return (await view.effects()).length;
}

test('P1: what is done in the transaction of the run is done exactly once, whoever is killed meanwhile', async () => {
  const untilMs = performance.now() + 15_000;
  let kills = 0;
  while (performance.now() < untilMs) {
    await delay(300 + random(700));
    const members = await view.query<{ pid: number; agentPid: number }>(
      `select (facts ->> 'pid')::int as pid, (facts ->> 'agentPid')::int as "agentPid" from holdfast.member where state = 'up'`,
    );
    const victim = members[random(members.length)];
    if (!victim) continue;
    const [agent, instance] = [
      [true, false],
      [false, true],
      [true, true],
    ][random(3)] as [boolean, boolean];
    if (agent) killQuietly(victim.agentPid);
    if (instance) killQuietly(victim.pid);
    kills++;
  }
  assert.ok(kills >= 10, `${kills} kills`);
  await cluster.allUp(30_000);
  const counts = await view.assertAllIsWell(20_000);
  const effects = await assertEffectsOnce();
  assert.ok(effects >= 20, `${effects} effects`);
  assert.ok(counts.runs > effects, 'no run was ever lost');
});

test('what was due while nothing lived is caught up with as far as `missed` says, and told where it is not', async () => {
  await view.assertAllIsWell();
  const goneMs = Date.now();
  cluster.process.kill('SIGKILL');
  await untilNothingLives();
  await delay(4_000);
  const returningMs = Date.now();
  cluster = await startCluster({ folder: folder.folder });
  await view.assertAllIsWell(20_000);

  const meanwhile = async (event: string) =>
    (await view.occurrences(event)).filter(
      ({ dueMs, lastDueMs }) => lastDueMs > goneMs + 1_000 && dueMs < returningMs - 200,
    );
  const outcomes = (rows: readonly { outcome: string | null; dues: number }[]) =>
    rows.flatMap(({ outcome, dues }) => Array.from({ length: dues }, () => outcome));

  const all = outcomes(await meanwhile('all'));
  assert.ok(all.length >= 3 && all.every((outcome) => outcome === 'succeeded'), `all: ${all}`);
  // The last moments before the first claim count as still to be run; how many that are, the start's speed decides.
  const none = await meanwhile('none');
  assert.ok(outcomes(none).filter((outcome) => outcome === 'missed').length >= 2, JSON.stringify(none));
  for (const event of ['few', 'short']) {
    const missed = (await meanwhile(event)).filter(({ outcome }) => outcome === 'missed');
    assert.equal(missed.length, 1, `${event}: ${JSON.stringify(missed)}`);
    assert.ok(missed[0]?.reason, event);
  }
  const told = await until(
    () => linesOf<{ event: string; outcome: string }>(folder, 'alarms'),
    (alarms) => new Set(alarms.map(({ event }) => event)).size >= 3,
  );
  assert.deepEqual(new Set(told.map(({ outcome }) => outcome)), new Set(['missed']));
});

test('`up` is killed at random moments and started again five times: nothing is lost, doubled or left over', async () => {
  for (let round = 0; round < 5; round++) {
    await delay(random(2_500));
    cluster.process.kill('SIGKILL');
    if (round % 2 === 0) await delay(random(1_500));
    cluster = await startAgain();
  }
  const counts = await view.assertAllIsWell(25_000);
  await assertEffectsOnce();
  assert.ok(counts.moments > 100, JSON.stringify(counts));
});

/** The lock and the address of the one that was killed are free once its parts have died with it. */
async function startAgain(): Promise<Cluster> {
  await untilNothingLives();
  return startCluster({ folder: folder.folder });
}

const untilNothingLives = () =>
  until(
    async () => processesOf(folder.folder),
    (alive) => alive.length === 0,
  );

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has been killed a moment ago, and the arbiter has not heard of it.
  }
}
