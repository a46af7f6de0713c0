import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordEntry } from './backend-process.ts';
import { writeRaw } from './client.ts';
import { connectRaw } from './raw-connection.ts';
import { setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** What a client can make a balancer hold, and where that ends. */
export function limitsTests(suite: Suite): void {
  requestTests(suite);
  paceTests(suite);
  connectionTests(suite);
  queueTests(suite);
}

function requestTests({ start, test }: Suite): void {
  test('P10: a body over the limit is 413, whether its length is told or not', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { bodyBytes: 1_000 } } });
    const body = 'x'.repeat(1_001);
    assert.equal((await scene.ask('/echo', { method: 'POST', body })).status, 413);
    const headers = { 'Transfer-Encoding': 'chunked' };
    assert.equal((await scene.ask('/echo', { method: 'POST', headers, body })).status, 413);
    const fits = 'x'.repeat(1_000);
    assert.equal((await scene.ask('/echo', { method: 'POST', body: fits })).status, 200);
    assert.equal((await scene.ask('/echo', { method: 'POST', headers, body: fits })).status, 200);
  });

  test('P10: a route has its own limit of a body, by whole segments', async (t) => {
    const engine = { limits: { bodyBytes: 1_000 }, routes: [{ path: '/echo', bodyBytes: 5_000 }] };
    const scene = await setScene(t, start, { engine });
    const post = async (path: string, bytes: number) =>
      (await scene.ask(path, { method: 'POST', body: 'x'.repeat(bytes) })).status;
    assert.equal(await post('/echo?a', 5_000), 200);
    assert.equal(await post('/echo', 5_001), 413);
    assert.equal(await post('/echoes', 5_000), 413);
    assert.equal(await post('/sip', 1_001), 413);
  });

  test('P10: a target over the limit is 414', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { targetBytes: 1_000 } } });
    const path = '/echo?';
    assert.equal((await scene.ask(path.padEnd(1_000, 'x'))).status, 200);
    assert.equal((await scene.ask(path.padEnd(1_001, 'x'))).status, 414);
    assert.equal(await scene.arrivals('GET', path.padEnd(1_001, 'x')), 0);
  });

  test('P10: headers over the limits are 431', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { headerBytes: 4_000, headerCount: 40 } } });
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`X-${i}`, '1']));
    assert.equal((await scene.ask('/echo', { headers: { 'X-Long': 'x'.repeat(4_000) } })).status, 431);
    assert.equal((await scene.ask('/echo', { headers: { 'X-Long': 'x'.repeat(3_000) } })).status, 200);
    assert.equal((await scene.ask('/echo', { headers: many(50) })).status, 431);
    assert.equal((await scene.ask('/echo', { headers: many(30) })).status, 200);
  });
}

function paceTests({ start, test }: Suite): void {
  test('P10: a client that does not finish its headers is told so and cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { headersTimeoutMs: 300 } } });
    const reply = await writeRaw(scene.port, 'GET /x HTTP/1.1\r\nHost: a\r\n', 4_000);
    assert.match(reply, /^HTTP\/1\.1 408 /);
  });

  test('P10: headers that come drop by drop have no more time than others', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { headersTimeoutMs: 400 } } });
    const connection = connectRaw(t, scene.port, 'GET /x HTTP/1.1\r\n');
    const startedMs = performance.now();
    while (!connection.isClosed && performance.now() - startedMs < 4_000) {
      connection.send('X: 1\r\n');
      await sleep(50);
    }
    assert.ok(performance.now() - startedMs < 2_500);
    assert.deepEqual(connection.statuses, [408]);
  });

  test('P10: a client that does not finish its body is told so and cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { bodyIdleMs: 300 } } });
    const bytes = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf';
    const reply = await writeRaw(scene.port, bytes, 4_000);
    assert.match(reply, /^HTTP\/1\.1 408 /);
  });

  test('P10: a request that takes too long altogether is 408, however steadily it comes', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { requestTimeoutMs: 500 } } });
    const head = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n';
    await dripUntilClosed(connectRaw(t, scene.port, head), 3_000);
  });

  // The rate is measured only after ten seconds; so this test takes so long.
  test('P10: a body that comes too slowly on the average is 408', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { bodyBytesPerSecond: 1_000 } } });
    const head = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n';
    await dripUntilClosed(connectRaw(t, scene.port, head), 14_000);
  });

  test('P10: a client that reads nothing of a response is cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { readIdleMs: 500 } } });
    const path = '/big?chunks=1024';
    const connection = connectRaw(t, scene.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    connection.socket.pause();
    const ended = (entry: RecordEntry) => entry.closed === path && entry.finished === false;
    await until('the instance is told', async () => (await scene.allRecords()).some(ended), 4_000);
    await until('its connection is gone', () => scene.engine.status().clients.connections === 0);
  });

  test('a client that reads a little now and then is not cut', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { readIdleMs: 1_000 } } });
    const bytes = 1_024 * 64 * 1024;
    const head = 'GET /big?chunks=1024 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const connection = connectRaw(t, scene.port, head);
    // So much at a time that it shows at the sender: a kernel says only by a third of its buffer that it has room again.
    const atATime = 4 * 1024 * 1024;
    for (let i = 0; i < 10; i++) {
      connection.socket.pause();
      await sleep(150);
      const enough = connection.received.length + atATime;
      connection.socket.resume();
      await until('the client has read a little', () => connection.received.length >= enough);
    }
    await connection.untilClosed();
    assert.ok(connection.received.length > bytes, `${connection.received.length} of ${bytes}`);
  });

  test('a connection on which nothing is asked ends, without a word', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { clientIdleMs: 300 } } });
    const connection = connectRaw(t, scene.port, 'GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n');
    await connection.untilReceived(/shop-[12]$/);
    await connection.untilClosed(2_500);
    assert.deepEqual(connection.statuses, [200]);
  });
}

/** Sends a byte now and then, and expects to be told 408. */
async function dripUntilClosed(connection: ReturnType<typeof connectRaw>, limitMs: number): Promise<void> {
  const startedMs = performance.now();
  while (!connection.isClosed && performance.now() - startedMs < limitMs) {
    connection.send('x');
    await sleep(50);
  }
  assert.equal(connection.isClosed, true);
  assert.deepEqual(connection.statuses, [408]);
}

const request = 'GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n';

function connectionTests({ start, test }: Suite): void {
  test('P10: connections of one address are limited, and other addresses do not suffer', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { connectionsPerAddress: 2 } } });
    const connect = (localAddress?: string) => connectRaw(t, scene.port, request, localAddress);
    const [first, second] = [connect(), connect()];
    await Promise.all([first, second].map((connection) => connection.untilReceived(/shop-[12]$/)));
    const third = connect();
    await third.untilClosed(2_000);
    assert.ok(!third.statuses.includes(200), third.received);
    await connect('127.0.0.2').untilReceived(/shop-[12]$/);
    first.socket.destroy();
    await until('there is room again', async () => {
      const connection = connect();
      await until('an answer, or the end', () => connection.isClosed || connection.statuses.length > 0);
      return connection.statuses[0] === 200;
    });
  });

  test('P10: all connections together are limited, and the limit is left again', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { connections: 3 } } });
    const open = [1, 2, 3].map(() => connectRaw(t, scene.port, request));
    await Promise.all(open.map((connection) => connection.untilReceived(/shop-[12]$/)));
    assert.equal(scene.engine.status().clients.connections, 3);
    const fourth = connectRaw(t, scene.port, request);
    await sleep(300); // whether it is closed or kept waiting, it is not served
    assert.ok(!fourth.statuses.includes(200), fourth.received);
    fourth.socket.destroy();
    for (const connection of open) connection.socket.destroy();
    await until('they are counted out', () => scene.engine.status().clients.connections === 0);
    assert.match((await scene.ask('/whoami')).body, /^shop-/);
  });

  test('clients are counted: who came, who is here, and what the balancer itself answered', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(t, scene.port, request);
    await connection.untilReceived(/shop-[12]$/);
    await writeRaw(scene.port, 'GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
    await scene.ask('/status?code=404');
    await until('the refusal is counted', () => scene.engine.status().clients.refusals[400] === 1);
    const { accepted, refusals } = scene.engine.status().clients;
    assert.equal(accepted, 3);
    assert.equal(refusals[404], undefined);
    await until('one is left', () => scene.engine.status().clients.connections === 1);
  });
}

function queueTests({ start, test }: Suite): void {
  const busy = { requestsPerInstance: 1 };

  test('P10: what is too much for the instances waits for its turn', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'], engine: { limits: busy } });
    const all = Array.from({ length: 5 }, () => scene.ask('/slow?ms=80'));
    await until('the others wait', () => scene.engine.status().clients.waiting === 4);
    assert.equal(scene.traffic('shop-1').inFlight, 1);
    for (const reply of await Promise.all(all)) assert.equal(reply.status, 200);
    assert.equal(scene.engine.status().clients.waiting, 0);
  });

  test('P10: what waits too long for a busy instance is 503 with Retry-After', async (t) => {
    const limits = { ...busy, holdMs: 300 };
    const scene = await setScene(t, start, { instances: ['shop-1'], engine: { limits } });
    const first = scene.ask('/slow?ms=1200');
    await until('it is under way', () => scene.traffic('shop-1').inFlight === 1);
    const second = await scene.ask('/whoami');
    assert.equal(second.status, 503);
    assert.match(second.headers['retry-after'] ?? '', /^\d+$/);
    assert.ok(second.tookMs >= 250 && second.tookMs < 1_100, `after ${Math.round(second.tookMs)} ms`);
    assert.equal((await first).status, 200);
    assert.equal(await scene.arrivals('GET', '/whoami'), 0);
  });

  test('P10: more than may wait is 503 at once', async (t) => {
    const limits = { ...busy, heldRequests: 1 };
    const scene = await setScene(t, start, { instances: ['shop-1'], engine: { limits } });
    const first = scene.ask('/slow?ms=700');
    await until('it is under way', () => scene.traffic('shop-1').inFlight === 1);
    const second = scene.ask('/whoami');
    await until('one waits', () => scene.engine.status().clients.waiting === 1);
    const third = await scene.ask('/whoami');
    assert.equal(third.status, 503);
    assert.ok(third.tookMs < 500, `after ${Math.round(third.tookMs)} ms`);
    assert.deepEqual([(await first).status, (await second).status], [200, 200]);
  });

  test('a request whose client leaves waits no longer', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'], engine: { limits: busy } });
    const first = scene.ask('/slow?ms=500');
    await until('it is under way', () => scene.traffic('shop-1').inFlight === 1);
    const connection = connectRaw(t, scene.port, 'GET /echo?gone HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('it waits', () => scene.engine.status().clients.waiting === 1);
    connection.socket.destroy();
    await until('nobody waits', () => scene.engine.status().clients.waiting === 0);
    await first;
    assert.equal((await scene.ask('/whoami')).status, 200);
    assert.equal(await scene.arrivals('GET', '/echo?gone'), 0);
  });
}
