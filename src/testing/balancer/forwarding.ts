import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import type { RecordEntry } from './backend-process.ts';
import { arrivedHeaders, writeRaw } from './client.ts';
import { connectRaw } from './raw-connection.ts';
import { setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** What of a request reaches the instance, what of a response the client, and what happens when one of them leaves. */
export function forwardingTests(suite: Suite): void {
  headerTests(suite);
  bodyTests(suite);
  abortTests(suite);
}

function headerTests({ start, test }: Suite): void {
  test('P10: forwarded headers of an untrusted client are dropped and written anew', async (t) => {
    const scene = await setScene(t, start);
    const headers = {
      'X-Forwarded-For': '10.0.0.1',
      'X-Real-IP': '10.0.0.1',
      Forwarded: 'for=10.0.0.1',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'evil.example',
      X_Forwarded_For: '10.0.0.1',
      Host: 'shop.example.com:8080',
    };
    const seen = arrivedHeaders((await scene.ask('/echo', { headers })).body);
    assert.deepEqual(seen('x-forwarded-for'), ['127.0.0.1']);
    assert.deepEqual(seen('x-real-ip'), ['127.0.0.1']);
    assert.deepEqual(seen('x-forwarded-proto'), ['http']);
    assert.deepEqual(seen('x-forwarded-scheme'), ['http']);
    assert.deepEqual(seen('x-forwarded-host'), ['shop.example.com:8080']);
    assert.deepEqual(seen('x-forwarded-port'), ['8080']);
    assert.deepEqual(seen('forwarded'), ['for=127.0.0.1;host="shop.example.com:8080";proto=http']);
    assert.deepEqual(seen('x_forwarded_for'), []);
    assert.deepEqual(seen('host'), ['shop.example.com:8080']);
  });

  test('forwarded headers of a trusted proxy are believed', async (t) => {
    const scene = await setScene(t, start, { engine: { trustedProxies: ['127.0.0.0/8'] } });
    const headers = { 'X-Forwarded-For': '6.6.6.6, 203.0.113.9', 'X-Forwarded-Proto': 'https' };
    const seen = arrivedHeaders((await scene.ask('/echo', { headers })).body);
    assert.deepEqual(seen('x-forwarded-for'), ['203.0.113.9, 127.0.0.1']);
    assert.deepEqual(seen('x-real-ip'), ['203.0.113.9']);
    assert.deepEqual(seen('x-forwarded-proto'), ['https']);
  });

  test('headers of one connection go no further', async (t) => {
    const scene = await setScene(t, start);
    const headers = { Connection: 'close, X-Once', 'X-Once': '1', TE: 'trailers', 'X-Kept': '2' };
    const seen = arrivedHeaders((await scene.ask('/echo', { headers })).body);
    assert.deepEqual(seen('x-once'), []);
    assert.deepEqual(seen('te'), []);
    assert.deepEqual(seen('x-kept'), ['2']);
  });

  test('several Set-Cookie headers of the application arrive as several', async (t) => {
    const scene = await setScene(t, start);
    const reply = await scene.ask('/cookies');
    const cookies = reply.headers['set-cookie'] ?? [];
    assert.deepEqual(
      cookies.filter((line) => !line.startsWith('holdfast=')),
      ['a=1', 'b=2'],
    );
    assert.equal(cookies.length, 3);
  });

  test('an absolute target is sent on as a path, with its own host', async (t) => {
    const scene = await setScene(t, start);
    const target = 'http://shop.example.com/echo?a=1';
    const head = `GET ${target} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n`;
    const connection = connectRaw(t, scene.port, head);
    await connection.untilReceived(/"bytes":0\}/);
    const body = /\{.*\}/.exec(connection.received)?.[0] ?? '{}';
    assert.equal(JSON.parse(body).url, '/echo?a=1');
    assert.deepEqual(arrivedHeaders(body)('host'), ['shop.example.com']);
  });

  test('P10: with an absolute target another Host never counts', async (t) => {
    const scene = await setScene(t, start);
    const target = 'http://shop.example.com/echo?a=1';
    const head = `GET ${target} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n`;
    const connection = connectRaw(t, scene.port, head);
    await connection.untilClosed();
    if (connection.statuses[0] === 400) return; // refusing it is as good
    const body = /\{.*\}/.exec(connection.received)?.[0] ?? '{}';
    assert.deepEqual(arrivedHeaders(body)('host'), ['shop.example.com']);
    assert.deepEqual(arrivedHeaders(body)('x-forwarded-host'), ['shop.example.com']);
  });

  test('P10: a header that some server would take for a framing header goes no further', async (t) => {
    const scene = await setScene(t, start);
    const headers = { Transfer_Encoding: 'chunked', Content_Length: '5' };
    const reply = await scene.ask('/echo', { headers });
    if (reply.status === 400) return; // refusing it is as good
    const seen = arrivedHeaders(reply.body);
    assert.deepEqual([seen('transfer_encoding'), seen('content_length')], [[], []]);
  });
}

function bodyTests({ start, test }: Suite): void {
  test('HEAD, 204 and 304 have no body and leave the connection usable', async (t) => {
    const scene = await setScene(t, start);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    assert.equal((await scene.ask('/whoami', { method: 'HEAD', agent })).body, '');
    assert.equal((await scene.ask('/status?code=204', { agent })).status, 204);
    assert.equal((await scene.ask('/status?code=304', { agent })).status, 304);
    assert.match((await scene.ask('/whoami', { agent })).body, /^shop-/);
  });

  test('a chunked body goes up and a chunked body comes down', async (t) => {
    const scene = await setScene(t, start);
    const headers = { 'Transfer-Encoding': 'chunked' };
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const reply = await scene.ask('/echo', { method, headers, body: 'ünïcode '.repeat(1_000) });
      assert.equal(JSON.parse(reply.body).body, 'ünïcode '.repeat(1_000), method);
    }
    const stream = await scene.ask('/stream');
    assert.equal(stream.body, 'data: 1\n\ndata: 2\n\ndata: 3\n\n');
  });

  test('the head and each piece of an event stream arrive as they are sent', async (t) => {
    const scene = await setScene(t, start);
    const pieces: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const request = http.get(
        { host: '127.0.0.1', port: scene.port, path: '/stream', agent: false },
        (response) => {
          pieces.push('head');
          response.on('data', (chunk: Buffer) => pieces.push(chunk.toString()));
          response.on('end', resolve);
        },
      );
      request.on('error', reject);
    });
    assert.deepEqual(pieces, ['head', 'data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']);
  });

  test('a large upload and a large download arrive whole', async (t) => {
    const scene = await setScene(t, start);
    const body = Buffer.alloc(8 * 1024 * 1024, 'u');
    const up = await scene.ask('/echo', { method: 'POST', body });
    assert.equal(JSON.parse(up.body).bytes, body.length);
    const down = await scene.ask('/big?chunks=256');
    assert.equal(down.body.length, 256 * 64 * 1024);
  });

  test('a client that reads slowly slows the instance down instead of filling the memory', async (t) => {
    const scene = await setScene(t, start);
    const before = process.memoryUsage().rss;
    const socket = net.connect(scene.port, '127.0.0.1');
    t.after(() => socket.destroy());
    socket.pause();
    socket.write('GET /big?chunks=4096 HTTP/1.1\r\nHost: a\r\n\r\n'); // 256 MiB
    await until('the response has begun', () => scene.inFlight === 1);
    await scene.ask('/slow?ms=400', {});
    await until('only the response is in flight', () => scene.inFlight === 1);
    assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
    socket.destroy();
    const of = (entry: RecordEntry) => entry.closed === '/big?chunks=4096';
    await until('the instance is told', async () => (await scene.allRecords()).some(of));
    const taken = Number((await scene.allRecords()).find(of)?.taken);
    assert.ok(taken < 64 * 1024 * 1024, `${taken} bytes were taken from the instance`);
  });

  test('Expect: 100-continue is answered by the instance, and a refusal spares the body', async (t) => {
    const scene = await setScene(t, start);
    const head = 'HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n';
    assert.match(await writeRaw(scene.port, `POST /refuse ${head}`, 500), /^HTTP\/1\.1 413 /);
    const socket = net.connect(scene.port, '127.0.0.1');
    t.after(() => socket.destroy());
    socket.setEncoding('latin1');
    let received = '';
    socket.on('data', (text) => {
      received += text;
      if (received === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write('order');
    });
    socket.write(`POST /echo ${head}`);
    await until('the response is there', () => received.includes('"body":"order"'));
    assert.match(received, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  });
}

function abortTests({ start, test }: Suite): void {
  test('a client that goes away is gone for the instance too', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    for (const path of ['/hang', '/stream?endless']) {
      const request = http.get({ host: '127.0.0.1', port: scene.port, path, agent: false });
      request.on('error', () => undefined); // our own abort
      await scene.untilRecorded('shop-1', (entry) => entry.url === path);
      request.destroy();
      await scene.untilRecorded('shop-1', (entry) => entry.closed === path);
      await until('nothing is in flight', () => scene.inFlight === 0);
    }
    await scene.untilCounted('shop-1', { failed: 0, replayed: 0 });
  });

  test('a client that goes away in the middle of its upload leaves no half request standing', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const socket = net.connect(scene.port, '127.0.0.1');
    socket.write('POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf');
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    socket.destroy();
    await scene.untilRecorded('shop-1', (entry) => entry.closed === '/hang');
    await until('nothing is in flight', () => scene.inFlight === 0);
  });

  test('connections to an instance are used again', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    for (let i = 0; i < 20; i++) await scene.ask('/whoami');
    await scene.untilCounted('shop-1', { requests: 20, inFlight: 0, failed: 0 });
    const ports = new Set((await scene.backend('shop-1').records()).map((entry) => entry.peerPort));
    assert.ok(ports.size <= 2, `${ports.size} connections for 20 requests`);
  });
}
