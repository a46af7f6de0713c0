import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { belongsTo } from '../../testing/balancer/scene.ts';
import { until } from '../../testing/balancer/until.ts';
import { answering, startBalancer, startInstance } from './instance.fixture.ts';

/** Bytes in which no stretch is like another. */
function distinctBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32BE(at, at);
  return bytes;
}

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const bodyOf = (message: Buffer): Buffer => message.subarray(message.indexOf('\r\n\r\n') + 4);
const cookieOf = (instance: string): string => `Cookie: ${belongsTo(instance).Cookie}\r\n`;

test('an upload to an instance that reads slowly arrives as it was sent', async (t) => {
  const body = distinctBytes(24 * 1024 * 1024);
  const hash = createHash('sha256');
  let taken = 0;
  const instance = await startInstance(t, (socket, piece) => {
    const rest = taken === 0 ? bodyOf(piece) : piece;
    taken += rest.length;
    hash.update(rest);
    socket.pause();
    setTimeout(() => socket.resume(), 1);
    if (taken === body.length) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  });
  const { client } = await startBalancer(t, [instance.port]);
  const connection = client(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
  connection.send(body);
  await connection.untilReceived(/200 OK/, 20_000);
  assert.equal(hash.digest('hex'), digest(body));
});

test('P7: a body that came in several pieces is given whole to the next instance', async (t) => {
  const body = distinctBytes(48 * 1024);
  let first: net.Socket | undefined;
  const dying = await startInstance(t, (socket) => {
    first = socket;
  });
  const received: Buffer[] = [];
  const living = await startInstance(t, (socket, piece) => {
    received.push(piece);
    if (bodyOf(Buffer.concat(received)).length === body.length) answering('done')(socket, piece);
  });
  const { client } = await startBalancer(t, [dying.port, living.port]);
  const connection = client(
    `PUT / HTTP/1.1\r\nHost: a\r\n${cookieOf('shop-1')}Content-Length: ${body.length}\r\n\r\n`,
  );
  for (let at = 0; at < body.length; at += 12 * 1024) {
    connection.send(body.subarray(at, at + 12 * 1024));
    await sleep(30);
  }
  await until('the instance has the request', () => first !== undefined);
  first?.resetAndDestroy();
  await connection.untilReceived(/done$/);
  assert.equal(digest(bodyOf(Buffer.concat(received))), digest(body));
});

test('what a client sends through a tunnel arrives as it was sent', async (t) => {
  const bytes = distinctBytes(24 * 1024 * 1024);
  const hash = createHash('sha256');
  let taken = -1;
  const instance = await startInstance(t, (socket, piece) => {
    if (taken < 0) {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      taken = 0;
      return;
    }
    taken += piece.length;
    hash.update(piece);
    socket.pause();
    setTimeout(() => socket.resume(), 1);
  });
  const { client } = await startBalancer(t, [instance.port]);
  const connection = client('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  await connection.untilReceived(/101/);
  connection.send(bytes);
  await until('all of it arrived', () => taken === bytes.length, 20_000);
  assert.equal(hash.digest('hex'), digest(bytes));
});

test('a response that breaks leaves nothing of itself in that of another client', async (t) => {
  const sockets = new Map<string, net.Socket>();
  const instance = await startInstance(t, (socket, piece) => {
    const path = /^GET (\S+)/.exec(piece.toString('latin1'))?.[1] ?? '';
    sockets.set(path, socket);
    if (path === '/whole') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345');
    else socket.write('HTTP/1.1 200 OK\r\nX-Secret: alice\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n');
  });
  const { client } = await startBalancer(t, [instance.port]);
  const whole = client('GET /whole HTTP/1.1\r\nHost: a\r\n\r\n');
  await whole.untilReceived(/12345$/);
  const broken = client('GET /broken HTTP/1.1\r\nHost: a\r\n\r\n');
  await broken.untilClosed();
  sockets.get('/whole')?.write('67890');
  await whole.untilReceived(/67890$/);
  assert.match(whole.received, /\r\n\r\n1234567890$/);
});

test('a body that grows too large when the response has begun breaks it off', async (t) => {
  const instance = await startInstance(t, (socket, piece) => {
    if (piece.toString('latin1').startsWith('POST'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nbegun');
  });
  const { client } = await startBalancer(t, [instance.port], { limits: { bodyBytes: 1_000 } });
  const connection = client('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await connection.untilReceived(/begun/);
  connection.send(`7d0\r\n${'x'.repeat(2_000)}\r\n`);
  await connection.untilClosed();
  assert.match(connection.received, /\r\n\r\nbegun$/);
});

test('behind a body that is too large no further request is read', async (t) => {
  const seen: string[] = [];
  const instance = await startInstance(t, (socket, piece) => {
    seen.push(piece.toString('latin1').split(' ', 2).join(' '));
    if (seen.at(-1)?.startsWith('POST /second')) answering('second')(socket, piece);
  });
  const { client } = await startBalancer(t, [instance.port], { limits: { bodyBytes: 10 } });
  const connection = client(
    'POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `14\r\n${'x'.repeat(20)}\r\n0\r\n\r\nPOST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`,
  );
  await connection.untilReceived(/413/);
  await connection.untilClosed(3_000);
  assert.deepEqual(connection.statuses, [413]);
  assert.ok(!seen.some((line) => line.includes('/second')), seen.join());
});

test('whoever waits for 100 and is given a final answer loses the connection', async (t) => {
  const instance = await startInstance(t, (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
  });
  const { client } = await startBalancer(t, [instance.port]);
  // Whether the body of such a request follows is anybody's guess; a request could be taken for it.
  const connection = client(
    'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n',
  );
  await connection.untilReceived(/401/);
  assert.match(connection.received, /\r\nConnection: close\r\n/);
  await connection.untilClosed(3_000);
});

test('responses that cannot have a body do not announce one', async (t) => {
  const instance = await startInstance(t, (socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nLink: </a>\r\n\r\n');
    socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n');
  });
  const { client } = await startBalancer(t, [instance.port]);
  const connection = client('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await connection.untilReceived(/204[\s\S]*\r\n\r\n/);
  assert.match(connection.received, /^HTTP\/1.1 103 [\s\S]*Link: [\s\S]*204/);
  assert.doesNotMatch(connection.received, /Content-Length/);
});

test('a large request right behind a chunked one is no part of its trailers', async (t) => {
  const paths: string[] = [];
  const instance = await startInstance(t, (socket, piece) => {
    const path = /^POST (\S+)/.exec(piece.toString('latin1'))?.[1];
    if (path !== undefined) paths.push(path);
    if (piece.toString('latin1').endsWith('end')) answering('second')(socket, piece);
    else if (piece.toString('latin1').endsWith('0\r\n\r\n')) answering('first')(socket, piece);
  });
  const { client } = await startBalancer(t, [instance.port]);
  const body = `${'x'.repeat(20_000)}end`;
  const connection = client(
    'POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n' +
      `POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  await connection.untilReceived(/second$/);
  assert.deepEqual(connection.statuses, [200, 200]);
  assert.deepEqual(paths, ['/first', '/second']);
});
