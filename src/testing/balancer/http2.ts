import assert from 'node:assert/strict';
import { certificatesFor, type TestCertificate } from './certificates.ts';
import type { Cleanup } from './cleanup.ts';
import { arrivedHeaders, raw } from './client.ts';
import { connectHttp2, type Http2Client, replyOf } from './http2-client.ts';
import { belongsTo, type Scene, type SceneOptions, type StartEngine, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** HTTP/2 towards clients: everything that holds for HTTP/1.1 holds for each of its streams. */
export function http2Tests(suite: Suite): void {
  messageTests(suite);
  bodyTests(suite);
  failureTests(suite);
}

interface Http2Scene {
  readonly scene: Scene;
  readonly client: Http2Client;
  readonly certificate: TestCertificate;
}

async function setHttp2Scene(
  t: Cleanup,
  start: StartEngine,
  options: SceneOptions = {},
): Promise<Http2Scene> {
  const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
  const engine = { tls: { certificates: [certificate], http2: true }, ...options.engine };
  const scene = await setScene(t, start, { ...options, engine });
  return { scene, client: await connectHttp2(t, scene.port, certificate), certificate };
}

function messageTests({ start, test }: Suite): void {
  test('HTTP/2: a GET and a POST with a body, with the headers of their hop only', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    assert.match((await client.ask('/whoami')).body, /^shop-[12]$/);
    const body = 'ünïcode '.repeat(10_000);
    const reply = await client.ask('/echo', { method: 'POST', headers: { 'x-kept': '1' }, body });
    assert.equal(JSON.parse(reply.body).body, body);
    const seen = arrivedHeaders(reply.body);
    assert.deepEqual(seen('x-kept'), ['1']);
    assert.deepEqual(seen('host'), ['shop.example.com']);
    assert.deepEqual(seen('x-forwarded-proto'), ['https']);
    assert.deepEqual(seen('x-forwarded-for'), ['127.0.0.1']);
    assert.equal(reply.headers['content-type'], 'application/json');
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) {
      assert.equal(reply.headers[name], undefined, name);
    }
  });

  test('HTTP/2: who does not offer it speaks HTTP/1.1 on the same port', async (t) => {
    const { scene, certificate } = await setHttp2Scene(t, start);
    const reply = await scene.ask('/whoami', {
      secure: { ca: certificate.ca, servername: certificate.name },
    });
    assert.match(reply.body, /^shop-[12]$/);
  });

  test('HTTP/2: many streams at once do not wait for each other', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const slow = client.ask('/slow?ms=700');
    const startedMs = performance.now();
    const many = Array.from({ length: 80 }, (_, index) =>
      client.ask(`/echo?${index}`, index % 2 === 0 ? {} : { method: 'POST', body: `body ${index}` }),
    );
    for (const [index, reply] of (await Promise.all(many)).entries()) {
      const { url, body } = JSON.parse(reply.body);
      assert.deepEqual([url, body], [`/echo?${index}`, index % 2 === 0 ? '' : `body ${index}`]);
    }
    const manyMs = performance.now() - startedMs;
    assert.equal((await slow).status, 200);
    assert.ok(manyMs < performance.now() - startedMs, 'the slow one came last');
  });

  test('HTTP/2: cookies that are split into several fields are one Cookie for the instance', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const cookie = ['a=1', belongsTo('shop-2').Cookie, 'b=2'];
    const { body } = await client.ask('/echo', { headers: { cookie } });
    assert.equal(JSON.parse(body).instance, 'shop-2');
    assert.deepEqual(arrivedHeaders(body)('cookie'), ['a=1; b=2']);
  });

  test('HTTP/2: a new user gets a Secure cookie, beside those of the application', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const cookies = (await client.ask('/cookies')).headers['set-cookie'] ?? [];
    assert.deepEqual(
      cookies.filter((line) => !line.startsWith('holdfast=')),
      ['a=1', 'b=2'],
    );
    assert.match(cookies.find((line) => line.startsWith('holdfast=')) ?? '', /; Secure$/);
  });

  test('HTTP/2: HEAD, 204 and 304 have no body, and 103 comes before its response', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const head = await client.ask('/whoami', { method: 'HEAD' });
    assert.deepEqual([head.body, head.headers['content-length']], ['', '6']);
    assert.equal((await client.ask('/status?code=204')).status, 204);
    assert.equal((await client.ask('/status?code=304')).status, 304);
    const early = await client.ask('/early');
    assert.deepEqual([early.interim, early.status, early.body], [[103], 200, 'late']);
  });
}

function bodyTests({ start, test }: Suite): void {
  test('HTTP/2: trailers pass both ways', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const down = await client.ask('/trailers');
    assert.equal(down.body, 'a body with a checksum');
    assert.equal(down.trailers['x-checksum'], 'abc123');
    const up = await client.ask('/echo', {
      method: 'POST',
      body: 'hello',
      trailers: { 'x-checksum': 'abc123', 'x-forwarded-for': '10.0.0.1' },
    });
    const { body, rawTrailers } = JSON.parse(up.body);
    assert.equal(body, 'hello');
    assert.deepEqual(
      rawTrailers.map((text: string) => text.toLowerCase()),
      ['x-checksum', 'abc123'],
    );
  });

  test('HTTP/2: pieces of an event stream arrive as they are sent', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const pieces: string[] = [];
    const stream = client.open('/stream');
    stream.on('data', (chunk: Buffer) => pieces.push(chunk.toString()));
    await replyOf(stream);
    assert.deepEqual(pieces, ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']);
  });

  test('HTTP/2: large bodies arrive whole both ways', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const body = Buffer.alloc(6 * 1024 * 1024, 'u');
    const up = await client.ask('/sip?ms=100', { method: 'POST', body });
    assert.equal(up.body, String(body.length));
    assert.equal((await client.ask('/big?chunks=128')).body.length, 128 * 64 * 1024);
  });

  test('HTTP/2: a stream whose reader pauses holds back the instance, and no other stream', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start);
    const path = '/big?chunks=4096';
    const stream = client.open(path);
    stream.on('error', () => undefined); // our own abort
    await until('the response has begun', () => scene.inFlight === 1);
    for (let i = 0; i < 10; i++) assert.equal((await client.ask('/slow?ms=20')).status, 200);
    stream.close(8); // CANCEL
    const of = (entry: { closed?: unknown }) => entry.closed === path;
    await until('the instance is told', async () => (await scene.allRecords()).some(of));
    const taken = Number((await scene.allRecords()).find(of)?.taken);
    assert.ok(taken < 64 * 1024 * 1024, `${taken} bytes were taken from the instance`);
  });
}

function failureTests({ start, test }: Suite): void {
  test('HTTP/2: P7: a GET whose instance dies is replayed on another one', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start);
    const path = '/slow?ms=700';
    const replies = Array.from({ length: 5 }, () => client.ask(path, { headers: cookieOf('shop-1') }));
    await until('all are under way', () => scene.traffic('shop-1').inFlight === 5);
    await scene.backend('shop-1').kill();
    for (const reply of await Promise.all(replies)) {
      assert.deepEqual([reply.status, reply.body], [200, 'shop-2']);
    }
  });

  test('HTTP/2: P7: a POST in the hands of an instance that dies is 502, and its connection goes on', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start);
    const post = client.ask('/hang', { method: 'POST', body: 'an order', headers: cookieOf('shop-1') });
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    await scene.backend('shop-1').kill();
    assert.equal((await post).status, 502);
    assert.equal((await client.ask('/whoami')).body, 'shop-2');
    await scene.untilCounted('shop-1', { failed: 1, unknown: 1 });
  });

  test('HTTP/2: a stream that its client resets is gone for the instance, and the others are not', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start, { instances: ['shop-1'] });
    const other = client.ask('/slow?ms=400');
    for (const path of ['/hang', '/stream?endless']) {
      const stream = client.open(path);
      stream.on('error', () => undefined); // our own abort
      await scene.untilRecorded('shop-1', (entry) => entry.url === path);
      stream.close(8); // CANCEL
      await scene.untilRecorded('shop-1', (entry) => entry.closed === path);
    }
    assert.equal((await other).status, 200);
    await until('nothing is in flight', () => scene.inFlight === 0);
  });

  test('HTTP/2: a response that breaks off resets its stream, and no other', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start);
    const other = client.ask('/slow?ms=300');
    const paths = [
      '/half',
      raw('HTTP/1.1 200 OK\r\n\r\nnot to the end', 'reset'),
      raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', 'end'),
    ];
    for (const path of paths) {
      await assert.rejects(client.ask(path), path);
      assert.equal(await scene.arrivals('GET', path), 1);
    }
    assert.equal((await other).status, 200);
  });

  test('HTTP/2: a response that ends with its connection arrives whole', async (t) => {
    const { client } = await setHttp2Scene(t, start);
    const reply = await client.ask(raw('HTTP/1.1 200 OK\r\n\r\nto the end', 'end'));
    assert.deepEqual([reply.status, reply.body], [200, 'to the end']);
  });

  test('HTTP/2: P10: limits and denied paths hold for streams', async (t) => {
    const limits = { bodyBytes: 1_000, targetBytes: 2_000 };
    const engine = { limits, deny: ['^/rest-doc/'] };
    const { client } = await setHttp2Scene(t, start, { engine });
    assert.equal((await client.ask('/%72est-doc/')).status, 404);
    assert.equal((await client.ask(`/echo?${'x'.repeat(2_000)}`)).status, 414);
    const large = await client
      .ask('/echo', { method: 'POST', body: 'x'.repeat(1_001) })
      .catch(() => undefined);
    assert.ok(large === undefined || large.status === 413);
    assert.equal((await client.ask('/echo', { method: 'POST', body: 'x'.repeat(1_000) })).status, 200);
  });

  test('HTTP/2: closing lets streams under way finish', async (t) => {
    const { scene, client } = await setHttp2Scene(t, start);
    const slow = client.ask('/slow?ms=400');
    await until('it is under way', () => scene.inFlight === 1);
    const closed = scene.engine.close({ graceMs: 3_000 });
    assert.equal((await slow).status, 200);
    await closed;
    assert.ok(client.session.closed || client.session.destroyed);
  });
}

const cookieOf = (instance: string) => ({ cookie: belongsTo(instance).Cookie });
