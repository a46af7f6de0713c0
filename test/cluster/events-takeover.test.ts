/** Who executes dies, freezes, or has to go: real agents, real instances, a real PostgreSQL, and an own journal. */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { type AgentProcess, type Agents, startAgents } from './agents.fixture.ts';
import { until } from './cluster.fixture.ts';
import {
  command,
  type EventsFolder,
  type EventsView,
  eventsFolder,
  linesOf,
  never,
  openView,
} from './events.fixture.ts';
import type { WorkOrder } from './journal.fixture.ts';

const ttlMs = 3_000;
const heartbeatMs = 500;
const stopWorkMs = ttlMs / 5;
/** For a machine that does other things at the same time. */
const slackMs = 3_000;

let postgres: TestPostgres;
let folder: EventsFolder;
let view: EventsView;
let agents: Agents;

before(async () => {
  postgres = await startTestPostgres();
  const database = await postgres.createDatabase();
  folder = await eventsFolder({
    database,
    drain: '2500ms',
    events: {
      // Goes on beneath everything that happens here.
      tick: 'every: 1s, run: {post: /holdfast/events/tick}, payload: {workMs: 50, commit: true}',
      post: `${never}, run: {post: /holdfast/events/post}`,
      command: `${never}, run: {command: "${command}"}`,
    },
    extra: `fence: { command: "date +%s%3N >> FOLDER/fenced-$HOLDFAST_LOST_INSTANCE", timeout: 5s }`,
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
afterEach(async () => {
  await agents.allUp();
  const counts = await view.assertAllIsWell();
  assert.ok((counts.outcomes.succeeded ?? 0) > 0);
});

/** Begins work and answers what is known of its first attempt. */
async function begin(event: string, order: WorkOrder) {
  const { occurrence } = await view.trigger(event, order);
  const first = await view.begun(occurrence, 1);
  await delay(150);
  return { occurrence, first, agent: agents.get(first.agent), member: await agents.member(first.agent) };
}

/** When the executions of both attempts were at work, by their own journal. */
async function attemptsOf(occurrence: string) {
  const runs = await view.runsOf(occurrence);
  const executions = await view.executions();
  return runs.map((run) => ({ run, execution: executions.find(({ token }) => token === run.token) }));
}

async function thaw(agent: AgentProcess): Promise<void> {
  agent.signal('SIGCONT');
  await until(async () => said(agent, /the membership has ended: declared lost by/), Boolean);
  await agents.allUp();
}

const said = (agent: AgentProcess, pattern: RegExp) => agent.messages.some(({ text }) => pattern.test(text));

test('P5: an instance that is killed while it executes is followed by another process at once', async () => {
  const { occurrence, first } = await begin('post', { workMs: 20_000, laterMs: 100 });
  const killedMs = Date.now();
  process.kill(first.pid, 'SIGKILL');
  const second = await view.begun(occurrence, 2);
  assert.ok(second.beganMs - killedMs < slackMs, `${second.beganMs - killedMs} ms later`);
  assert.notEqual(second.pid, first.pid); // its own successor may be the first that is there
  assert.equal((await view.done(occurrence)).outcome, 'succeeded');
  const [lost] = await view.runsOf(occurrence);
  assert.equal(lost?.outcome, 'lost');
  assert.match(lost?.reason ?? '', /instance died/);
});

test('P1, P5: a host that is lost is taken over after its own deadline, and within ttl and heartbeat; the fence comes between', async () => {
  const { occurrence, first, agent, member } = await begin('post', { workMs: 20_000, laterMs: 100 });
  agent.signal('SIGKILL');
  process.kill(first.pid, 'SIGKILL');
  const killedMs = Date.now();
  const { renewedMs } = await agents.member(first.agent);
  const second = await view.begun(occurrence, 2);
  const deadlineMs = renewedMs + ttlMs;
  assert.ok(second.beganMs >= deadlineMs, `${deadlineMs - second.beganMs} ms before the lease had run out`);
  assert.ok(second.beganMs - killedMs < ttlMs + heartbeatMs + 300 + slackMs);
  assert.notEqual(second.agent, first.agent);
  assert.equal((await view.done(occurrence)).outcome, 'succeeded');
  const [lost] = await view.runsOf(occurrence);
  assert.equal(lost?.outcome, 'lost');
  assert.match(lost?.reason ?? '', /declared lost by work-\d/);
  const [fencedMs = 0] = await linesOf<number>(folder, `fenced-${first.agent}`);
  assert.ok((lost?.endedMs ?? 0) <= fencedMs, 'fenced before it was lost');
  assert.ok(fencedMs <= second.beganMs, 'taken over before it was fenced');
  assert.equal(member.instance, first.agent);
});

test('P4: a command whose agent freezes is dead before another instance begins; the thawed agent is refused, and joins anew', async () => {
  const { occurrence, first, agent, member } = await begin('command', {
    workMs: 30_000,
    laterMs: 100,
    stubborn: true,
    child: true,
  });
  agent.signal('SIGSTOP');
  const frozenMs = Date.now();
  const second = await view.begun(occurrence, 2);
  const notes = await view.notes();
  const ofFirst = notes.filter(({ token }) => token === first.token);
  const lastMs = ofFirst.at(-1)?.atMs ?? 0;
  assert.ok(
    ofFirst.some(({ what }) => what === 'child'),
    'the command had started another one',
  );
  assert.ok(lastMs > frozenMs, 'it went on while it was allowed to');
  assert.ok(lastMs < second.beganMs, `it worked until ${lastMs - second.beganMs} ms after the other began`);
  assert.notEqual(second.agent, first.agent);
  await view.done(occurrence);
  await thaw(agent);
  const back = await agents.member(first.agent);
  assert.ok(back.incarnation > member.incarnation);
  assert.equal(back.agentPid, agent.pid);
  const [lost, rerun] = await view.runsOf(occurrence);
  assert.deepEqual([lost?.outcome, rerun?.outcome], ['lost', 'succeeded']);
});

test('P4: a handler whose agent freezes is told in time to stop; the late result of the thawed agent is refused', async () => {
  const { occurrence, first, agent, member } = await begin('post', { workMs: 30_000, laterMs: 100 });
  const { renewedMs } = await agents.member(first.agent);
  agent.signal('SIGSTOP');
  const second = await view.begun(occurrence, 2);
  const aborted = (await view.notes()).find(({ token, what }) => token === first.token && what === 'aborted');
  assert.ok(aborted, 'the handler was not told');
  assert.ok(aborted.atMs < second.beganMs, `told ${aborted.atMs - second.beganMs} ms too late`);
  const margin = aborted.atMs - renewedMs;
  assert.ok(margin > ttlMs / 2 - stopWorkMs, `told ${margin} ms after a renewal that was good for ${ttlMs}`);
  await view.done(occurrence);
  await thaw(agent);
  const back = await agents.member(first.agent);
  assert.ok(back.incarnation > member.incarnation);
  assert.equal(back.pid, member.pid, 'the instance itself lived on');
});

test('P3: what a handler ends while its agent is frozen comes too late, counts for nothing, and is done again', async () => {
  const { occurrence, first, agent } = await begin('post', { workMs: 600, laterMs: 100 });
  agent.signal('SIGSTOP');
  const second = await view.begun(occurrence, 2);
  assert.notEqual(second.agent, first.agent);
  await view.done(occurrence);
  await thaw(agent);
  const [lost, rerun] = await attemptsOf(occurrence);
  assert.deepEqual([lost?.execution?.how, rerun?.execution?.how], ['completed', 'completed']);
  assert.deepEqual([lost?.run.outcome, rerun?.run.outcome], ['lost', 'succeeded']);
  assert.ok(
    said(agent, new RegExp(`"${first.token}".*(came too late and counts for nothing|run of post lost)`)),
  );
});

test('P1: what a handler commits while its agent is frozen counts, and is not done again', async () => {
  const { occurrence, first, agent } = await begin('post', { workMs: 600, commit: true });
  agent.signal('SIGSTOP');
  const done = await view.done(occurrence);
  assert.deepEqual([done.outcome, done.attempts], ['succeeded', 1]);
  await until(
    () => agents.member(first.agent),
    ({ state }) => state === 'lost',
  );
  await thaw(agent);
  assert.equal((await view.runsOf(occurrence)).length, 1);
});

test('P5: an instance that freezes is killed by its agent, and what it ran goes on', async () => {
  const { occurrence, first, agent } = await begin('post', { workMs: 20_000, laterMs: 100 });
  process.kill(first.pid, 'SIGSTOP');
  const second = await view.begun(occurrence, 2, 20_000);
  assert.notEqual(second.pid, first.pid);
  assert.ok(said(agent, /gave no good answer/));
  assert.equal((await view.done(occurrence)).outcome, 'succeeded');
  assert.equal((await view.runsOf(occurrence))[0]?.outcome, 'lost');
});

test('P1: agent and instance freeze and thaw after the take-over: the database takes the effects of one of them only', async () => {
  const { occurrence, first, agent } = await begin('post', {
    workMs: 1_500,
    laterMs: 100,
    commit: true,
    stubborn: true,
  });
  agent.signal('SIGSTOP');
  process.kill(first.pid, 'SIGSTOP');
  const done = await view.done(occurrence);
  assert.equal(done.outcome, 'succeeded');
  process.kill(first.pid, 'SIGCONT');
  agent.signal('SIGCONT');
  const refused = await until(
    async () => (await view.notes()).find(({ token, what }) => token === first.token && what === 'refused'),
    Boolean,
  );
  assert.equal((refused?.detail as { sqlState?: string } | undefined)?.sqlState, 'HF001');
  const effects = (await view.effects()).filter(
    ({ event, dueMs }) => event === 'post' && dueMs === done.dueMs,
  );
  const [, second] = await attemptsOf(occurrence);
  assert.deepEqual(
    effects.map(({ token }) => token),
    [second?.run.token],
  );
  await thaw(agent);
});

for (const [what, leave, comeBack] of [
  ['an agent that has to go', (agent: AgentProcess) => agent.signal('SIGTERM'), () => undefined],
  [
    'an instance in maintenance',
    ({ name }: AgentProcess) => setMaintenance(name, ['new disk']),
    ({ name }: AgentProcess) => setMaintenance(name, []),
  ],
] as const) {
  test(`${what} lets a run finish that ends within the drain`, async () => {
    const { occurrence, agent } = await begin('post', { workMs: 1_500 });
    await leave(agent);
    const done = await view.done(occurrence);
    assert.deepEqual([done.outcome, done.attempts], ['succeeded', 1]);
    await comeBack(agent);
  });

  test(`${what} hands over what outlasts the drain, to a successor that goes on at once`, async () => {
    const { occurrence, first, agent } = await begin('post', { workMs: 30_000, laterMs: 100 });
    await leave(agent);
    const second = await view.begun(occurrence, 2);
    assert.equal((await view.done(occurrence)).outcome, 'succeeded');
    const [one, other] = await view.runsOf(occurrence);
    assert.equal(one?.outcome, 'handed over');
    assert.equal(one?.reason, `handed over to ${second.agent}`);
    assert.notEqual(second.agent, first.agent);
    const pauseMs = (other?.startedMs ?? 0) - (one?.endedMs ?? 0);
    assert.ok(pauseMs >= 0 && pauseMs < 1_000, `went on after ${pauseMs} ms`);
    await comeBack(agent);
  });
}

async function setMaintenance(instance: string, reasons: string[]): Promise<void> {
  await view.query('update holdfast.member set maintenance = $2 where instance = $1', [instance, reasons]);
}
