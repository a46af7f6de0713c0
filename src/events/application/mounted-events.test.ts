/** The handlers as the agent meets them: real Express and Fastify servers, and a fake agent that asks and is asked. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, suite, test } from 'node:test';
import express from 'express';
import { type Log, silentLog } from '../../support/log.ts';
import { type FakeAgent, fenced, secret, startFakeAgent } from './claimed-run.fixture.ts';
import type { EventRun } from './event-run.ts';
import { call, closeMounted, expressWith, fastifyWith, listen, mounts } from './mounts.fixture.ts';
import { type Events, openEvents } from './open-events.ts';

let agent: FakeAgent;
let events: Events;
const logged: string[] = [];
const log: Log = { ...silentLog, error: (_fields, message) => logged.push(message) };

beforeEach(async () => {
  agent = await startFakeAgent();
  events = openEvents({ agentUrl: agent.url, agentSecret: secret, log });
  logged.length = 0;
});

afterEach(async () => {
  await agent.close();
  await closeMounted();
  await events.close();
});

suite('A handler', () => {
  for (const [framework, mount] of mounts) {
    test(`${framework}: is given the facts and the payload of its run, and answers with its result`, async () => {
      const seen: EventRun[] = [];
      events.onEvent('nightly', (run) => {
        seen.push(run);
        return run.payload;
      });
      const url = await mount(events);
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
      const url = await mount(events);
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
      const url = await mount(events);
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
    for (const url of [await expressWith(events.express()), await fastifyWith(events)]) {
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
    for (const url of [await listen(app), await fastifyWith(events)]) {
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
