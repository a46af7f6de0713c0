import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordEntry } from './backend-process.ts';
import { connectRaw } from './raw-connection.ts';
import { belongsTo, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

const megabytes = 1024 * 1024;

/** Bodies that take their time, and both sides of a balancer going at the pace of the slower one. */
export function streamsTests(suite: Suite): void {
  paceTests(suite);
  breakTests(suite);
}

function paceTests({ start, test }: Suite): void {
  test('an instance that reads slowly slows the client down instead of filling the memory', async (t) => {
    const scene = await setScene(t, start);
    const length = 256 * megabytes;
    const path = '/sip?ms=700';
    const request = http.request({
      host: '127.0.0.1',
      port: scene.port,
      path,
      method: 'POST',
      headers: { 'Content-Length': length },
    });
    t.after(() => request.destroy());
    request.on('error', () => undefined); // our own abort
    let written = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const more = () => {
      while (!request.destroyed && written < length) {
        written += chunk.length;
        if (!request.write(chunk)) return;
      }
    };
    request.on('drain', more);
    more();
    await until('the request has arrived', async () => (await scene.arrivals('POST', path)) === 1);
    await sleep(400); // whatever has room for bytes takes them; nothing tells when it is full
    assert.ok(written < 64 * megabytes, `${written} bytes were taken from the client`);
    const before = written;
    await until('the instance reads, and the client can go on', () => written > before + 8 * megabytes);
  });

  test('an upload goes on at the pace of an instance that pauses, and arrives whole', async (t) => {
    const scene = await setScene(t, start);
    const body = Buffer.alloc(24 * megabytes, 'u');
    assert.equal((await scene.ask('/sip?ms=200', { method: 'POST', body })).body, String(body.length));
  });

  test('an answer that comes before the end of an upload reaches the client', async (t) => {
    const scene = await setScene(t, start);
    const head = 'POST /status?code=413 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n';
    const connection = connectRaw(t, scene.port, `${head}${'x'.repeat(100_000)}`);
    await connection.untilReceived(/^HTTP\/1\.1 413 /, 2_000);
  });

  test('an event stream is no response that takes too long', async (t) => {
    const scene = await setScene(t, start, { engine: { responseTimeoutMs: 300 } });
    const connection = connectRaw(t, scene.port, 'GET /stream?endless HTTP/1.1\r\nHost: a\r\n\r\n');
    const startedMs = performance.now();
    await connection.untilReceived(/data: 30\n/);
    assert.ok(performance.now() - startedMs > 600);
    assert.equal(connection.isClosed, false);
  });
}

function breakTests({ start, test }: Suite): void {
  test('a client that goes away in the middle of a download ends it at the instance', async (t) => {
    const scene = await setScene(t, start);
    const path = '/big?chunks=4096';
    const connection = connectRaw(t, scene.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await connection.untilReceived(/x{1000}/);
    connection.socket.resetAndDestroy();
    const ended = (entry: RecordEntry) => entry.closed === path && entry.finished === false;
    await until('the instance is told', async () => (await scene.allRecords()).some(ended));
    await until('nothing is in flight', () => scene.inFlight === 0);
  });

  test('an instance that is killed in the middle of a download breaks it at the client', async (t) => {
    const scene = await setScene(t, start);
    const head = `GET /stream?endless HTTP/1.1\r\nHost: a\r\nCookie: ${belongsTo('shop-1').Cookie}\r\n\r\n`;
    const connection = connectRaw(t, scene.port, head);
    await connection.untilReceived(/data: 2\n/);
    await scene.backend('shop-1').kill();
    await connection.untilClosed(2_000);
    assert.doesNotMatch(connection.received, /\r\n0\r\n\r\n$/, 'it does not look complete');
    await scene.untilCounted('shop-1', { failed: 1, replayed: 0, inFlight: 0 });
  });

  test('an instance that is killed in the middle of an upload is 502 at once', async (t) => {
    const scene = await setScene(t, start);
    const head = `POST /hang HTTP/1.1\r\nHost: a\r\nCookie: ${belongsTo('shop-1').Cookie}\r\n`;
    const connection = connectRaw(t, scene.port, `${head}Content-Length: 1000\r\n\r\nhalf`);
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    await scene.backend('shop-1').kill();
    await connection.untilReceived(/^HTTP\/1\.1 502 /, 2_000);
  });
}
