import assert from 'node:assert/strict';
import { belongsTo, blindHealth, quickHealth, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** How new users are shared out: by weight, by load, and gently to an instance that comes back. */
export function sharingTests({ start, test }: Suite): void {
  test('new users come by weight: three to one', async (t) => {
    const scene = await setScene(t, start, { engine: { weights: { 'shop-1': 3 } } });
    const users = await scene.newUsers(200);
    const share = users('shop-1');
    assert.ok(share >= 125 && share <= 175, `shop-1 got ${share} of 200`);
    assert.equal(share + users('shop-2'), 200);
  });

  test('an instance that is busy gets few new users', async (t) => {
    const scene = await setScene(t, start);
    const busy = Array.from({ length: 8 }, () => {
      return scene.ask('/slow?ms=1000', { headers: belongsTo('shop-1') });
    });
    await until('shop-1 is busy', () => scene.traffic('shop-1').inFlight === 8);
    const users = await scene.newUsers(20);
    assert.ok(users('shop-1') <= 4, `the busy one got ${users('shop-1')} of 20`);
    await Promise.all(busy);
  });

  test('an instance that answers slowly gets fewer new users', async (t) => {
    const scene = await setScene(t, start);
    await scene.backend('shop-1').pretend({ status: 200, body: '', delayMs: 60 });
    const users = await scene.newUsers(40);
    assert.ok(users('shop-1') <= 15, `the slow one got ${users('shop-1')} of 40`);
  });

  test('an instance that comes back gets few new users at first, and its full share later', async (t) => {
    const engine = { health: quickHealth, slowStartMs: 4_000 };
    const scene = await setScene(t, start, { engine });
    await scene.backend('shop-1').kill();
    await scene.untilHealthy('shop-1', false);
    await scene.backend('shop-1').start();
    await scene.untilHealthy('shop-1', true);
    const early = await scene.newUsers(20);
    const { warmth } = scene.traffic('shop-1');
    assert.ok(warmth > 0 && warmth < 1, `warmth ${warmth}`);
    assert.ok(early('shop-1') <= 7, `the cold one got ${early('shop-1')} of 20`);
    await until('shop-1 is warm', () => scene.traffic('shop-1').warmth === 1);
    const late = await scene.newUsers(60);
    assert.ok(late('shop-1') >= 15, `the warm one got ${late('shop-1')} of 60`);
  });

  test('a cold instance serves its own users, and everybody when it is the only one', async (t) => {
    const scene = await setScene(t, start, { engine: { health: blindHealth, slowStartMs: 60_000 } });
    await scene.say({ 'shop-1': 'down' });
    await scene.say({ 'shop-1': 'up' });
    assert.ok(scene.traffic('shop-1').warmth < 1);
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-1');
    await scene.say({ 'shop-2': 'down' });
    assert.equal((await scene.newUsers(5))('shop-1'), 5);
  });
}
