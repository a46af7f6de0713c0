import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { certificatesFor } from '../../testing/balancer/certificates.ts';
import type { Cleanup } from '../../testing/balancer/cleanup.ts';
import { connectHttp2 } from '../../testing/balancer/http2-client.ts';
import { connectSecure } from '../../testing/balancer/raw-connection.ts';
import { until } from '../../testing/balancer/until.ts';
import type { EngineOptions } from '../engine.ts';
import { answering, type Serve, startBalancer, startInstance } from './instance.fixture.ts';

async function startSecure(t: Cleanup, serve: Serve | undefined, options: Partial<EngineOptions> = {}) {
  const [certificate] = await certificatesFor(t, 'shop.test');
  assert.ok(certificate);
  const instance = serve && (await startInstance(t, serve));
  const tls = { certificates: [certificate], http2: true };
  const balancer = await startBalancer(t, instance ? [instance.port] : [], { ...options, tls });
  return { ...balancer, instance, certificate, http2: () => connectHttp2(t, balancer.port, certificate) };
}

test('a response without announced length that breaks under TLS breaks at the client, and nothing else', async (t) => {
  const { port, certificate, engine } = await startSecure(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\nhalf');
    setTimeout(() => socket.resetAndDestroy(), 50);
  });
  const connection = connectSecure(t, port, { servername: 'shop.test', ca: certificate.ca });
  connection.send('GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n');
  await connection.untilReceived(/half$/);
  await connection.untilClosed();
  await until('nothing is under way', () => engine.status().clients.connections === 0);
});

test('HTTP/2: no header of an instance can break the balancer', async (t) => {
  const { http2 } = await startSecure(t, (socket) => {
    socket.write(
      'HTTP/1.1 200 OK\r\nHTTP2-Settings: x\r\nConstructor: a\r\n__proto__: b\r\nContent-Length: 0\r\n\r\n',
    );
  });
  const reply = await (await http2()).ask('/');
  assert.equal(reply.status, 200);
  assert.equal(reply.headers['constructor' as string], 'a');
  assert.equal(reply.headers['http2-settings'], undefined);
});

test('HTTP/2: a stream that its client ended in peace while it waited is not answered', async (t) => {
  const { engine, http2: connect } = await startSecure(t, undefined, { limits: { holdMs: 300 } });
  const client = await connect();
  const stream = client.session.request({ ':method': 'POST', ':path': '/', ':authority': 'shop.test' });
  stream.write(Buffer.alloc(50_000));
  stream.on('error', () => undefined);
  await until('it waits', () => engine.status().clients.waiting === 1);
  stream.close(http2.constants.NGHTTP2_NO_ERROR);
  await until('it waits no more', () => engine.status().clients.waiting === 0);
  await sleep(100);
});

test('HTTP/2: a request that never ends behind its answer does not keep the stream', async (t) => {
  const { engine, http2: connect } = await startSecure(t, answering('done'), { limits: { bodyIdleMs: 300 } });
  const client = await connect();
  const stream = client.session.request({ ':method': 'POST', ':path': '/', ':authority': 'shop.test' });
  stream.write('begun');
  stream.resume();
  await until('the stream is closed', () => stream.closed, 3_000);
  assert.equal(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
  assert.equal(engine.status().clients.connections, 1);
  assert.equal((await client.ask('/')).status, 200);
});

test('HTTP/2: whoever takes nothing of an answer loses the stream, though the instance has finished', async (t) => {
  const { engine, http2: connect } = await startSecure(t, answering('x'.repeat(200_000)), {
    limits: { readIdleMs: 400 },
  });
  const client = await connect();
  const stream = client.open('/');
  stream.pause();
  stream.on('error', () => undefined);
  await until('the instance has finished', () => engine.status().instances[0]?.responses[1] === 1);
  await until('the stream is cut', () => stream.closed, 4_000);
  assert.notEqual(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
});
