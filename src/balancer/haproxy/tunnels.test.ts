import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { belongsTo, quickHealth, type Scene, setScene } from '../../testing/balancer/scene.ts';
import { until } from '../../testing/balancer/until.ts';
import type { Engine, EngineOptions } from '../engine.ts';
import { tunnelsIn } from './tunnels.ts';
import { startInThread } from './worker-engine.fixture.ts';

const binary = process.env.HAPROXY ?? 'haproxy';
const skip = spawnSync(binary, ['-v']).status === 0 ? false : 'there is no haproxy on this machine';

async function start(options: EngineOptions): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-'));
  const engine = await startInThread(options, { folder, binary, slots: 4 });
  return { ...engine, close: (how) => engine.close(how).finally(() => rm(folder, { recursive: true })) };
}

/** An open WebSocket of a user of this instance, or of nobody. */
async function open(
  t: TestContext,
  scene: Scene,
  instance?: string,
): Promise<{ socket: WebSocket; cookie: string }> {
  const headers = instance === undefined ? {} : belongsTo(instance);
  const socket = new WebSocket(`ws://127.0.0.1:${scene.port}/websocket`, { headers });
  t.after(() => socket.terminate());
  socket.on('error', () => undefined); // 'close' follows
  let cookie = '';
  socket.on('upgrade', ({ headers }) => {
    cookie = headers['set-cookie']?.[0] ?? '';
  });
  await once(socket, 'open');
  return { socket, cookie };
}

async function says(socket: WebSocket, text: string): Promise<string> {
  socket.send(text);
  return String((await once(socket, 'message'))[0]);
}

const closed = (socket: WebSocket) => until('it is closed', () => socket.readyState === WebSocket.CLOSED);

describe('WebSockets through HAProxy', { skip }, () => {
  test('one goes to the instance of its user, and is counted as long as it stands', async (t) => {
    const scene = await setScene(t, start);
    const { socket, cookie } = await open(t, scene, 'shop-2');
    assert.match(await says(socket, 'hello'), /shop-2/);
    assert.ok(cookie.startsWith(`${belongsTo('shop-2').Cookie}.`), 'as who it is counted from now on');
    assert.equal(scene.traffic('shop-2').inFlight, 1);
    socket.terminate();
    await until('it is counted out', () => scene.traffic('shop-2').inFlight === 0);
  });

  test('a new user gets the cookie with the handshake', async (t) => {
    const scene = await setScene(t, start);
    assert.match((await open(t, scene)).cookie, /^holdfast=[\w.-]{22,100};/);
  });

  test('P7: a handshake that found nobody goes to another instance', async (t) => {
    const scene = await setScene(t, start);
    await scene.backend('shop-1').kill();
    assert.match(await says((await open(t, scene, 'shop-1')).socket, 'hello'), /shop-2/);
  });

  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    test(`an instance that gets ${signal} loses its WebSockets, so that clients come back`, async (t) => {
      const scene = await setScene(t, start, { engine: { health: quickHealth } });
      const { socket } = await open(t, scene, 'shop-1');
      const { socket: other } = await open(t, scene, 'shop-2');
      scene.backend('shop-1').signal(signal);
      await closed(socket);
      assert.match(await says(other, 'still here'), /shop-2/);
    });
  }

  test('a draining instance keeps its WebSockets, and a new table disturbs none', async (t) => {
    const scene = await setScene(t, start);
    const { socket } = await open(t, scene, 'shop-1');
    scene.say({ 'shop-1': 'draining' });
    scene.say({ 'shop-2': 'down' });
    assert.match(await says(socket, 'still here'), /shop-1/);
  });

  test('those of a draining instance are closed one by one before the deadline, and no others', async (t) => {
    const engine = { drain: { deadlineMs: 1_500, jitterMs: 1_000 } };
    const scene = await setScene(t, start, { engine });
    const opened = await Promise.all(Array.from({ length: 12 }, () => open(t, scene, 'shop-1')));
    const { socket: other } = await open(t, scene, 'shop-2');
    const startedMs = performance.now();
    const closedMs: number[] = [];
    for (const { socket } of opened) socket.on('close', () => closedMs.push(performance.now() - startedMs));
    scene.say({ 'shop-1': 'draining' });
    await until('all are closed', () => closedMs.length === opened.length);
    const [first = 0, last = 0] = [closedMs[0], closedMs.at(-1)];
    assert.ok(first > 300 && last < 2_200, `from ${Math.round(first)} to ${Math.round(last)} ms`);
    assert.ok(last - first > 300, `all within ${Math.round(last - first)} ms`);
    assert.match(await says(other, 'still here'), /shop-2/);
  });

  test('one on which nothing moves is cut, and one on which something moves is not', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { tunnelIdleMs: 500 } } });
    const { socket: idle } = await open(t, scene);
    const { socket: busy } = await open(t, scene);
    let isIdleClosed = false;
    idle.on('close', () => {
      isIdleClosed = true;
    });
    while (!isIdleClosed) {
      await says(busy, 'something');
      await sleep(100);
    }
    assert.match(await says(busy, 'still here'), /shop-/);
  });
});

test('the tunnels of an instance are found in what HAProxy says of all its streams', () => {
  const stream = (address: string, server: string, state: string) =>
    `${address}: [25/Nov/2026:02:30:00.000000] id=1 proto=tcpv4 source=127.0.0.1:1\n` +
    `  flags=0xce, conn_retries=0, srv_conn=0x1, pend_pos=(nil) waiting=0 epoch=0\n` +
    `  frontend=entry (id=2 mode=http), listener=? (id=1) addr=127.0.0.1:8080\n` +
    `  backend=app (id=5 mode=http) addr=127.0.0.1:3\n` +
    `  server=${server} (id=1001) addr=127.0.0.1:3000\n` +
    `  txn=0x2 flags=0x100000 meth=1 status=101 req.st=${state} rsp.st=${state} req.f=0x44\n`;
  const sessions = [
    stream('0x55d0a1', 'a1', 'MSG_TUNNEL'),
    stream('0x55d0a2', 'a2', 'MSG_TUNNEL'),
    stream('0x55d0a3', 'a1', 'MSG_DATA'),
    stream('0x55d0a4', 'b1', 'MSG_TUNNEL'),
    stream('0x55d0a5', 'a11', 'MSG_TUNNEL'),
  ].join('');
  assert.deepEqual(tunnelsIn(sessions, 1), ['0x55d0a1', '0x55d0a4']);
});
