import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { until } from '../platform/fixtures/until.ts';
import { assumedHealthy, type HealthState, isInDoubt, observeHealth } from '../protocol/health.ts';
import { HoldfastError } from '../support/errors.ts';
import type { HealthOptions } from './engine.ts';
import { type HealthTarget, type HealthWatch, watchHealth } from './health-check.ts';

/** Checks only when there is a reason to, unless a test says otherwise. */
const options: HealthOptions = {
  path: '/health?deep=1',
  everyMs: 60_000,
  timeoutMs: 2_000,
  unhealthyAfter: 2,
  healthyAfter: 2,
  status: [200, 399],
};

interface Watched {
  readonly watch: HealthWatch;
  readonly results: { readonly ok: boolean; readonly reason: string; readonly atMs: number }[];
  readonly health: () => HealthState;
}

function watched(t: TestContext, target: HealthTarget, changed: Partial<HealthOptions> = {}): Watched {
  const all = { ...options, ...changed };
  const results: Watched['results'] = [];
  let health = assumedHealthy;
  const watch = watchHealth(target, all, (ok, reason) => {
    results.push({ ok, reason, atMs: performance.now() });
    health = observeHealth(health, ok, all);
    return { inDoubt: isInDoubt(health) };
  });
  t.after(() => watch.stop());
  return { watch, results, health: () => health };
}

async function listening(t: TestContext, server: net.Server): Promise<HealthTarget> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

const application = (t: TestContext, listener: http.RequestListener): Promise<HealthTarget> =>
  listening(t, http.createServer(listener));

/** A server below HTTP: what it sends once a whole request is there, or nothing. */
const rawServer = (t: TestContext, answer: string | undefined): Promise<HealthTarget> =>
  listening(
    t,
    net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => answer !== undefined && socket.end(answer));
    }),
  );

async function firstResult(
  t: TestContext,
  target: HealthTarget,
  changed: Partial<HealthOptions> = {},
): Promise<{ ok: boolean; reason: string }> {
  const { watch, results } = watched(t, target, changed);
  watch.start();
  await until(() => results.length > 0);
  watch.stop();
  const { ok = false, reason = '' } = results[0] ?? {};
  return { ok, reason };
}

test('a check is a GET of the path, on a connection of its own', async (t) => {
  const requests: http.IncomingMessage[] = [];
  const target = await application(t, (request, response) => {
    requests.push(request);
    response.end('fine');
  });
  const { watch, results } = watched(t, target, { everyMs: 10 });
  watch.start();
  watch.start();
  await until(() => results.length >= 5);
  assert.ok(results.every(({ ok, reason }) => ok && reason === 'status 200'));
  assert.equal(new Set(requests.map(({ socket }) => socket)).size, requests.length);
  for (const { method, url, headers } of requests) {
    assert.deepEqual([method, url, headers.host], ['GET', '/health?deep=1', `127.0.0.1:${target.port}`]);
    assert.equal(headers.connection, 'close');
  }
});

test('between checks there is a pause', async (t) => {
  const target = await application(t, (_, response) => response.end());
  const { watch, results } = watched(t, target, { everyMs: 100 });
  watch.start();
  await until(() => results.length >= 4);
  const pauses = results.slice(1).map(({ atMs }, index) => atMs - (results[index]?.atMs ?? 0));
  assert.ok(
    pauses.every((pauseMs) => pauseMs >= 99),
    `pauses of ${pauses.map(Math.round)} ms`,
  );
});

test('the status must be within the range', async (t) => {
  const cases: [status: number, range: [number, number], ok: boolean][] = [
    [200, [200, 399], true],
    [399, [200, 399], true],
    [400, [200, 399], false],
    [503, [200, 399], false],
    [200, [204, 204], false],
    [204, [204, 204], true],
    [401, [200, 401], true],
  ];
  for (const [status, range, ok] of cases) {
    const target = await application(t, (_, response) => response.writeHead(status).end());
    assert.deepEqual(await firstResult(t, target, { status: range }), { ok, reason: `status ${status}` });
  }
});

test('nobody listens: the check fails at once, with the reason', async (t) => {
  const server = net.createServer();
  const target = await listening(t, server);
  server.close();
  await once(server, 'close');
  assert.deepEqual(await firstResult(t, target), { ok: false, reason: 'ECONNREFUSED' });
});

test('a server that accepts and never answers fails when the time is over', async (t) => {
  const target = await rawServer(t, undefined);
  const startedMs = performance.now();
  const result = await firstResult(t, target, { timeoutMs: 150 });
  assert.deepEqual(result, { ok: false, reason: 'no answer within 150 ms' });
  assert.ok(performance.now() - startedMs >= 149);
});

test('what is no HTTP, or no whole answer, is a failure', async (t) => {
  const cases: [answer: string, changed: Partial<HealthOptions>, reason: RegExp][] = [
    ['SSH-2.0-OpenSSH_9.2\r\n', {}, /^HPE_/],
    ['', {}, /^(?:ECONNRESET|the connection was closed)/],
    ['HTTP/1.1 200 OK\r\nContent-Le', {}, /^(?:ECONNRESET|HPE_|the connection was closed)/],
    ['HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', {}, /./],
    [
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfine',
      { body: 'fine' },
      /^the connection was closed before/,
    ],
  ];
  for (const [answer, changed, reason] of cases) {
    const result = await firstResult(t, await rawServer(t, answer), changed);
    assert.equal(result.ok, false, answer);
    assert.match(result.reason, reason);
  }
});

test('the body must match, where an expression is given', async (t) => {
  const target = await application(t, (_, response) => response.end('{"state": "größer"}'));
  assert.deepEqual(await firstResult(t, target, { body: '"state":\\s*"größer"' }), {
    ok: true,
    reason: 'status 200, and the body matches',
  });
  assert.deepEqual(await firstResult(t, target, { body: 'ready' }), {
    ok: false,
    reason: 'status 200, and the body does not match',
  });
});

test('a body is looked at as a whole, not as its pieces arrive', async (t) => {
  const target = await application(t, (_, response) => {
    response.write('ready');
    setTimeout(() => response.end(', but not quite'), 30);
  });
  assert.equal((await firstResult(t, target, { body: '^ready$' })).ok, false);
  assert.equal((await firstResult(t, target, { body: '^ready, but not quite$' })).ok, true);
});

test('a good body does not make up for a bad status', async (t) => {
  const target = await application(t, (_, response) => response.writeHead(500).end('ready'));
  assert.deepEqual(await firstResult(t, target, { body: 'ready' }), { ok: false, reason: 'status 500' });
});

test('only the first 64 KiB of the body count', async (t) => {
  const before = (bytes: number) =>
    application(t, (_, response) => response.end(`${'x'.repeat(bytes)}ready${'x'.repeat(200_000)}`));
  assert.equal((await firstResult(t, await before(64 * 1024 - 5), { body: 'ready' })).ok, true);
  assert.equal((await firstResult(t, await before(64 * 1024 - 4), { body: 'ready' })).ok, false);
});

/** Sends without an end, and notes when it was cut off. */
async function endlessServer(
  t: TestContext,
  piece: string,
): Promise<{ target: HealthTarget; cut: () => number }> {
  let cut = 0;
  const target = await application(t, (_, response) => {
    const sending = setInterval(() => response.write(piece), 5);
    response.on('close', () => {
      clearInterval(sending);
      cut++;
    });
  });
  return { target, cut: () => cut };
}

test('an endless body is judged by its beginning, and the connection is cut', async (t) => {
  const { target, cut } = await endlessServer(t, `ready${'x'.repeat(20_000)}`);
  const { watch, results } = watched(t, target, { body: '^ready' });
  watch.start();
  await until(() => results.length === 1 && cut() === 1);
  assert.equal(results[0]?.ok, true);
});

test('an endless body that hardly moves fails when the time is over, if the body matters', async (t) => {
  const { target, cut } = await endlessServer(t, 'ready');
  const { watch, results } = watched(t, target, { body: 'ready', timeoutMs: 100, unhealthyAfter: 1 });
  watch.start();
  await until(() => results.length === 1 && cut() === 1);
  assert.deepEqual([results[0]?.ok, results[0]?.reason], [false, 'no answer within 100 ms']);
});

test('where the body does not matter an endless one is good at once, and is cut when the time is over', async (t) => {
  const { target, cut } = await endlessServer(t, 'ready');
  const { watch, results } = watched(t, target, { timeoutMs: 300 });
  watch.start();
  await until(() => results.length === 1);
  assert.equal(cut(), 0);
  await until(() => cut() === 1);
  assert.deepEqual(
    results.map(({ ok }) => ok),
    [true],
  );
});

test('a failure in doubt is followed by the next check at once, until the verdict has changed', async (t) => {
  let well = true;
  const target = await application(t, (_, response) => response.writeHead(well ? 200 : 500).end());
  const { watch, results, health } = watched(t, target, { unhealthyAfter: 3, healthyAfter: 2 });
  watch.start();
  await until(() => results.length === 1);
  well = false;
  const startedMs = performance.now();
  watch.checkNow();
  await until(() => health().verdict === 'unhealthy');
  assert.ok(performance.now() - startedMs < 5_000, 'long before the next check by the clock');
  assert.equal(results.length, 4);
  well = true;
  watch.checkNow();
  await until(() => health().verdict === 'healthy');
  assert.equal(results.length, 6);
});

test('a server that freezes is found within its number of limits', async (t) => {
  let frozen = false;
  const target = await application(t, (_, response) => frozen || response.end());
  const { watch, results, health } = watched(t, target, { timeoutMs: 100, unhealthyAfter: 2 });
  watch.start();
  await until(() => results.length === 1);
  frozen = true;
  watch.checkNow();
  await until(() => health().verdict === 'unhealthy');
  const tookMs = (results[2]?.atMs ?? Number.NaN) - (results[1]?.atMs ?? Number.NaN);
  assert.ok(tookMs >= 99 && tookMs < 1_000, `${tookMs} ms`);
});

/** Asks for a check over and over, as traffic does that meets one oddity after the other. */
function askWildly(t: TestContext, watch: HealthWatch): void {
  const asking = setInterval(() => watch.checkNow(), 2);
  t.after(() => clearInterval(asking));
}

const pausesOf = (results: Watched['results']): number[] =>
  results.slice(1).map(({ atMs }, index) => atMs - (results[index]?.atMs ?? 0));

test('while all is well, traffic gets one check in 250 ms, and it gets it', async (t) => {
  const target = await application(t, (_, response) => response.end());
  const { watch, results } = watched(t, target);
  watch.start();
  await until(() => results.length === 1);
  askWildly(t, watch);
  await until(() => results.length === 5);
  const [first = 0, ...others] = pausesOf(results);
  assert.ok(first >= 49, `the first one after ${first} ms`);
  // Three pauses of 250 ms between the beginnings; the ends, which are seen here, lie a little otherwise.
  const tookMs = others.reduce((sum, pauseMs) => sum + pauseMs, 0);
  assert.ok(tookMs >= 600, `three more within ${tookMs} ms`);
});

test('an instance that is not well is looked at more often, when traffic asks, but not without pause', async (t) => {
  const target = await application(t, (_, response) => response.writeHead(500).end());
  const { watch, results, health } = watched(t, target);
  watch.start();
  await until(() => health().verdict === 'unhealthy');
  const before = results.length;
  askWildly(t, watch);
  await until(() => results.length === before + 6);
  const pauses = pausesOf(results.slice(before));
  assert.ok(
    pauses.every((pauseMs) => pauseMs >= 49),
    `${pauses.map(Math.round)} ms`,
  );
  assert.ok(Math.min(...pauses) < 225, `${pauses.map(Math.round)} ms`);
});

test('a check that is asked for too early comes as soon as it may, even if nobody asks again', async (t) => {
  let well = true;
  const target = await application(t, (_, response) => response.writeHead(well ? 200 : 500).end());
  const { watch, results } = watched(t, target);
  watch.start();
  await until(() => results.length === 1);
  well = false;
  watch.checkNow();
  await until(() => results.length > 1);
  assert.equal(results[1]?.ok, false);
});

test('a check that is asked for while one is under way is that one', async (t) => {
  let connections = 0;
  const server = net.createServer(() => connections++);
  const target = await listening(t, server);
  const { watch, results } = watched(t, target, { timeoutMs: 300, unhealthyAfter: 1 });
  watch.start();
  await until(() => connections === 1);
  for (let i = 0; i < 10; i++) watch.checkNow();
  await until(() => results.length === 1);
  assert.equal(connections, 1);
});

test('after it was stopped nothing is told, nothing is asked, and no connection is left', async (t) => {
  let open = 0;
  let connections = 0;
  const server = net.createServer((socket) => {
    open++;
    connections++;
    socket
      .on('error', () => undefined)
      .on('close', () => open--)
      .resume();
  });
  const target = await listening(t, server);
  const { watch, results } = watched(t, target, { timeoutMs: 100, everyMs: 10 });
  watch.start();
  await until(() => open === 1);
  watch.stop();
  watch.checkNow();
  await until(() => open === 0);
  assert.deepEqual([results.length, connections], [0, 1]);
  watch.start();
  await until(() => results.length === 1);
  watch.stop();
  assert.equal(results[0]?.ok, false);
});

test('who is told a result may stop the checks, or begin them anew', async (t) => {
  const target = await application(t, (_, response) => response.end());
  const told: boolean[] = [];
  const watch = watchHealth(target, options, (ok) => {
    told.push(ok);
    watch.stop();
    if (told.length < 3) watch.start();
    return { inDoubt: false };
  });
  watch.start();
  await until(() => told.length === 3);
  watch.checkNow();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(told.length, 3);
});

test('an instance that expects a PROXY header gets one that speaks for the balancer itself', async (t) => {
  for (const [proxyProtocol, header] of [
    ['v1', 'PROXY UNKNOWN\r\n'],
    ['v2', '\r\n\r\n\0\r\nQUIT\n\x20\0\0\0'],
  ] as const) {
    let received = '';
    const server = net.createServer((socket) => {
      socket.on('data', (bytes: Buffer) => {
        received += bytes.toString('latin1');
        if (received.endsWith('\r\n\r\n') && received.length > 40)
          socket.end('HTTP/1.1 204 No Content\r\n\r\n');
      });
    });
    const target = await listening(t, server);
    assert.equal((await firstResult(t, { ...target, proxyProtocol })).ok, true);
    assert.ok(received.startsWith(`${header}GET /health?deep=1 HTTP/1.1\r\n`), JSON.stringify(received));
  }
});

test('an answer that is there counts, even if our own process had no time to read it before the limit', async (t) => {
  // In a thread of its own, because the main one is kept busy.
  const code = `
    const { parentPort } = require('node:worker_threads');
    const server = require('node:http').createServer((request, response) => {
      parentPort.postMessage('asked');
      setTimeout(() => response.end(), 50);
    });
    server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
  `;
  const worker = new Worker(code, { eval: true });
  t.after(() => worker.terminate());
  const [port] = (await once(worker, 'message')) as [number];
  const { watch, results } = watched(t, { host: '127.0.0.1', port }, { timeoutMs: 200 });
  watch.start();
  await once(worker, 'message');
  const busyUntilMs = performance.now() + 500;
  while (performance.now() < busyUntilMs);
  await until(() => results.length === 1);
  assert.deepEqual([results[0]?.ok, results[0]?.reason], [true, 'status 200']);
});

test('P10: an expression that is none is named together with its setting', () => {
  assert.throws(
    () => watchHealth({ host: '127.0.0.1', port: 1 }, { ...options, body: '(' }, () => ({ inDoubt: false })),
    (error) =>
      error instanceof HoldfastError &&
      error.code === 'CONFIGURATION_INVALID' &&
      error.message.startsWith('balancer.health.body: "(":'),
  );
});
