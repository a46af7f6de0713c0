/** When a run must stop: its lease, its time-out, its agent; and when what it did counts, on the real ledger. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, suite, test } from 'node:test';
import { type Arbiter, openArbiter } from '../../database/arbiter.ts';
import { systemClock } from '../../database/clock.ts';
import { type Log, silentLog } from '../../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../../testing/postgres.ts';
import {
  eventually,
  type FakeAgent,
  fenced,
  type Ledger,
  openLedger,
  renewed,
  secret,
  startFakeAgent,
} from './claimed-run.fixture.ts';
import {
  call,
  closeMounted,
  expressWith,
  fastifyWith,
  later,
  listen,
  mounts,
  untilAborted,
} from './mounts.fixture.ts';
import { type Events, openEvents } from './open-events.ts';
import { RunAbortedError, StaleRunError } from './run-errors.ts';

let postgres: TestPostgres;
let databaseUrl: string;
let arbiter: Arbiter;
let ledger: Ledger;
let agent: FakeAgent;
let events: Events;
const logged: string[] = [];
const log: Log = { ...silentLog, error: (_fields, message) => logged.push(message) };

before(async () => {
  postgres = await startTestPostgres();
  databaseUrl = await postgres.createDatabase();
  arbiter = openArbiter({ url: databaseUrl });
  await arbiter.query('create table invoice (number int)');
  ledger = await openLedger(arbiter);
});

after(async () => {
  await arbiter.close();
  await postgres.stop();
});

beforeEach(async () => {
  agent = await startFakeAgent();
  events = openEvents({ agentUrl: agent.url, agentSecret: secret, database: databaseUrl, log });
  logged.length = 0;
});

afterEach(async () => {
  await agent.close();
  await closeMounted();
  await events.close();
});

suite('A run that must stop', () => {
  test('P4: a frozen agent is noticed by the application itself, before the lease is over', async () => {
    const aborted = Promise.withResolvers<{ reason: Error; afterMs: number }>();
    let frozen = false;
    agent.answer = () => (frozen ? undefined : renewed(600));
    events.onEvent('nightly', async (run) => {
      frozen = true;
      const beganMs = performance.now();
      assert.ok(run.remainingMs() > 10_000);
      const reason = await untilAborted(run);
      assert.equal(run.remainingMs(), 0);
      aborted.resolve({ reason, afterMs: performance.now() - beganMs });
      return 'the result of work that was aborted';
    });
    const answer = call(await expressWith(events.express()));
    const { reason, afterMs } = await aborted.promise;
    assert.ok(afterMs > 300 && afterMs < 700, `${afterMs} ms`);
    assert.ok(reason instanceof RunAbortedError);
    assert.equal(reason.why, 'lease');
    assert.match(reason.message, /lease of this instance is no longer proved: the agent did not answer/);
    assert.deepEqual(await answer, { status: 500, text: reason.message });
    const tries = agent.questions.length;
    assert.ok(tries >= 3, `asked ${tries} times before it gave up`);
  });

  test('P4: it goes on for as long as its agent confirms the lease, each time a third before', async () => {
    agent.answer = () => renewed(90);
    events.onEvent('nightly', async (run) => {
      await eventually(() => agent.questions.length > 12);
      return String(run.signal.aborted);
    });
    assert.deepEqual(await call(await fastifyWith(events)), { status: 200, text: 'false' });
  });

  test('P4: an answer counts from before its question: a slow one proves less', async () => {
    const begun: number[] = [];
    const slow = await listen((_request, response) => {
      setTimeout(() => response.end('{"remainingMs":250}'), 200);
    });
    const patient = openEvents({ agentUrl: slow, agentSecret: secret });
    later(() => patient.close());
    patient.onEvent('nightly', async (run) => {
      begun.push(performance.now());
      await untilAborted(run);
      begun.push(performance.now());
    });
    assert.equal((await call(await expressWith(patient.express()))).status, 500);
    const [beganMs = 0, abortedMs = 0] = begun;
    assert.ok(abortedMs - beganMs < 150, `${abortedMs - beganMs} ms`);
  });

  test('P4: a machine that was suspended knows by its wall clock, whatever its timers say', async () => {
    let suspendedMs = 0;
    const clock = { ...systemClock, wallMs: () => Date.now() + suspendedMs };
    const woken = openEvents({ agentUrl: agent.url, agentSecret: secret, clock });
    later(() => woken.close());
    woken.onEvent('nightly', async (run) => {
      assert.equal(run.signal.aborted, false);
      suspendedMs = 6_000;
      assert.equal(run.signal.aborted, true, 'at the first look, before any timer');
      assert.match(run.signal.reason.message, /no longer proved/);
    });
    assert.equal((await call(await expressWith(woken.express()))).status, 500);
  });

  test('P1: a request that lay in the socket of a frozen process does not begin once it counts no more', async () => {
    agent.answer = () => fenced('shop-1 was declared lost');
    events.onEvent('nightly', () => assert.fail('it began'));
    for (const url of [await expressWith(events.express()), await fastifyWith(events)]) {
      assert.deepEqual(await call(url), {
        status: 409,
        text: 'Run 7 counts no more: shop-1 was declared lost.',
      });
    }
    agent.answer = () => ({ status: 503, body: { error: 'away' } });
    const unproved = await call(await expressWith(events.express()), {
      headers: { 'holdfast-lease-ms': '150' },
    });
    assert.equal(unproved.status, 500);
    assert.match(unproved.text, /no longer proved: the agent holds no lease at the moment/);
  });

  test('P4: is aborted when its agent says that it counts no more, and answers 409', async () => {
    let reason: Error | undefined;
    agent.answer = () =>
      agent.questions.length > 1 ? fenced('another instance goes on with it') : renewed(60);
    events.onEvent('nightly', async (run) => {
      reason = await untilAborted(run);
      throw new Error('AbortError: whatever a library makes of it');
    });
    const answer = await call(await expressWith(events.express()));
    assert.ok(reason instanceof StaleRunError);
    assert.deepEqual(answer, {
      status: 409,
      text: 'Run 7 counts no more: another instance goes on with it.',
    });
  });

  test('is aborted when its time is over, and nothing that it returns makes a success of it', async () => {
    events.onEvent('nightly', async (run) => {
      await untilAborted(run);
      return 'late';
    });
    const answer = await call(await fastifyWith(events), { headers: { 'holdfast-timeout-ms': '80' } });
    assert.deepEqual(answer, { status: 500, text: 'The run took longer than its time-out of 80ms.' });
  });

  for (const [framework, mount] of [mounts[0], mounts[6]].filter((it) => it !== undefined)) {
    test(`${framework}: is aborted when the agent closes the connection, as when it dies`, async () => {
      const begun = Promise.withResolvers<void>();
      const aborted = Promise.withResolvers<Error>();
      events.onEvent('nightly', async (run) => {
        begun.resolve();
        aborted.resolve(await untilAborted(run));
      });
      const hangUp = new AbortController();
      const answer = call(await mount(events), { signal: hangUp.signal });
      answer.catch(() => undefined); // it is ours to hang up
      await begun.promise;
      hangUp.abort();
      const reason = await aborted.promise;
      assert.ok(reason instanceof RunAbortedError);
      assert.equal(reason.why, 'disconnected');
      assert.match(reason.message, /agent closed the connection/);
      await assert.rejects(answer);
    });
  }

  for (const [framework, mount] of [mounts[0], mounts[6]].filter((it) => it !== undefined)) {
    test(`P1: ${framework}: an agent that closed the connection is told when the handler has ended`, async () => {
      const begun = Promise.withResolvers<void>();
      const notice = Promise.withResolvers<void>();
      const told = () => agent.questions.filter(({ path }) => path === '/runs/7/ended').length;
      agent.answer = ({ path }) =>
        path.endsWith('/ended') && told() === 1 ? { status: 500, body: {} } : renewed();
      const aborted = Promise.withResolvers<void>();
      events.onEvent('nightly', async (run) => {
        begun.resolve();
        await untilAborted(run);
        aborted.resolve();
        await notice.promise;
      });
      events.onEvent('quick', () => 'done');
      const url = await mount(events);
      const hangUp = new AbortController();
      call(url, { signal: hangUp.signal }).catch(() => undefined); // it is ours to hang up
      await begun.promise;
      hangUp.abort();
      await aborted.promise;
      await call(url, { name: 'quick' });
      assert.equal(told(), 0, 'not while it works, and not of one that was answered');
      notice.resolve();
      await eventually(() => told() === 2);
      await events.close();
      assert.equal(told(), 2, 'tried once more, and no oftener');
    });
  }

  test('an answer waits until the handler has really stopped', async () => {
    let stopped = false;
    agent.answer = () => (agent.questions.length > 1 ? fenced('gone') : renewed(60));
    events.onEvent('nightly', async (run) => {
      await untilAborted(run);
      await new Promise((resolve) => setTimeout(resolve, 100));
      stopped = true;
    });
    assert.equal((await call(await expressWith(events.express()))).status, 409);
    assert.equal(stopped, true);
  });
});

suite('run.transaction in a handler', () => {
  const invoices = async () => (await arbiter.query('select from invoice')).length;

  test('P1: commits once, whatever the handler does afterwards', async () => {
    const token = await ledger.grant();
    events.onEvent('nightly', async (run) => {
      const made = await run.transaction(async (client) => {
        await client.query('insert into invoice values (1)');
        return 'one invoice';
      });
      assert.equal(made, 'one invoice');
      await assert.rejects(
        run.transaction(async () => 'again'),
        /A transaction of this run of nightly has committed already/,
      );
      throw new Error('the printer is on fire');
    });
    const before = await invoices();
    assert.equal((await call(await fastifyWith(events), { token })).status, 200);
    assert.equal(await invoices(), before + 1);
    assert.deepEqual(await ledger.runOf(token), { outcome: 'succeeded', result: 'one invoice' });
    assert.deepEqual(logged, ['run of nightly failed: the printer is on fire']);
    // The agent's own report, which comes later, finds it done.
    await ledger.end(token, 'succeeded');
    assert.equal((await ledger.runOf(token))?.result, 'one invoice');
  });

  test('P3: a run that was taken over meanwhile is rolled back and answers 409', async () => {
    const token = await ledger.grant();
    events.onEvent('nightly', (run) =>
      run.transaction(async (client) => {
        await client.query('insert into invoice values (2)');
        await ledger.end(token);
      }),
    );
    const before = await invoices();
    assert.deepEqual(await call(await expressWith(events.express()), { token }), {
      status: 409,
      text: `Run ${token} counts no more: shop-1 was declared lost.`,
    });
    assert.equal(await invoices(), before);
  });

  test('P4: the lease that is over in the middle of the work rolls back, even if the ledger would still take it', async () => {
    const token = await ledger.grant();
    let frozen = false;
    agent.answer = () => (frozen ? undefined : renewed(200));
    events.onEvent('nightly', (run) =>
      run.transaction(async (client) => {
        frozen = true;
        await client.query('insert into invoice values (3)');
        await untilAborted(run);
      }),
    );
    const before = await invoices();
    const { status, text } = await call(await expressWith(events.express()), { token });
    assert.equal(status, 500);
    assert.match(text, /no longer proved/);
    assert.equal(await invoices(), before);
    assert.equal((await ledger.runOf(token))?.outcome, null);
  });

  test('one at a time, and none without a database', async () => {
    const token = await ledger.grant();
    events.onEvent('nightly', (run) =>
      run.transaction(() =>
        assert.rejects(
          run.transaction(async () => 1),
          /is open already/,
        ),
      ),
    );
    assert.equal((await call(await expressWith(events.express()), { token })).status, 200);

    const poor = openEvents({ agentUrl: agent.url, agentSecret: secret });
    poor.onEvent('nightly', (run) => run.transaction(async () => 1));
    assert.deepEqual(await call(await expressWith(poor.express())), {
      status: 500,
      text: 'run.transaction was told of no database.',
    });
  });
});
