/**
 * The handlers as the agent meets them: real Express and Fastify servers, a fake agent that asks and is asked, and
 * the real ledger behind run.transaction.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, beforeEach, suite, test } from 'node:test';
import express from 'express';
import { fastify } from 'fastify';
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
  runHeaders,
  secret,
  startFakeAgent,
} from './claimed-run.fixture.ts';
import type { EventRun } from './event-run.ts';
import { type Events, openEvents } from './open-events.ts';
import { RunAbortedError, StaleRunError } from './run-errors.ts';

let postgres: TestPostgres;
let databaseUrl: string;
let arbiter: Arbiter;
let ledger: Ledger;
let agent: FakeAgent;
let events: Events;
const closing: (() => Promise<unknown>)[] = [];
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
  for (const close of closing.splice(0).reverse()) await close();
  await events.close();
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function expressWith(...handlers: unknown[]): Promise<string> {
  const app = express();
  for (const handler of handlers) app.use(handler as express.RequestHandler);
  app.use((_request, response) => {
    response.status(418).send('the application answers');
  });
  return listen(app);
}

async function fastifyWith(mounted = events): Promise<string> {
  const app = fastify();
  app.addHook('preHandler', async (request) => assert.ok(request.url));
  app.post('/own', async (request) => request.body);
  await app.register(mounted.fastify());
  await app.listen({ host: '127.0.0.1', port: 0 });
  closing.push(() => app.close());
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
}

const mounts: readonly [string, () => Promise<string>][] = [
  ['Express', () => expressWith(events.express())],
  ['Express after express.json()', () => expressWith(express.json(), events.express())],
  ['Express after express.raw()', () => expressWith(express.raw({ type: '*/*' }), events.express())],
  ['Express after express.text()', () => expressWith(express.text({ type: '*/*' }), events.express())],
  ['Express after express.urlencoded()', () => expressWith(express.urlencoded(), events.express())],
  ['Express before express.json()', () => expressWith(events.express(), express.json())],
  ['Fastify', () => fastifyWith()],
];

async function call(
  url: string,
  options: {
    token?: bigint;
    name?: string;
    headers?: Record<string, string>;
    body?: string;
    signal?: AbortSignal;
  } = {},
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}/holdfast/events/${options.name ?? 'nightly'}`, {
    method: 'POST',
    headers: runHeaders(options.token ?? 7n, options.headers),
    body: options.body ?? 'null',
    ...(options.signal ? { signal: options.signal } : {}),
  });
  return { status: response.status, text: await response.text() };
}

/** Waits until it is told to stop, and says why it was. */
async function untilAborted(run: EventRun): Promise<Error> {
  if (!run.signal.aborted) await once(run.signal, 'abort');
  return run.signal.reason;
}

suite('A handler', () => {
  for (const [framework, mount] of mounts) {
    test(`${framework}: is given the facts and the payload of its run, and answers with its result`, async () => {
      const seen: EventRun[] = [];
      events.onEvent('nightly', (run) => {
        seen.push(run);
        return run.payload;
      });
      const url = await mount();
      const payloads: [string, string][] = [
        ['{"since":"yesterday","n":[1,2]}', '{"since":"yesterday","n":[1,2]}'],
        ['null', ''],
        ['7', '7'],
        ['"späť"', 'späť'],
        ['[]', '[]'],
      ];
      for (const [body, text] of payloads) {
        assert.deepEqual(await call(url, { body }), { status: 200, text }, body);
      }
      const [first] = seen;
      assert.ok(first);
      const { event, due, attempt, token, cause, idempotencyKey } = first;
      assert.deepEqual(
        { event, due: due.toISOString(), attempt, token, cause, idempotencyKey },
        {
          event: 'nightly',
          due: '2027-03-28T01:00:00.000Z',
          attempt: 2,
          token: 7n,
          cause: 'schedule',
          idempotencyKey: 'nightly/-/2027-03-28T01:00:00.000Z',
        },
      );
      assert.equal(agent.questions[0]?.path, '/runs/7/renew');
      assert.equal(agent.questions[0]?.authorization, `Bearer ${secret}`);
    });

    test(`${framework}: P10: only its agent may call, and who may not learns nothing`, async () => {
      let calls = 0;
      events.onEvent('nightly', () => calls++);
      const url = await mount();
      for (const authorization of ['', 'Bearer', 'Bearer x', `Bearer ${secret}x`, `Basic ${secret}`]) {
        const known = await call(url, { headers: { authorization } });
        assert.equal(known.status, 403, authorization);
        assert.deepEqual(await call(url, { name: 'unknown', headers: { authorization } }), known);
      }
      assert.equal(calls, 0);
      assert.deepEqual(agent.questions, []);
    });

    test(`${framework}: P10: a call that cannot be right is told why, and no handler begins`, async () => {
      events.onEvent('nightly', () => assert.fail('it began'));
      events.onEvent('morning', () => assert.fail('it began'));
      const url = await mount();
      const missing = await call(url, { name: 'evening' });
      assert.deepEqual(missing, {
        status: 404,
        text: 'There is no handler for the event "evening". Handlers: morning, nightly.',
      });
      for (const name of ['token', 'due', 'attempt', 'cause', 'timeout-ms', 'lease-ms']) {
        const wrong = await call(url, { headers: { [`holdfast-${name}`]: 'x' } });
        assert.deepEqual(wrong, { status: 400, text: `The header holdfast-${name} is missing or wrong.` });
      }
      assert.deepEqual(await call(url, { body: '{"a":' }), { status: 400, text: 'The payload is no JSON.' });
    });
  }

  test('is told of an appointment without any question to the agent: there is no run to prove', async () => {
    agent.answer = () => fenced('there is no such run');
    events.onEvent('nightly', (run) => `${run.event} ${run.appointment}`);
    const url = await expressWith(events.express());
    for (const appointment of ['appointed', 'dismissed']) {
      const answer = await call(url, { headers: { 'holdfast-appointment': appointment } });
      assert.deepEqual(answer, { status: 200, text: `nightly ${appointment}` });
    }
    assert.equal((await call(url, { headers: { 'holdfast-appointment': 'crowned' } })).status, 400);
    assert.deepEqual(agent.questions, []);
  });

  test('what it throws is its failure, without a stack, and is logged', async () => {
    events.onEvent('nightly', async () => {
      throw new TypeError('no price for rope');
    });
    for (const url of [await expressWith(events.express()), await fastifyWith()]) {
      assert.deepEqual(await call(url), { status: 500, text: 'no price for rope' });
    }
    assert.deepEqual(logged, Array(2).fill('run of nightly failed: no price for rope'));
  });

  test('a result that is no JSON makes no failure of work that is done', async () => {
    events.onEvent('nightly', () => ({ count: 1n }));
    const { status, text } = await call(await expressWith(events.express()));
    assert.equal(status, 200);
    assert.match(text, /^\(a result that is no JSON/);
  });

  test('two handlers of one name are refused when they are registered', () => {
    events.onEvent('nightly', () => undefined);
    assert.throws(
      () => events.onEvent('nightly', () => undefined),
      /a handler for the event nightly already/,
    );
    assert.throws(() => events.onEvent('a/b', () => undefined), /no name of an event/);
  });

  test('without an agent the application runs all the same, and says so to whoever calls', async () => {
    const alone = openEvents();
    alone.onEvent('nightly', () => undefined);
    for (const url of [await expressWith(alone.express()), await fastifyWith(alone)]) {
      const { status, text } = await call(url);
      assert.equal(status, 503);
      assert.match(text, /not started by a Holdfast agent: HOLDFAST_AGENT_URL and HOLDFAST_AGENT_SECRET/);
    }
    await alone.close();
  });

  test('what is not for the events goes on to the application, with its body', async () => {
    const app = express().set('env', 'test'); // quiet about the mistake below
    app.use(events.express(), express.json());
    app.post('/own', (request, response) => void response.json(request.body));
    for (const url of [await listen(app), await fastifyWith()]) {
      const options = { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } };
      assert.deepEqual(await (await fetch(`${url}/own`, options)).json(), { a: 1 });
      assert.equal((await fetch(`${url}/holdfast/events/nightly`)).status, 404);
      assert.equal((await fetch(`${url}/holdfast/eventsnightly`, { method: 'POST' })).status, 404);
    }
    const broken = await fetch(`${await listen(app)}/own`, {
      method: 'POST',
      body: '{"a":',
      headers: { 'content-type': 'application/json' },
    });
    assert.equal(broken.status, 400, "the application's own mistakes stay its own");
  });

  test('closing takes no more calls and waits for those under way', async () => {
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<string>();
    events.onEvent('nightly', () => {
      begun.resolve();
      return finish.promise;
    });
    const url = await expressWith(events.express());
    const underWay = call(url);
    await begun.promise;
    const closed = events.close();
    assert.deepEqual(await call(url), { status: 503, text: 'This instance is stopping.' });
    finish.resolve('done');
    assert.deepEqual(await underWay, { status: 200, text: 'done' });
    await closed;
  });
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
    assert.deepEqual(await call(await fastifyWith()), { status: 200, text: 'false' });
  });

  test('P4: an answer counts from before its question: a slow one proves less', async () => {
    const begun: number[] = [];
    const slow = await listen((_request, response) => {
      setTimeout(() => response.end('{"remainingMs":250}'), 200);
    });
    const patient = openEvents({ agentUrl: slow, agentSecret: secret });
    closing.push(() => patient.close());
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
    closing.push(() => woken.close());
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
    for (const url of [await expressWith(events.express()), await fastifyWith()]) {
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
    const answer = await call(await fastifyWith(), { headers: { 'holdfast-timeout-ms': '80' } });
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
      const answer = call(await mount(), { signal: hangUp.signal });
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
    assert.equal((await call(await fastifyWith(), { token })).status, 200);
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
