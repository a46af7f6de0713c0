/** What the keys of an event do, each on a cluster of real processes that runs all of them at once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { checkLedger, type LedgerCheck } from '../../src/testing/ledger-checker.ts';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { type Agents, instances, startAgents } from './agents.fixture.ts';
import { runHoldfast, until } from './cluster.fixture.ts';
import {
  command,
  type EventsFolder,
  type EventsView,
  eventsFolder,
  linesOf,
  never,
  openView,
} from './events.fixture.ts';
import type { Note } from './journal.fixture.ts';

const post = (name: string) => `run: {post: /holdfast/events/${name}}`;

let postgres: TestPostgres;
let folder: EventsFolder;
let view: EventsView;
let agents: Agents;

before(async () => {
  postgres = await startTestPostgres();
  const database = await postgres.createDatabase();
  folder = await eventsFolder({
    database,
    ttl: '2s',
    heartbeat: '400ms',
    each: ['each'],
    gates: ['gate', 'often'],
    events: {
      skip: `every: 1s, ${post('skip')}, payload: {workMs: 1400}`,
      delay: `every: 2s, ${post('delay')}, overlap: delay, payload: {workMs: 2600, onlyEveryMs: 4000}`,
      allow: `every: 1s, ${post('allow')}, overlap: allow, payload: {workMs: 1500}`,
      each: `every: 2s, ${post('each')}, on: each`,
      prefer: `every: 1s, ${post('prefer')}, on: {prefer: work-2}`,
      designated: `every: 1s, ${post('designated')}, on: designated, appointed: {post: /appointment}, dismissed: {post: /appointment}, payload: {workMs: 100}`,
      gate: 'every: 6s, run: gate, payload: {workMs: 50}',
      often: 'every: 1s, run: gate, payload: {workMs: 10}',
      limit: `${never}, ${post('limit')}, overlap: allow, limit: 1`,
      retry: `${never}, ${post('retry')}, retry: {times: 3, backoff: 300ms, maxBackoff: 1s}`,
      timeout: `${never}, run: {command: "${command}"}, timeout: 3s`,
      abandon: `${never}, ${post('abandon')}, lost: abandon`,
      manual: `${never}, run: {command: "${command}"}`,
    },
    extra: `alarm: { on: [failed, abandoned], command: 'printf "%s\\n" "$HOLDFAST_ALARM" >> FOLDER/alarms' }`,
  });
  view = openView(folder, database);
  agents = await startAgents(folder, view);
});
after(async () => {
  await agents?.dispose();
  await view?.close();
  await folder?.remove();
  await postgres?.stop();
});

const holdfast = async (...args: string[]) => {
  const { code, out, err } = await runHoldfast([...args, '-c', folder.configFile], folder.folder);
  assert.equal(code, 0, err);
  return out;
};

/** Waits for that many ended executions of the event and answers them in their order. */
async function ended(event: string, count: number) {
  const found = await until(
    async () => (await view.executions(event)).filter(({ how }) => how === 'completed'),
    ({ length }) => length >= count,
    30_000,
  );
  return found.sort((one, other) => one.beganMs - other.beganMs);
}

const mostAtOnce = (executions: readonly { beganMs: number; endedMs: number | undefined }[]): number =>
  Math.max(
    ...executions.map(
      ({ beganMs }) =>
        executions.filter((one) => one.beganMs <= beganMs && (one.endedMs ?? Infinity) > beganMs).length,
    ),
  );

test('overlap: skip does not run what is due while the one before it runs, and says so', async () => {
  assert.equal(mostAtOnce(await ended('skip', 3)), 1);
  const skipped = (await view.occurrences('skip')).filter(({ outcome }) => outcome === 'skipped');
  assert.ok(skipped.length >= 2);
  for (const { reason } of skipped) assert.match(reason ?? '', /still runs on work-\d/);
});

test('overlap: delay runs each in turn, after the one before it has ended', async () => {
  const executions = await ended('delay', 5);
  assert.equal(mostAtOnce(executions), 1);
  const waited = executions.filter(({ beganMs, dueMs }) => beganMs - dueMs > 400);
  assert.ok(waited.length > 0, 'none had to wait');
  const dues = executions.map(({ dueMs }) => dueMs);
  assert.deepEqual(
    dues,
    dues.toSorted((one, other) => one - other),
  );
  const rows = (await view.occurrences('delay')).filter(({ dueMs }) => dueMs <= (dues.at(-1) ?? 0));
  assert.deepEqual(new Set(rows.map(({ outcome }) => outcome)), new Set(['succeeded']));
});

test('overlap: allow runs both', async () => {
  assert.ok(mostAtOnce(await ended('allow', 4)) >= 2);
});

test('on: each runs on every instance, each for itself', async () => {
  const executions = await ended('each', 7);
  assert.deepEqual([...new Set(executions.map(({ agent }) => agent))].sort(), [...instances]);
  for (const { agent, place } of executions) assert.equal(place, agent);
  const rows = await view.occurrences('each');
  assert.deepEqual([...new Set(rows.map(({ place }) => place))].sort(), [...instances]);
});

test('limit: one instance works on so many at once, and the others take the rest', async () => {
  for (let round = 0; round < 7; round++) await view.trigger('limit', { workMs: 600 });
  const executions = await ended('limit', 7);
  for (const instance of instances)
    assert.ok(mostAtOnce(executions.filter(({ agent }) => agent === instance)) <= 1, instance);
  assert.ok(mostAtOnce(executions) >= 2, 'nothing ran at the same time');
});

test('retry: a failed attempt is made again after a pause that doubles, and the ledger has each', async () => {
  const { occurrence } = await view.trigger('retry', { failures: 2, workMs: 10 });
  assert.equal((await view.done(occurrence)).outcome, 'succeeded');
  const runs = await view.runsOf(occurrence);
  assert.deepEqual(
    runs.map(({ outcome }) => outcome),
    ['failed', 'failed', 'succeeded'],
  );
  assert.match(runs[0]?.reason ?? '', /500/);
  const pauses = runs.slice(1).map(({ startedMs }, index) => startedMs - (runs[index]?.endedMs ?? 0));
  assert.ok((pauses[0] ?? 0) >= 300 && (pauses[1] ?? 0) >= 600, `pauses of ${pauses} ms`);

  const hopeless = await view.trigger('retry', { failures: 9 });
  const failed = await view.done(hopeless.occurrence);
  assert.deepEqual([failed.outcome, failed.attempts], ['failed', 4]);
});

test('timeout: a command that takes longer is killed with everything that it started, and has failed', async () => {
  const { occurrence } = await view.trigger('timeout', { workMs: 20_000, stubborn: true, child: true });
  const done = await view.done(occurrence);
  assert.equal(done.outcome, 'failed');
  assert.equal(done.reason, 'timed out after 3s');
  const [run] = await view.runsOf(occurrence);
  const lastMs = (notes: readonly Note[]) =>
    notes.filter(({ token }) => token === run?.token).at(-1)?.atMs ?? Infinity;
  assert.ok((await view.notes()).some(({ token, what }) => token === run?.token && what === 'child'));
  const before = lastMs(await view.notes());
  assert.ok(before <= (run?.endedMs ?? 0) + 50, 'it worked after its end was in the ledger');
  await delay(300);
  assert.equal(lastMs(await view.notes()), before, 'something of it still works');
});

test('lost: abandon does not run it again', async () => {
  const { occurrence } = await view.trigger('abandon', { workMs: 20_000 });
  const first = await view.begun(occurrence, 1);
  process.kill(first.pid, 'SIGKILL');
  const done = await view.done(occurrence);
  assert.deepEqual([done.outcome, done.attempts], ['abandoned', 1]);
  assert.match(done.reason ?? '', /instance died/);
  await agents.allUp();
});

test('the alarm is told of what failed and what was abandoned, of nothing else, and of each', async () => {
  const wrong = async () =>
    (
      await view.query<{ id: string; event: string; outcome: string }>(
        "select event, outcome from holdfast.occurrence where outcome in ('failed', 'abandoned') order by id",
      )
    ).map(({ event, outcome }) => `${event} ${outcome}`);
  const told = await until(
    () => linesOf<{ event: string; outcome: string; text: string }>(folder, 'alarms'),
    ({ length }) => length >= 3,
  );
  assert.deepEqual(told.map(({ event, outcome }) => `${event} ${outcome}`).sort(), (await wrong()).sort());
  for (const { text, event } of told) assert.ok(text.includes(event), text);
});

test('a person asks for a run with a payload of their own, and it is in the ledger who', async () => {
  const out = await holdfast(
    ...['events', 'trigger', 'manual', '--payload', '{"workMs": 20}', '--by', 'berta', '--wait', '--json'],
  );
  assert.match(out, /"outcome": ?"succeeded"/);
  const [row] = await view.occurrences('manual');
  assert.deepEqual([row?.cause, row?.asked, row?.outcome], ['manual', 'berta', 'succeeded']);
  const [run] = await view.runsOf(row?.id ?? '');
  assert.match(run?.result ?? '', /^worked as attempt 1$/m);
  const began = (await view.notes()).find(({ token, what }) => token === run?.token && what === 'began');
  assert.deepEqual(began?.detail, { workMs: 20 });
});

test('pause and resume: nothing is due in between, and it goes on afterwards', async () => {
  await holdfast('events', 'pause', 'prefer', '--reason', 'wrong tax rate', '--by', 'ada');
  const pausedMs = Date.now();
  await delay(2_500);
  const resumingMs = Date.now();
  await holdfast('events', 'resume', 'prefer');
  await until(
    () => view.occurrences('prefer'),
    (rows) => rows.some(({ dueMs, outcome }) => dueMs > resumingMs && outcome === 'succeeded'),
  );
  const meanwhile = (await view.occurrences('prefer')).filter(
    ({ dueMs }) => dueMs > pausedMs && dueMs < resumingMs - 300,
  );
  assert.ok(meanwhile.length >= 2);
  for (const { outcome, reason } of meanwhile)
    assert.deepEqual([outcome, reason], ['skipped', 'paused by ada: wrong tax rate']);
});

test('on: prefer runs there while it can, and elsewhere while it cannot', async () => {
  const sinceMs = Date.now();
  const later = await until(
    async () => (await view.executions('prefer')).filter(({ beganMs }) => beganMs > sinceMs),
    ({ length }) => length >= 2,
  );
  assert.deepEqual(new Set(later.map(({ agent }) => agent)), new Set(['work-2']));
  const { pid } = await agents.member('work-2');
  agents.get('work-2').signal('SIGKILL');
  const killedMs = Date.now();
  process.kill(pid, 'SIGKILL');
  await until(
    async () => (await view.executions('prefer')).filter(({ beganMs }) => beganMs > killedMs),
    (found) => found.some(({ agent, how }) => agent !== 'work-2' && how === 'completed'),
  );
  await agents.allUp();
  const backMs = Date.now() + 1_000;
  await until(
    async () => (await view.executions('prefer')).filter(({ beganMs }) => beganMs > backMs),
    (found) => found.some(({ agent }) => agent === 'work-2'),
  );
});

interface Appointment {
  readonly instance: string;
  readonly change: 'appointed' | 'dismissed';
  readonly pid: number;
  readonly atMs: number;
}

test('on: designated appoints one instance, another one when that is lost, and never two at once', async () => {
  const appointments = () => linesOf<Appointment>(folder, 'appointments');
  const appointed = async () => (await appointments()).findLast(({ change }) => change === 'appointed');
  const first = await until(appointed, Boolean);
  assert.ok(first);
  await ended('designated', 2);
  const lostMs = Date.now();
  const { renewedMs } = await agents.member(first.instance);
  agents.get(first.instance).signal('SIGKILL');
  process.kill((await agents.member(first.instance)).pid, 'SIGKILL');
  const second = await until(appointed, (found) => found !== undefined && found.atMs > lostMs);
  assert.ok(second);
  assert.notEqual(second.instance, first.instance);
  assert.ok(second.atMs >= renewedMs + 2_000, 'the lease of the first had not run out');
  await agents.allUp();

  agents.get(second.instance).signal('SIGTERM');
  const third = await until(appointed, (found) => found !== undefined && found.atMs > second.atMs);
  assert.ok(third);
  const all = await appointments();
  const dismissed = all.find(({ change, pid }) => change === 'dismissed' && pid === second.pid);
  assert.ok(dismissed && dismissed.atMs <= third.atMs, 'dismissed before the next one was appointed');
  await agents.allUp();

  const terms = all
    .filter(({ change }) => change === 'appointed')
    .map(({ instance, pid, atMs }) => ({ instance, pid, atMs }));
  for (const { dueMs, agent, beganMs } of await view.executions('designated')) {
    const term = terms.findLast(({ atMs }) => atMs <= beganMs);
    assert.equal(agent, term?.instance, `the occurrence of ${dueMs} ran where nobody was appointed`);
  }
});

test('run: gate says yes to exactly one of all who ask at the same time', async () => {
  const moments = await until(
    async () => Map.groupBy(await view.executions('gate'), ({ dueMs }) => dueMs),
    ({ size }) => size >= 4,
    30_000,
  );
  for (const [dueMs, executions] of moments) {
    const completed = executions.filter(({ how }) => how === 'completed');
    assert.ok(
      completed.length <= 1,
      `${completed.length} were told yes for ${new Date(dueMs).toISOString()}`,
    );
  }
  const answers = await linesOf<{ instance: string; run: boolean; reason?: string }>(folder, 'gate-answers');
  const refused = answers.filter(({ run }) => !run);
  assert.deepEqual([...new Set(refused.map(({ instance }) => instance))].sort(), [...instances]);
  for (const { reason } of refused) assert.ok(reason);
});

test('run: gate answers at every moment, however close they are', async () => {
  const rows = await view.occurrences('often');
  const first = rows.findIndex(({ outcome }) => outcome === 'succeeded');
  const since = rows.slice(first).filter(({ state }) => state === 'done');
  const count = (wanted: string) =>
    since.reduce((sum, { outcome, dues }) => sum + (outcome === wanted ? dues : 0), 0);
  assert.ok(count('succeeded') >= 10, `${count('succeeded')} succeeded`);
  assert.ok(
    count('missed') * 5 < count('succeeded'),
    `${count('missed')} missed, ${count('succeeded')} succeeded`,
  );
});

test('P1, P2, P3: the checker finds every moment of all this settled once, and no two at work at once', async () => {
  await agents.allUp();
  const counts = await view.assertAllIsWell(20_000);
  assert.ok(counts.moments > 50, JSON.stringify(counts));

  // It would have found more: the same accounts with one entry of each left out or doubled.
  const accounts = await view.accounts(Date.now() - 3_000);
  const { occurrences, runs, journal } = accounts;
  const broken = (changed: Partial<LedgerCheck>) =>
    checkLedger({ ...accounts, ...changed }).violations.map((text) => text.slice(0, 2));
  const skipped = journal.findLast(({ event }) => event === 'skip');
  const settled = occurrences.find(({ event, outcome }) => event === 'skip' && outcome === 'skipped');
  const succeeded = runs.find(({ outcome }) => outcome === 'succeeded');
  assert.ok(skipped && settled && succeeded);
  assert.ok(broken({ occurrences: occurrences.filter((one) => one !== settled) }).includes('P2'));
  assert.ok(broken({ journal: journal.filter(({ token }) => token !== succeeded.token) }).includes('P2'));
  assert.ok(broken({ journal: [...journal, { ...skipped, beganMs: skipped.beganMs + 1 }] }).includes('P1'));
  assert.ok(
    broken({ runs: runs.map((run) => (run === succeeded ? { ...run, token: '1' } : run)) }).length > 0,
  );
});
