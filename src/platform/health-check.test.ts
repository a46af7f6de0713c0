import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { findFreePort } from './free-port.ts';
import { type CheckResult, checkHealth } from './health-check.ts';

async function listen(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const serve = (t: TestContext, answer: RequestListener): Promise<number> => listen(t, createServer(answer));
const say = (t: TestContext, text: string): Promise<number> =>
  listen(
    t,
    createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write(text));
    }),
  );

const check = (
  port: number,
  options: { status?: [number, number]; body?: RegExp; timeoutMs?: number; path?: string } = {},
) => checkHealth({ host: '127.0.0.1', port, path: '/health', timeoutMs: 5_000, ...options });

function reasonOf(result: CheckResult): string {
  assert.equal(result.ok, false);
  return result.ok ? '' : result.reason;
}

test('an answer from 200 to 399 is healthy, with the time it took', async (t) => {
  const seen: string[] = [];
  const port = await serve(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.connection}`);
    response.writeHead(request.url === '/login' ? 302 : 200).end('OK');
  });
  const result = await check(port);
  assert.ok(result.ok && result.latencyMs >= 0 && result.latencyMs < 5_000);
  assert.equal((await check(port, { path: '/login' })).ok, true);
  assert.deepEqual(seen, ['GET /health close', 'GET /login close']);
});

test('another answer is a reason with the start of its body, on one line', async (t) => {
  const port = await serve(t, (_, response) =>
    response.writeHead(503).end('{\n  "why":\t"no\u001b[31m database"\n}'),
  );
  assert.equal(
    reasonOf(await check(port)),
    'answered 503 Service Unavailable: { "why": "no [31m database" }',
  );
});

test('an expected status is the only healthy one', async (t) => {
  const port = await serve(t, (_, response) => response.writeHead(204).end());
  assert.equal((await check(port, { status: [204, 204] })).ok, true);
  const reason = reasonOf(await check(port, { status: [200, 200] }));
  assert.equal(reason, 'answered 204 No Content where 200 was expected');
});

test('an expected body must be found in the answer', async (t) => {
  const port = await serve(t, (_, response) => response.end('{"database":"up"}'));
  assert.equal((await check(port, { body: /"database":"up"/ })).ok, true);
  const reason = reasonOf(await check(port, { body: /"queue":"up"/ }));
  assert.equal(reason, 'answered 200 OK with a body that does not match /"queue":"up"/: {"database":"up"}');
});

test('a long body is neither read nor waited for beyond its start', async (t) => {
  const port = await serve(t, (_, response) => {
    response.writeHead(500);
    response.write('x'.repeat(2_000));
  });
  assert.match(reasonOf(await check(port)), /^answered 500 Internal Server Error: x{200}…$/);
});

test('a process that accepts and never answers, as a frozen one, is found by its silence', async (t) => {
  const port = await say(t, '');
  assert.equal(reasonOf(await check(port, { timeoutMs: 50 })), 'connected, but no answer within 50 ms');
});

test('an answer that stops in its headers or in its body is none', async (t) => {
  const headers = await say(t, 'HTTP/1.1 200 OK\r\nContent-Le');
  assert.equal(reasonOf(await check(headers, { timeoutMs: 50 })), 'connected, but no answer within 50 ms');
  const body = await say(t, 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
  assert.equal(
    reasonOf(await check(body, { timeoutMs: 50 })),
    'answered 200, but the body did not end within 50 ms',
  );
});

test('answers that trickle in do not stretch the limit', async (t) => {
  const port = await serve(t, (_, response) => {
    response.writeHead(200);
    const drip = setInterval(() => response.write('x'), 5);
    response.on('close', () => clearInterval(drip));
  });
  const startMs = performance.now();
  assert.match(reasonOf(await check(port, { timeoutMs: 100 })), /did not end within 100 ms/);
  assert.ok(performance.now() - startMs < 2_000);
});

test('nobody there, somebody who hangs up, and somebody who speaks something else are told apart', async (t) => {
  assert.equal(reasonOf(await check(await findFreePort())), 'refuses connections');
  const rude = await listen(
    t,
    createTcpServer((socket) => socket.once('data', () => socket.destroy())),
  );
  assert.equal(reasonOf(await check(rude)), 'closed the connection without a whole answer');
  const cut = await listen(
    t,
    createTcpServer((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')),
    ),
  );
  assert.equal(reasonOf(await check(cut)), 'closed the connection without a whole answer');
  assert.match(reasonOf(await check(await say(t, 'SSH-2.0-OpenSSH\r\n'))), /^did not answer in HTTP \(HPE_/);
  const upgraded = await say(
    t,
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
  );
  assert.equal(reasonOf(await check(upgraded)), 'answered with an upgrade of the protocol');
});

test('P10: a path that no request can have is a reason and not an exception', async () => {
  assert.match(reasonOf(await check(1, { path: '/a b' })), /^the check cannot be made: /);
  assert.match(reasonOf(await check(70_000)), /^the check cannot be made: /);
});

test('every check has a connection of its own', async (t) => {
  const server = createServer((_, response) => response.end('OK'));
  let connections = 0;
  server.on('connection', () => connections++);
  const port = await listen(t, server);
  for (let i = 0; i < 3; i++) assert.equal((await check(port)).ok, true);
  assert.equal(connections, 3);
});
