import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { HoldfastError } from '../../support/errors.ts';
import { writeRaw } from './client.ts';
import { type StartEngine, setScene } from './scene.ts';

/** Requests that could be read in two ways, or that ask for too much: a clear refusal, and no instance sees them. */
const refused: readonly { what: string; bytes: string; status: number }[] = [
  {
    what: 'Content-Length and Transfer-Encoding together (CL.TE)',
    bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG',
    status: 400,
  },
  {
    what: 'Transfer-Encoding and Content-Length together (TE.CL)',
    bytes:
      'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n',
    status: 400,
  },
  {
    what: 'a transfer coding that hides chunked',
    bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    status: 501,
  },
  {
    what: 'a transfer coding that is not understood',
    bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    status: 501,
  },
  {
    what: 'two Content-Length headers',
    bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde',
    status: 400,
  },
  {
    what: 'a Content-Length that is no number',
    bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc',
    status: 400,
  },
  { what: 'two Host headers', bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', status: 400 },
  { what: 'no Host header', bytes: 'GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n', status: 400 },
  { what: 'a Host that is no host', bytes: 'GET /x HTTP/1.1\r\nHost: a/b@c\r\n\r\n', status: 400 },
  { what: 'a space before a colon', bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n', status: 400 },
  {
    what: 'a header that goes on in the next line',
    bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n',
    status: 400,
  },
  {
    what: 'a bare carriage return in a header',
    bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n',
    status: 400,
  },
  { what: 'lines that end in a bare line feed', bytes: 'GET /x HTTP/1.1\nHost: a\n\n', status: 400 },
  { what: 'a zero byte in a header', bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n', status: 400 },
  { what: 'a target with raw bytes', bytes: 'GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { what: 'a target with a fragment', bytes: 'GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { what: 'a target that is no path', bytes: 'GET x HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  {
    what: 'CONNECT',
    bytes: 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n',
    status: 405,
  },
  { what: 'no HTTP at all', bytes: '\x16\x03\x01\x02\x00\x01\x00', status: 400 },
  {
    what: 'headers that are too large',
    bytes: `GET /x HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
    status: 431,
  },
  {
    what: 'too many headers',
    bytes: `GET /x HTTP/1.1\r\nHost: a\r\n${'X: 1\r\n'.repeat(300)}\r\n`,
    status: 431,
  },
];

export function strictnessTests(start: StartEngine): void {
  test('P10: a request that is not clean HTTP gets a clear refusal, and no instance sees it', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    for (const { what, bytes, status } of refused) {
      await t.test(what, async () => {
        const reply = await writeRaw(scene.port, bytes);
        assert.match(reply, new RegExp(`^HTTP/1\\.1 ${status} `));
        assert.equal(reply.match(/HTTP\/1\.1 \d/g)?.length, 1, 'one answer, then the connection ends');
      });
    }
    assert.deepEqual(await scene.backend('shop-1').records(), []);
    assert.equal((await scene.ask('/whoami')).status, 200);
  });

  test('P10: a chunk that is not one ends the request, and what follows is not taken for another', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const head = 'POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
    const reply = await writeRaw(
      scene.port,
      `${head}5\r\nhello\r\nZZ\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    assert.match(reply, /^HTTP\/1\.1 400 /);
    const records = await scene.backend('shop-1').records();
    assert.deepEqual(
      records.filter((entry) => 'done' in entry || entry.url === '/smuggled'),
      [],
    );
  });

  test('P10: a body over the limit is 413, whether its length is told or not', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { bodyBytes: 1_000 } } });
    const body = 'x'.repeat(1_001);
    assert.equal((await scene.ask('/echo', { method: 'POST', body })).status, 413);
    const headers = { 'Transfer-Encoding': 'chunked' };
    assert.equal((await scene.ask('/echo', { method: 'POST', headers, body })).status, 413);
    assert.equal((await scene.ask('/echo', { method: 'POST', body: 'x'.repeat(1_000) })).status, 200);
  });

  test('P10: a client that does not finish its headers is told so and cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { headersTimeoutMs: 300 } } });
    const reply = await writeRaw(scene.port, 'GET /x HTTP/1.1\r\nHost: a\r\n', 4_000);
    assert.match(reply, /^HTTP\/1\.1 408 /);
  });

  test('P10: a client that does not finish its body is told so and cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { bodyIdleMs: 300 } } });
    const bytes = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf';
    const reply = await writeRaw(scene.port, bytes, 4_000);
    assert.match(reply, /^HTTP\/1\.1 408 /);
  });

  test('two requests in one packet are two requests, in order', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const first = 'GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\n';
    const second = 'GET /echo?2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const reply = await writeRaw(scene.port, first + second);
    assert.deepEqual(reply.match(/"url":"[^"]*"/g), ['"url":"/echo?1"', '"url":"/echo?2"']);
  });

  test('P10: a listening address that is taken is refused with what to do', async (t) => {
    const taken = net.createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    t.after(() => taken.close());
    const { port } = taken.address() as net.AddressInfo;
    await assert.rejects(start({ listen: { host: '127.0.0.1', port } }), (error) => {
      return (
        error instanceof HoldfastError &&
        error.code === 'LISTEN_FAILED' &&
        error.message.includes(String(port))
      );
    });
  });

  test('P10: a trusted proxy that is no address is refused and named', async () => {
    const listen = { host: '127.0.0.1', port: 0 };
    await assert.rejects(
      start({ listen, trustedProxies: ['10.0.0.0/8', 'proxy.example'] }),
      /"proxy\.example"/,
    );
  });
}
