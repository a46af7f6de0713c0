import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder } from '../../testing/balancer/cleanup.ts';
import { belongsTo } from '../../testing/balancer/scene.ts';
import { until } from '../../testing/balancer/until.ts';
import type { IdempotencyAnswer, IdempotencyLedger } from '../idempotency.ts';
import { answering, deadPort, startBalancer, startInstance } from './instance.fixture.ts';
import { unsentBytes } from './socket-reader.ts';

/** A ledger that writes down what it is told, and says to each claim what the test wants. */
function ledgerOf(answer: () => Promise<IdempotencyAnswer>): IdempotencyLedger & { readonly told: string[] } {
  const told: string[] = [];
  const note = (what: string) => async () => void told.push(what);
  return { told, claim: answer, finish: note('finish'), release: note('release'), forget: note('forget') };
}

const granting = () => ledgerOf(async () => ({ kind: 'granted', token: 'token' }));

test('a client that leaves after its request was given to another instance is noticed', async (t) => {
  const dying = await startInstance(t, (socket) => socket.resetAndDestroy());
  const living = await startInstance(t, () => undefined);
  const { client } = await startBalancer(t, [dying.port, living.port]);
  const { Cookie } = belongsTo('shop-1');
  const connection = client(`GET / HTTP/1.1\r\nHost: a\r\nCookie: ${Cookie}\r\n\r\n`);
  await until('the second instance has it', () => living.connections.length === 1);
  connection.socket.destroy();
  await until('it hears that the client has left', () => living.connections[0]?.closed === true, 2_000);
});

test('a client that leaves during its second request in a row is noticed', async (t) => {
  const instance = await startInstance(t, (socket, piece) => {
    if (piece.toString('latin1').startsWith('GET /first')) answering('first')(socket, piece);
  });
  const { client, engine } = await startBalancer(t, [instance.port]);
  const connection = client('GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n');
  await connection.untilReceived(/first$/);
  await until('the second is under way', () => engine.status().instances[0]?.requests === 2);
  connection.socket.destroy();
  await until('nothing is under way', () => engine.status().instances[0]?.inFlight === 0, 2_000);
});

test('the access log does not take the status of a request for that of the next one', async (t) => {
  const file = join(await temporaryFolder(t), 'access.log');
  const instance = await startInstance(t, answering('done'));
  const { client, engine } = await startBalancer(t, [instance.port], { accessLog: { file, sample: 1 } });
  const connection = client('GET /first HTTP/1.1\r\nHost: a\r\n\r\n');
  await connection.untilReceived(/done$/);
  engine.apply({ cluster: 'test', stickyKey: '', instances: [] });
  connection.send('GET /second HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('it waits', () => engine.status().clients.waiting === 1);
  connection.socket.destroy();
  await until('it waits no more', () => engine.status().clients.waiting === 0);
  await engine.close({ graceMs: 0 });
  const lines = (await readFile(file, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ path, status, bytesOut }) => ({ path, status, bytesOut })),
    [
      { path: '/first', status: 200, bytesOut: 4 },
      { path: '/second', status: 0, bytesOut: 0 },
    ],
  );
});

test('a connection that told an instance of one client is not kept', async (t) => {
  const instance = await startInstance(t, answering('done'));
  const { client, engine } = await startBalancer(t, [instance.port], { proxyProtocol: { to: 'v1' } });
  await client('GET / HTTP/1.1\r\nHost: a\r\n\r\n').untilReceived(/done$/);
  await until('it is closed', () => engine.status().instances[0]?.connections === 0, 2_000);
});

const keyed = (headers: string, body = ''): string =>
  `POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n${headers}\r\n${body}`;

test('a key whose request reached no instance is free again', async (t) => {
  const idempotency = granting();
  const { client } = await startBalancer(t, [await deadPort()], { idempotency, limits: { holdMs: 200 } });
  await client(keyed('Content-Length: 4\r\n', 'body')).untilReceived(/503/);
  await until('the ledger is told', () => idempotency.told.length > 0);
  assert.deepEqual(idempotency.told, ['release']);
});

test('a key whose request reached an instance that was lost is not free again', async (t) => {
  const idempotency = granting();
  const instance = await startInstance(t, (socket) => socket.resetAndDestroy());
  const { client } = await startBalancer(t, [instance.port], { idempotency });
  await client(keyed('Content-Length: 4\r\n', 'body')).untilReceived(/502/);
  await until('the ledger is told', () => idempotency.told.length > 0);
  assert.deepEqual(idempotency.told, ['forget']);
});

test('while nobody says what a key is worth, a large body waits at its client', async (t) => {
  const answer = Promise.withResolvers<IdempotencyAnswer>();
  const instance = await startInstance(t, (socket, piece) => {
    if (piece.toString('latin1').endsWith('0\r\n\r\n')) answering('done')(socket, piece);
  });
  const { client } = await startBalancer(t, [instance.port], { idempotency: ledgerOf(() => answer.promise) });
  const connection = client(keyed('Transfer-Encoding: chunked\r\n'));
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  // Far more than the kernel holds.
  for (let count = 0; count < 400; count++) connection.send(chunk);
  connection.send('0\r\n\r\n');
  let before = -1;
  await until('nothing moves', async () => {
    const waiting = unsentBytes(connection.socket);
    if (waiting === before) return true;
    before = waiting;
    await sleep(300);
    return false;
  });
  assert.ok(before > 1_000_000, `${before} bytes wait`);
  answer.resolve({ kind: 'granted', token: 'token' });
  await connection.untilReceived(/done$/, 20_000);
});

test('a body that its key waits for must not take for ever', async (t) => {
  const { client } = await startBalancer(t, [], { idempotency: granting(), limits: { bodyIdleMs: 300 } });
  const connection = client(keyed('Content-Length: 4\r\n', 'bo'));
  await connection.untilReceived(/408/, 2_000);
});

test('a request that the end of the engine cuts is in the access log', async (t) => {
  const file = join(await temporaryFolder(t), 'access.log');
  const instance = await startInstance(t, () => undefined);
  const { client, engine } = await startBalancer(t, [instance.port], { accessLog: { file, sample: 1 } });
  client('GET /cut HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('the instance has it', () => instance.connections.length === 1);
  await engine.close({ graceMs: 0 });
  assert.match(await readFile(file, 'utf8'), /"path":"\/cut"/);
  assert.equal(engine.status().instances[0]?.inFlight, 0);
});
