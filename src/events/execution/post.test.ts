import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { RunOrder } from './execution.ts';
import { HandlerWatch, postExecutor } from './post.ts';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close().closeAllConnections();
});

async function application(handle: RequestListener) {
  const server = createServer(handle).listen(0, '127.0.0.1');
  open.push(server);
  await new Promise((listening) => server.once('listening', listening));
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

const order: RunOrder = {
  event: 'nightly',
  place: '',
  occurrence: '7',
  dueMs: Date.UTC(2027, 0, 2, 3),
  attempt: 2,
  token: 12_345_678_901_234n,
  cause: 'schedule',
  payload: { size: 3 },
  timeoutMs: 60_000,
};
const proof = { remainingMs: () => 4_000 };
const alive = () => new Promise<void>(() => undefined);

const run = (
  address: { host: string; port: number } | null,
  instanceDied: () => Promise<void> = alive,
  path = '/jobs/nightly',
) =>
  postExecutor({
    address: () => address,
    instanceDied,
    secret: 's3cret',
    path,
    handlers: new HandlerWatch(),
  })(order, proof);

/** A run whose application has renewed its lease, and whose handler works until it says so. */
async function watched(options: { instanceDied?: () => Promise<void>; abortWaitMs?: number } = {}) {
  const handlers = new HandlerWatch();
  const arrived = Promise.withResolvers<[IncomingMessage, ServerResponse]>();
  const address = await application((...both) => arrived.resolve(both));
  const work = postExecutor({
    address: () => address,
    instanceDied: alive,
    secret: 's3cret',
    path: '/jobs/nightly',
    handlers,
    ...options,
  })(order, proof);
  const [request, response] = await arrived.promise;
  const token = String(order.token);
  assert.ok(handlers.renewed(token));
  let isSettled = false;
  void work.finished.then(() => {
    isSettled = true;
  });
  return { work, handlers, token, request, response, isSettled: () => isSettled };
}

const timedOut = { outcome: 'failed', reason: 'timed out after 10m', result: null };

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

test('the application is told what it runs, why, and that its agent calls', async () => {
  let seen: IncomingMessage | undefined;
  let body = '';
  const address = await application(async (request, response) => {
    seen = request;
    body = await textOf(request);
    response.end('12 invoices');
  });
  assert.deepEqual(await run(address).finished, {
    outcome: 'succeeded',
    reason: null,
    result: '12 invoices',
  });
  assert.equal(seen?.method, 'POST');
  assert.equal(seen?.url, '/jobs/nightly');
  assert.equal(body, '{"size":3}');
  const headers = Object.fromEntries(
    Object.entries(seen?.headers ?? {}).filter(([name]) =>
      /^(holdfast|idempotency|authorization)/.test(name),
    ),
  );
  assert.deepEqual(headers, {
    'holdfast-event': 'nightly',
    'holdfast-due': '2027-01-02T03:00:00.000Z',
    'holdfast-attempt': '2',
    'holdfast-token': '12345678901234',
    'holdfast-cause': 'schedule',
    'holdfast-timeout-ms': '60000',
    'holdfast-lease-ms': '4000',
    'idempotency-key': 'nightly/-/2027-01-02T03:00:00.000Z',
    authorization: 'Bearer s3cret',
  });
});

test('an answer other than 2xx is a failure with its status and the beginning of its body', async () => {
  const address = await application((_request, response) => response.writeHead(500).end('no disk'));
  assert.deepEqual(await run(address).finished, {
    outcome: 'failed',
    reason: 'the application answered 500',
    result: 'no disk',
  });
});

test('409 means that the application found the run fenced, and another attempt would not mend that', async () => {
  const address = await application((_request, response) => response.writeHead(409).end());
  const { outcome, isFinal } = await run(address).finished;
  assert.deepEqual([outcome, isFinal], ['failed', true]);
});

test('a redirect is a failure that says so', async () => {
  const address = await application((_request, response) =>
    response.writeHead(302, { location: '/login' }).end(),
  );
  assert.match((await run(address).finished).reason ?? '', /302; redirects are not followed/);
});

test('of a long answer the beginning is kept, cut between characters', async () => {
  const address = await application((_request, response) => response.end('€'.repeat(100_000)));
  const { result } = await run(address).finished;
  assert.equal(result, '€'.repeat(1_365));
});

test('P5: when the instance dies under the request the run is lost at once', async () => {
  const died = Promise.withResolvers<void>();
  const address = await application((request) => {
    request.socket.destroy();
    died.resolve();
  });
  assert.deepEqual(await run(address, () => died.promise).finished, {
    outcome: 'lost',
    reason: 'its instance died',
    result: null,
  });
});

test('P5: an instance that dies while its connection stays open is noticed all the same', async () => {
  const died = Promise.withResolvers<void>();
  const address = await application(() => died.resolve());
  assert.equal((await run(address, () => died.promise).finished).outcome, 'lost');
});

test('a connection that breaks while the instance lives is a failure', async () => {
  const address = await application((request) => request.socket.destroy());
  const { outcome, reason } = await run(address).finished;
  assert.equal(outcome, 'failed');
  assert.match(reason ?? '', /the request failed: socket hang up/);
});

test('P4: an aborted run ends its connection, which is how the application learns of it', async () => {
  const [arrived, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const address = await application((request) => {
    request.once('close', () => gone.resolve());
    arrived.resolve();
  });
  const work = run(address);
  await arrived.promise;
  work.abort('the lease is over');
  assert.deepEqual(await work.finished, { outcome: 'failed', reason: 'the lease is over', result: null });
  await gone.promise;
});

test('an instance without an address is lost, not failed', async () => {
  assert.equal((await run(null).finished).outcome, 'lost');
});

test('nobody listens: lost when the process is dead, failed when it lives', async () => {
  const address = await application(() => undefined);
  const [server] = open.splice(0);
  await new Promise((closed) => server?.close(closed));
  assert.equal((await run(address, () => Promise.resolve()).finished).outcome, 'lost');
  const { outcome, reason } = await run(address).finished;
  assert.equal(outcome, 'failed');
  assert.match(reason ?? '', /ECONNREFUSED/);
});

test('P5: a connection that breaks a moment before the death is seen is no failure', async () => {
  const died = Promise.withResolvers<void>();
  const address = await application((request) => {
    request.socket.once('close', () => setImmediate(died.resolve)).destroy();
  });
  assert.equal((await run(address, () => died.promise).finished).outcome, 'lost');
});

test('an answer that was given before the death counts', async () => {
  const died = Promise.withResolvers<void>();
  const address = await application((_request, response) => response.end('done', () => died.resolve()));
  assert.deepEqual(await run(address, () => died.promise).finished, {
    outcome: 'succeeded',
    reason: null,
    result: 'done',
  });
});

test('P5: half an answer is none, even if nothing but the end of the connection ends it', async () => {
  for (const framing of ['transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n', '\r\nhalf']) {
    const died = Promise.withResolvers<void>();
    const address = await application(({ socket }) => {
      socket.end(`HTTP/1.1 200 OK\r\n${framing}`);
      died.resolve();
    });
    assert.equal((await run(address, () => died.promise).finished).outcome, 'lost');
  }
});

test('an answer that the end of the connection ends is complete while the instance lives', async () => {
  const address = await application(({ socket }) => socket.end('HTTP/1.0 200 OK\r\n\r\ndone'));
  assert.deepEqual(await run(address).finished, { outcome: 'succeeded', reason: null, result: 'done' });
});

test('what no store takes is replaced in the result', async () => {
  const address = await application((_request, response) => response.end(Buffer.from([97, 0, 98, 0xff])));
  assert.equal((await run(address).finished).result, 'a\ufffdb\ufffd');
});

test('P4: an abort ends an answer that would never end', async () => {
  const endless = Promise.withResolvers<void>();
  const address = await application((_request, response) => {
    const chunk = Buffer.alloc(65_536, 'x');
    let chunks = 0;
    const write = (): void => {
      while (!response.destroyed && response.write(chunk)) chunks++;
      if (++chunks > 100) endless.resolve();
    };
    response.on('drain', write);
    write();
  });
  const work = run(address);
  await endless.promise;
  work.abort('timed out after 10m');
  assert.equal((await work.finished).reason, 'timed out after 10m');
});

test('P4: an abort is not kept waiting by a connection that broke', async () => {
  const broke = Promise.withResolvers<void>();
  const address = await application(({ socket }) => socket.once('close', broke.resolve).destroy());
  const work = run(address);
  await broke.promise;
  work.abort('the lease is over');
  assert.equal((await work.finished).reason, 'the lease is over');
});

test('a path is sent as the configuration has it, what is not ASCII in it encoded', async () => {
  let url: string | undefined;
  const address = await application((request, response) => {
    url = request.url;
    response.end();
  });
  await run(address, alive, '//jobs/é%20x?all=1&who=ü').finished;
  assert.equal(url, '//jobs/%C3%A9%20x?all=1&who=%C3%BC');
});

test('P10: what cannot be sent is a failure that says why, not a crash', async () => {
  const address = await application(() => assert.fail('nothing is sent'));
  const { outcome, reason } = await run(address, alive, '/\ud800').finished;
  assert.equal(outcome, 'failed');
  assert.match(reason ?? '', /^the request cannot be sent: /);
});

test('P1: an aborted run is over only when its handler has ended, and is renewed no more', async () => {
  const { work, handlers, token, response, isSettled } = await watched();
  work.abort('timed out after 10m');
  await once(response, 'close');
  assert.equal(handlers.renewed(token), false);
  await delay(1_500);
  assert.equal(isSettled(), false, 'its handler has not noticed yet');
  handlers.ended(token);
  assert.deepEqual(await work.finished, timedOut);
});

test('P1: the death of the instance ends an aborted run, and does not change why', async () => {
  const died = Promise.withResolvers<void>();
  const { work, response } = await watched({ instanceDied: () => died.promise });
  work.abort('timed out after 10m');
  await once(response, 'close');
  died.resolve();
  assert.deepEqual(await work.finished, timedOut);
});

test('P1: a handler that never ends is waited for until the limit, and the reason says so', async () => {
  const { work } = await watched({ abortWaitMs: 50 });
  work.abort('timed out after 10m');
  const { reason } = await work.finished;
  assert.equal(reason, 'timed out after 10m; its handler may still be working');
});

test('P1: a connection that breaks under a handler at work fails only when that has ended', async () => {
  const { work, handlers, token, request, isSettled } = await watched();
  request.socket.destroy();
  await delay(1_300);
  assert.equal(isSettled(), false);
  handlers.ended(token);
  assert.match((await work.finished).reason ?? '', /^the request failed: socket hang up$/);
});

test('an answer that was under way when the run was aborted says how it ended', async () => {
  for (const [status, expected] of [
    [200, { outcome: 'succeeded', reason: null, result: 'x' }],
    [409, { ...timedOut, result: 'x' }],
  ] as const) {
    const { work, response } = await watched();
    work.abort('timed out after 10m');
    response.writeHead(status).end('x'); // before the end of the connection is seen
    assert.deepEqual(await work.finished, expected);
  }
});

test('an application that ended its handler before the abort is not waited for', async () => {
  const { work, handlers, token } = await watched();
  handlers.ended(token);
  work.abort('timed out after 10m');
  assert.deepEqual(await work.finished, timedOut);
});
