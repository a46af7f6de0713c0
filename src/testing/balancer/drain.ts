import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectRaw } from './raw-connection.ts';
import { belongsTo, type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';
import type { Visitor } from './visitor.ts';

/** Users who belong to this instance, and have come back to it. */
async function usersOf(scene: Scene, instance: string, count: number): Promise<Visitor[]> {
  const users: Visitor[] = [];
  while (users.length < count) {
    const visitor = await newcomerOf(scene, instance);
    assert.equal(await visitor.whereabouts(), instance);
    users.push(visitor);
  }
  return users;
}

/** A user who has just been given to this instance. */
async function newcomerOf(scene: Scene, instance: string): Promise<Visitor> {
  for (;;) {
    const visitor = scene.visitor();
    if ((await visitor.whereabouts()) === instance) return visitor;
  }
}

const handshake =
  'GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  `Cookie: ${belongsTo('shop-1').Cookie}\r\n\r\n`;

/** How an instance is emptied: its users finish what they are at, nobody new comes, and at last all are moved. */
export function drainTests(suite: Suite): void {
  movingTests(suite);
  countTests(suite);
}

function movingTests({ start, test }: Suite): void {
  test('while an instance drains, its users stay, even those who have just come, and new ones go elsewhere', async (t) => {
    const scene = await setScene(t, start);
    const [one] = await usersOf(scene, 'shop-1', 1);
    const two = await newcomerOf(scene, 'shop-1');
    await scene.say({ 'shop-1': 'draining' });
    for (let i = 0; i < 3; i++) {
      assert.equal(await one?.whereabouts(), 'shop-1');
      assert.equal(await two.whereabouts(), 'shop-1');
      assert.equal(await scene.visitor().whereabouts(), 'shop-2');
    }
  });

  test('a user of a draining instance who was idle is moved with the next request, and stays there', async (t) => {
    const scene = await setScene(t, start, { engine: { drain: { idleMs: 400 } } });
    const [busy, idle] = await usersOf(scene, 'shop-1', 2);
    await scene.say({ 'shop-1': 'draining' });
    for (let i = 0; i < 10; i++) {
      assert.equal(await busy?.whereabouts(), 'shop-1');
      await sleep(100);
    }
    assert.equal(await idle?.whereabouts(), 'shop-2');
    await scene.say({ 'shop-1': 'up' });
    assert.equal(await idle?.whereabouts(), 'shop-2');
    assert.equal(await busy?.whereabouts(), 'shop-1');
  });

  test('at the deadline everybody is moved, however busy', async (t) => {
    const scene = await setScene(t, start, { engine: { drain: { deadlineMs: 700, idleMs: 60_000 } } });
    const [user] = await usersOf(scene, 'shop-1', 1);
    await scene.say({ 'shop-1': 'draining' });
    const startedMs = performance.now();
    const places: string[] = [];
    await until('the user is moved', async () => {
      places.push((await user?.whereabouts()) ?? '');
      return places.at(-1) === 'shop-2';
    });
    const tookMs = performance.now() - startedMs;
    assert.ok(places.length > 5);
    assert.ok(tookMs > 500 && tookMs < 2_500, `after ${Math.round(tookMs)} ms`);
  });

  test('a request under way at the deadline is finished where it is', async (t) => {
    const scene = await setScene(t, start, { engine: { drain: { deadlineMs: 200, jitterMs: 100 } } });
    const slow = scene.ask('/slow?ms=900', { headers: belongsTo('shop-1') });
    await until('it is under way', () => scene.traffic('shop-1').inFlight === 1);
    await scene.say({ 'shop-1': 'draining' });
    const reply = await slow;
    assert.deepEqual([reply.status, reply.body], [200, 'shop-1']);
  });
}

function countTests({ start, test }: Suite): void {
  test('the users who remain are counted, and forgotten when they are idle', async (t) => {
    const scene = await setScene(t, start, { engine: { drain: { idleMs: 700 } } });
    const users = await usersOf(scene, 'shop-1', 3);
    await until('three are counted', async () => {
      await Promise.all(users.map((user) => user.whereabouts()));
      return scene.traffic('shop-1').users === 3;
    });
    await scene.say({ 'shop-1': 'draining' });
    await until('one is left', async () => {
      await users[0]?.whereabouts();
      return scene.traffic('shop-1').users === 1;
    });
    await until('nobody is left', () => scene.traffic('shop-1').users === 0);
  });

  test('WebSockets of a draining instance are closed one by one before the deadline', async (t) => {
    const engine = { drain: { deadlineMs: 1_500, jitterMs: 1_000 } };
    const scene = await setScene(t, start, { engine });
    const tunnels = Array.from({ length: 16 }, () => connectRaw(t, scene.port, handshake));
    const elsewhere = connectRaw(t, scene.port, handshake.replaceAll(/Cookie: .*\r\n/g, ''));
    for (const tunnel of [...tunnels, elsewhere]) await tunnel.untilReceived(/shop-[12]:$/);
    const onShop2 = elsewhere.received.endsWith('shop-2:');
    const startedMs = performance.now();
    const closedMs: number[] = [];
    for (const { socket } of tunnels) socket.on('close', () => closedMs.push(performance.now() - startedMs));
    await scene.say({ 'shop-1': 'draining' });
    await until('all are closed', () => closedMs.length === tunnels.length);
    const [first = 0, last = 0] = [closedMs[0], closedMs.at(-1)];
    assert.ok(first > 300, `the first after ${Math.round(first)} ms`);
    assert.ok(last < 2_200, `the last after ${Math.round(last)} ms`);
    assert.ok(last - first > 300, `all within ${Math.round(last - first)} ms`);
    assert.equal(elsewhere.isClosed, !onShop2);
  });
}
