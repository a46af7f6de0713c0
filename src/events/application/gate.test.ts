/** The gate: an application with a scheduler of its own asks its agent, and is told yes or no. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, test } from 'node:test';
import { type FakeAgent, fenced, renewed, secret, startFakeAgent } from './claimed-run.fixture.ts';
import { type Events, openEvents } from './open-events.ts';
import { StaleRunError } from './run-errors.ts';

let agent: FakeAgent;
let events: Events;

const yes = {
  run: true,
  token: '12',
  due: '2027-03-28T01:00:00.000Z',
  attempt: 1,
  remainingMs: 3_000,
  timeoutMs: 10_000,
  payload: { since: 'yesterday' },
};

/** Answers to ask and finish; renewals succeed. */
function answers(
  ask: { status: number; body: unknown },
  finish = { status: 200, body: { outcome: 'done' } as unknown },
) {
  agent.answer = ({ path }) => {
    if (path.startsWith('/events/')) return ask;
    return path.endsWith('/finish') ? finish : renewed();
  };
}

const asked = (end: string) => agent.questions.filter(({ path }) => path.endsWith(end));

beforeEach(async () => {
  agent = await startFakeAgent();
  events = openEvents({ agentUrl: `${agent.url}/`, agentSecret: secret });
});

afterEach(async () => {
  await events.close();
  await agent.close();
});

test('who is told yes has a run, with all that a handler has, and says how it ended', async () => {
  answers({ status: 200, body: yes });
  const run = await events.ask('nightly');
  assert.ok(run.run);
  assert.equal(agent.questions[0]?.path, '/events/nightly/ask');
  assert.equal(run.event, 'nightly');
  assert.equal(run.token, 12n);
  assert.equal(run.due.toISOString(), yes.due);
  assert.deepEqual(run.payload, yes.payload);
  assert.equal(run.idempotencyKey, 'nightly/-/2027-03-28T01:00:00.000Z');
  assert.equal(run.signal.aborted, false);
  assert.ok(run.remainingMs() > 9_000);
  await run.finish('succeeded', { sent: 3 });
  assert.deepEqual(asked('/runs/12/finish')[0]?.body, { outcome: 'succeeded', result: '{"sent":3}' });
});

test('P1: no answer is a no, and so is every answer that is not yes', async () => {
  answers({ status: 200, body: { run: false, reason: 'another instance was told to run it' } });
  assert.deepEqual(await events.ask('nightly'), {
    run: false,
    reason: 'another instance was told to run it',
  });
  answers({ status: 503, body: { error: 'away' } });
  assert.deepEqual(await events.ask('nightly'), {
    run: false,
    reason: 'the agent holds no lease at the moment',
  });
  await agent.close();
  const unreached = await events.ask('nightly');
  assert.ok(!unreached.run);
  assert.match(unreached.reason, /^the agent cannot be reached/);
  const alone = await openEvents().ask('nightly');
  assert.equal(alone.run, false);
  agent = await startFakeAgent();
});

test('P1: a yes that was fenced before it arrived is a no', async () => {
  agent.answer = ({ path }) => (path.endsWith('/ask') ? { status: 200, body: yes } : fenced('declared lost'));
  assert.deepEqual(await events.ask('nightly'), {
    run: false,
    reason: 'Run 12 counts no more: declared lost.',
  });
});

test('P10: an event that does not exist and a wrong secret are errors, not a no', async () => {
  answers({ status: 404, body: { error: 'unknown' } });
  await assert.rejects(events.ask('nihgtly'), /no event "nihgtly" to ask for/);
  answers({ status: 401, body: { error: 'unauthorized' } });
  await assert.rejects(events.ask('nightly'), /The agent does not know this application/);
  answers({ status: 200, body: { run: true, token: 'x' } });
  await assert.rejects(events.ask('nightly'), /cannot be understood/);
});

test('gate asks, runs, renews and finishes', async () => {
  answers({ status: 200, body: yes });
  const outcome = await events.gate('nightly', async (run) => `did ${run.event}`);
  assert.deepEqual(outcome, { run: true, outcome: 'succeeded', result: 'did nightly' });
  assert.deepEqual(asked('/finish')[0]?.body, { outcome: 'succeeded', result: 'did nightly' });
  assert.equal(asked('/renew').length, 1);

  const failed = await events.gate('nightly', () => {
    throw new Error('no paper');
  });
  assert.deepEqual(failed, { run: true, outcome: 'failed', result: 'no paper' });
  assert.deepEqual(asked('/finish')[1]?.body, { outcome: 'failed', reason: 'no paper' });

  answers({ status: 200, body: { run: false, reason: 'not due' } });
  const refused = await events.gate('nightly', () => assert.fail('it ran'));
  assert.deepEqual(refused, { run: false, reason: 'not due' });
});

test('the end of a run is told again until the agent hears it, and a stale one is told to the application', async () => {
  answers({ status: 200, body: yes }, { status: 503, body: { error: 'away' } });
  const run = await events.ask('nightly');
  assert.ok(run.run);
  const finished = run.finish('failed', 'no paper');
  while (asked('/finish').length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  answers({ status: 200, body: yes });
  await finished;

  answers({ status: 200, body: yes }, fenced('declared lost'));
  const stale = await events.ask('nightly');
  assert.ok(stale.run);
  await assert.rejects(stale.finish('succeeded'), StaleRunError);
});

test('P4: a run behind the gate stops when its lease is no longer proved', async () => {
  let renewals = 0;
  agent.answer = ({ path }) => {
    if (path.endsWith('/ask')) return { status: 200, body: yes };
    return renewals++ === 0 ? renewed(150) : undefined;
  };
  const run = await events.ask('nightly');
  assert.ok(run.run);
  await once(run.signal, 'abort');
  assert.match(run.signal.reason.message, /no longer proved/);
});
