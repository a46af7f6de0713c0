import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openEvents } from '../events/application/open-events.ts';
import type { GateResult } from '../events/execution/gate.ts';
import { HandlerWatch, postExecutor } from '../events/execution/post.ts';
import type { GateAnswer } from '../events/gate-desk.ts';
import { type Loopback, type LoopbackApi, openLoopback } from './loopback.ts';

let open: Loopback | undefined;
afterEach(() => open?.close());

const finished: [string, GateResult][] = [];
const ended: string[] = [];
const grant = {
  occurrence: '1',
  token: '7',
  dueMs: 0,
  attempt: 1,
  cause: 'schedule',
  payload: null,
  failures: 0,
} as const;
const order = { ...grant, event: 'e', place: '', token: 7n, timeoutMs: 1_000 } as const;
const answers: Record<string, GateAnswer> = {
  yes: { outcome: 'yes', grant },
  no: { outcome: 'no', reason: 'shop-2 runs it' },
  away: { outcome: 'away' },
};

async function ask(
  path: string,
  {
    body = '{}',
    secret = 's3cret',
    method = 'POST',
    ...more
  }: { body?: string; secret?: string; method?: string } & Partial<LoopbackApi> = {},
): Promise<{ status: number; body: unknown }> {
  await open?.close();
  open = await openLoopback('s3cret', {
    renew: (token) => (token === '7' ? 1_234 : undefined),
    finish(token, result) {
      finished.push([token, result]);
      return token === '7';
    },
    ended: (token) => ended.push(token),
    ask: async (event) => answers[event] ?? { outcome: 'unknown' },
    order: () => order,
    ...more,
  });
  const response = await fetch(`${open.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${secret}` },
    ...(method === 'POST' ? { body } : {}),
  });
  return { status: response.status, body: await response.json() };
}

test('without the secret nothing is said and nothing is done', async () => {
  for (const secret of ['', 's3cre', 's3cretx', 'S3CRET'])
    assert.equal((await ask('/runs/7/finish', { secret, body: '{"outcome":"succeeded"}' })).status, 401);
  assert.deepEqual(finished, []);
});

test('a run is renewed for as long as its lease is proved, and refused when it is not ours', async () => {
  assert.deepEqual(await ask('/runs/7/renew'), { status: 200, body: { remainingMs: 1_234 } });
  const refusal = await ask('/runs/8/renew');
  assert.equal(refusal.status, 409);
  assert.match(JSON.stringify(refusal.body), /"error":"fenced"/);
});

test('the result of a run is taken as it is given, and cut where it is too long', async () => {
  const body = JSON.stringify({ outcome: 'failed', reason: 'no', result: 'x'.repeat(10_000) });
  assert.deepEqual(await ask('/runs/7/finish', { body }), { status: 200, body: { outcome: 'done' } });
  const [token, result] = finished.at(-1) ?? [];
  assert.deepEqual(
    [token, result?.outcome, result?.reason, result?.result?.length],
    ['7', 'failed', 'no', 4_096],
  );
  assert.equal((await ask('/runs/8/finish', { body })).status, 409);
});

test('that a handler has ended is noted, whether or not the run is still ours', async () => {
  for (const token of ['7', '8'])
    assert.deepEqual(await ask(`/runs/${token}/ended`), { status: 200, body: { outcome: 'noted' } });
  assert.deepEqual(ended, ['7', '8']);
  assert.equal((await ask('/runs/9/ended', { secret: 'x' })).status, 401);
  assert.equal(ended.length, 2);
});

test('P1: a run under the SDK that is aborted is over when its handler has ended, not before', async () => {
  const handlers = new HandlerWatch();
  open = await openLoopback('s3cret', {
    renew: (token) => (handlers.renewed(token) ? 1_000 : undefined),
    finish: () => false,
    ended: (token) => handlers.ended(token),
    ask: async () => ({ outcome: 'unknown' }),
    order: () => undefined,
  });
  const events = openEvents({ agentUrl: open.url, agentSecret: 's3cret' });
  const begun = Promise.withResolvers<void>();
  let endedAtMs = 0;
  events.onEvent('e', async (run) => {
    begun.resolve();
    await once(run.signal, 'abort');
    await delay(1_500); // it takes a while to notice
    endedAtMs = performance.now();
  });
  const [serve] = events.express();
  const server = createServer((request, response) => serve(request, response, () => response.end()));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    const work = postExecutor({
      address: () => ({ host: '127.0.0.1', port }),
      instanceDied: () => new Promise(() => undefined),
      secret: 's3cret',
      path: '/holdfast/events/e',
      handlers,
    })({ ...order, timeoutMs: 60_000 }, { remainingMs: () => 1_000 });
    await begun.promise;
    work.abort('handed over to shop-2');
    const result = await work.finished;
    assert.deepEqual(result, { outcome: 'failed', reason: 'handed over to shop-2', result: null });
    assert.ok(endedAtMs > 0, 'the handler had ended');
    assert.ok(performance.now() - endedAtMs < 1_000, 'and nothing else was waited for');
  } finally {
    server.close();
    await events.close();
  }
});

test('who asks whether it may run an event is told yes with the run, or no with the reason', async () => {
  assert.deepEqual((await ask('/events/yes/ask')).body, {
    run: true,
    token: '7',
    due: '1970-01-01T00:00:00.000Z',
    attempt: 1,
    cause: 'schedule',
    remainingMs: 1_234,
    timeoutMs: 1_000,
    payload: null,
  });
  assert.deepEqual((await ask('/events/no/ask')).body, { run: false, reason: 'shop-2 runs it' });
  assert.equal((await ask('/events/away/ask')).status, 503);
  assert.equal((await ask('/events/other/ask')).status, 404);
});

test('P10: what is not understood is refused with the reason', async () => {
  const cases: [string, Parameters<typeof ask>[1], number, RegExp][] = [
    ['/runs/7/finish', { body: '{' }, 400, /not JSON/],
    ['/runs/7/finish', { body: '{"outcome":"fine"}' }, 400, /succeeded or failed/],
    ['/runs/7/finish', { body: 'null' }, 400, /succeeded or failed/],
    ['/runs/7/finish', { body: `"${'x'.repeat(70_000)}"` }, 413, /larger than/],
    ['/runs/%/renew', {}, 400, /encoded/],
    ['/runs/7/finish', { body: '{"outcome":"failed","reason":7}' }, 400, /reason/],
    ['/runs/7/finish', { body: '{"outcome":"failed","result":{}}' }, 400, /result/],
    ['/runs/7', {}, 404, /no such address/],
    ['/runs/7/renew/x', {}, 404, /no such address/],
    ['/', {}, 404, /no such address/],
    ['/runs/7/renew', { method: 'GET' }, 405, /POST/],
  ];
  for (const [path, options, status, message] of cases) {
    const answer = await ask(path, options);
    assert.equal(answer.status, status, path);
    assert.match(JSON.stringify(answer.body), message);
  }
});

test('what no store takes is replaced in what the application says', async () => {
  const body = JSON.stringify({ outcome: 'failed', reason: 'a\0b', result: '\ud800' });
  await ask('/runs/7/finish', { body });
  assert.deepEqual(finished.at(-1)?.[1], { outcome: 'failed', reason: 'a\ufffdb', result: '\ufffd' });
});

test('P5: a run that was granted to one who had gone meanwhile is given back', async () => {
  const [asked, left, back] = [
    Promise.withResolvers<void>(),
    Promise.withResolvers<void>(),
    Promise.withResolvers<[string, GateResult]>(),
  ];
  const leaving = new AbortController();
  open = await openLoopback('s3cret', {
    renew: () => 1_234,
    finish(...result) {
      back.resolve(result);
      return true;
    },
    ended: () => undefined,
    order: () => order,
    ask: async () => {
      asked.resolve();
      await left.promise;
      return { outcome: 'yes', grant };
    },
  });
  const { url } = open;
  const headers = { authorization: 'Bearer s3cret' };
  const question = fetch(`${url}/events/e/ask`, { method: 'POST', headers, signal: leaving.signal });
  await asked.promise;
  leaving.abort();
  await assert.rejects(question, { name: 'AbortError' });
  // What the agent hears after the end of that connection it hears after it knows of it.
  for (let later = 0; later < 3; later++)
    await (await fetch(`${url}/runs/7/renew`, { method: 'POST', headers })).text();
  left.resolve();
  const [token, { outcome }] = await back.promise;
  assert.deepEqual([token, outcome], ['7', 'lost']);
});

test('a failure of the agent itself is told as one', async () => {
  const failing = { ask: () => Promise.reject(new Error('a defect')) };
  assert.deepEqual(await ask('/events/e/ask', failing), { status: 500, body: { error: 'a defect' } });
});
