import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tableFile } from '../../balancer/table-file.ts';
import { setCookieOf } from './client.ts';
import { belongsTo, quickHealth, setScene, testHealth } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

const cookieFor = (instance: string): string => belongsTo(instance).Cookie;

/** Sticky users, new users, draining, sick instances, the table. */
export function routingTests(suite: Suite): void {
  const { start, test } = suite;
  stickinessTests(suite);
  stateTests(suite);

  test('P9: with a table read back from disk traffic goes on, and nobody has to tell it again', async (t) => {
    const scene = await setScene(t, start);
    const file = tableFile(join(scene.folder, 'table.json'));
    await file.save(scene.table());
    const engine = await start({ listen: { host: '127.0.0.1', port: 0 }, health: testHealth });
    t.after(() => engine.close({ graceMs: 0 }));
    const table = await file.load();
    assert.ok(table);
    engine.apply(table);
    await engine.settled?.();
    const { port } = engine.status().listen;
    for (const instance of ['shop-1', 'shop-2']) {
      const reply = await fetch(`http://127.0.0.1:${port}/whoami`, {
        headers: { cookie: cookieFor(instance) },
      });
      assert.equal(await reply.text(), instance);
    }
  });

  test('a request waits for an instance when there is none, and is served as soon as there is one', async (t) => {
    const scene = await setScene(t, start);
    await scene.say({ 'shop-1': 'starting', 'shop-2': 'down' });
    const get = scene.ask('/whoami');
    const post = scene.ask('/echo', { method: 'POST', body: 'an order' });
    await sleep(100); // both have arrived by now; a request that waits leaves no trace to be awaited
    await scene.say({ 'shop-1': 'up' });
    assert.equal((await get).body, 'shop-1');
    assert.equal(JSON.parse((await post).body).body, 'an order');
  });

  test('when no instance comes in time the answer is 503 with Retry-After and a clear text', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { holdMs: 200 } } });
    await scene.say({ 'shop-1': 'down', 'shop-2': 'lost' });
    const reply = await scene.ask('/whoami');
    assert.equal(reply.status, 503);
    assert.equal(reply.headers['retry-after'], '1');
    assert.match(reply.body, /No instance of the application can be reached/);
  });

  test('closing lets a request under way finish, refuses new ones and then cuts what is left', async (t) => {
    const scene = await setScene(t, start);
    const slow = scene.ask('/slow?ms=300');
    const hanging = scene.ask('/hang');
    await until('both are under way', () => {
      return scene.traffic('shop-1').inFlight + scene.traffic('shop-2').inFlight === 2;
    });
    const { port } = scene;
    const closed = scene.engine.close({ graceMs: 700 });
    const hangingFailed = assert.rejects(hanging);
    assert.equal((await slow).status, 200);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/whoami`));
    await hangingFailed;
    await closed;
  });
}

function stickinessTests({ start, test }: Suite): void {
  test('a new user gets a cookie and stays where it points', async (t) => {
    const scene = await setScene(t, start);
    const first = await scene.ask('/whoami');
    const line = first.headers['set-cookie']?.[0] ?? '';
    assert.match(line, /^holdfast=[\w.-]{22,100}; Path=\/; HttpOnly; SameSite=Lax$/);
    assert.ok(!line.includes(first.body));
    const cookie = setCookieOf(first, 'holdfast') ?? '';
    for (let i = 0; i < 6; i++) {
      const next = await scene.ask('/whoami', { headers: { Cookie: cookie } });
      assert.equal(next.body, first.body);
      assert.equal(next.headers['set-cookie'], undefined);
    }
  });

  test('new users are spread over the instances', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1', 'shop-2', 'shop-3'] });
    const users = await scene.newUsers(30);
    for (const { instance } of scene.backends) {
      assert.ok(users(instance) >= 6, `${instance} got ${users(instance)} of 30`);
    }
  });

  test('the instance never sees the sticky cookie, and sees the others as they were', async (t) => {
    const scene = await setScene(t, start);
    const mine = cookieFor('shop-1');
    for (const [sent, arrives] of [
      [`a=1; ${mine}; b="x y"`, 'a=1; b="x y"'],
      [`${mine}; theme=dark`, 'theme=dark'],
      [mine, undefined],
      [`xholdfast=1; ${mine}; holdfastx=2`, 'xholdfast=1; holdfastx=2'],
    ] as const) {
      const reply = await scene.ask('/echo', { headers: { Cookie: sent } });
      const { rawHeaders, instance } = JSON.parse(reply.body) as { rawHeaders: string[]; instance: string };
      const at = rawHeaders.findIndex((name) => name.toLowerCase() === 'cookie');
      assert.equal(at < 0 ? undefined : rawHeaders[at + 1], arrives);
      assert.equal(instance, 'shop-1');
    }
  });

  test('P10: a cookie that names nobody is ignored and replaced', async (t) => {
    const scene = await setScene(t, start);
    for (const bad of [
      'holdfast=shop-1',
      'holdfast=',
      'holdfast',
      'holdfast="',
      `holdfast=${'A'.repeat(4000)}`,
    ]) {
      const reply = await scene.ask('/whoami', { headers: { Cookie: bad } });
      assert.equal(reply.status, 200, bad);
      assert.match(setCookieOf(reply, 'holdfast') ?? '', /^holdfast=[\w.-]{22,100}$/);
    }
  });

  test('when the owner is gone the user goes to another instance and the cookie is rewritten', async (t) => {
    const scene = await setScene(t, start);
    const state = ['down', 'lost', 'maintenance', 'starting'] as const;
    for (const word of state) {
      await scene.say({ 'shop-1': word });
      const moved = await scene.ask('/whoami', { headers: belongsTo('shop-1') });
      assert.equal(moved.body, 'shop-2', word);
      assert.ok(setCookieOf(moved, 'holdfast')?.startsWith(cookieFor('shop-2')));
    }
  });

  test('a cookie is Secure when the user came by https', async (t) => {
    const scene = await setScene(t, start, { engine: { trustedProxies: ['127.0.0.1'] } });
    const reply = await scene.ask('/whoami', { headers: { 'X-Forwarded-Proto': 'https' } });
    assert.match(reply.headers['set-cookie']?.[0] ?? '', /; Secure$/);
  });
}

function stateTests({ start, test }: Suite): void {
  test('a draining instance keeps its own users and gets no new ones', async (t) => {
    const scene = await setScene(t, start);
    await scene.say({ 'shop-1': 'draining' });
    for (let i = 0; i < 4; i++) assert.equal((await scene.ask('/whoami')).body, 'shop-2');
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-1');
    assert.ok(scene.traffic('shop-1').idleMs < 5_000);
  });

  test('the last instance serves new users even while it drains', async (t) => {
    const scene = await setScene(t, start);
    await scene.say({ 'shop-1': 'draining', 'shop-2': 'down' });
    assert.equal((await scene.ask('/whoami')).body, 'shop-1');
  });

  test('an instance whose health check fails is left out until it succeeds again', async (t) => {
    const verdicts: string[] = [];
    const onInstanceHealth = (instance: string, healthy: boolean) => verdicts.push(`${instance} ${healthy}`);
    const scene = await setScene(t, start, { engine: { health: quickHealth, onInstanceHealth } });
    await scene.backend('shop-1').pretend('sick');
    await scene.untilHealthy('shop-1', false);
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-2');
    await scene.backend('shop-1').pretend('well');
    await scene.untilHealthy('shop-1', true);
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-1');
    assert.deepEqual(verdicts, ['shop-1 false', 'shop-1 true']);
  });

  test('when every instance looks sick, all that their agents call up are used', async (t) => {
    const scene = await setScene(t, start);
    for (const backend of scene.backends) await backend.pretend('sick');
    for (const { instance } of scene.backends) await scene.untilHealthy(instance, false);
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-1');
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-2') })).body, 'shop-2');
  });

  test('an instance that comes back at another address is used there', async (t) => {
    const scene = await setScene(t, start);
    const backend = scene.backend('shop-1');
    const headers = belongsTo('shop-1');
    await backend.kill();
    backend.port = 0;
    await backend.start();
    await scene.say({ 'shop-1': 'up' });
    assert.equal((await scene.ask('/whoami', { headers })).body, 'shop-1');
  });
}
