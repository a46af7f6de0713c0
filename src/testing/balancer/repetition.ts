import assert from 'node:assert/strict';
import type { RouteOptions } from '../../balancer/engine.ts';
import { belongsTo, setScene } from './scene.ts';
import type { Suite } from './suite.ts';

const routes: readonly RouteOptions[] = [{ path: '/slow', methods: ['POST'], repeatable: true }];

/** What may be sent twice by declaration, and what waits on an instance that turns out to be frozen. */
export function repetitionTests({ start, test }: Suite): void {
  test('P7: a POST on a route declared repeatable is replayed when its instance dies', async (t) => {
    const scene = await setScene(t, start, { engine: { routes } });
    const path = '/slow?ms=700';
    const post = scene.ask(path, { method: 'POST', body: 'a search', headers: belongsTo('shop-1') });
    await scene.untilRecorded('shop-1', (entry) => entry.url === path);
    await scene.backend('shop-1').kill();
    const reply = await post;
    assert.deepEqual([reply.status, reply.body], [200, 'shop-2']);
    await scene.untilCounted('shop-1', { replayed: 1, failed: 0, unknown: 0 });
  });

  test('P7: a route is declared by whole segments and by method: its neighbours are not replayed', async (t) => {
    const scene = await setScene(t, start, {
      engine: { routes: [{ path: '/slo', repeatable: true }, ...routes] },
    });
    const path = '/slow?ms=700';
    const patch = scene.ask(path, { method: 'PATCH', body: 'a change', headers: belongsTo('shop-1') });
    await scene.untilRecorded('shop-1', (entry) => entry.url === path);
    await scene.backend('shop-1').kill();
    assert.equal((await patch).status, 502);
    assert.equal(await scene.backend('shop-2').count('PATCH', path), 0);
    await scene.untilCounted('shop-1', { replayed: 0, failed: 1, unknown: 1 });
  });

  test('P7: a repeatable POST waiting on an instance that freezes is replayed in time', async (t) => {
    const scene = await setScene(t, start, { engine: { routes } });
    const path = '/slow?ms=300';
    scene.backend('shop-1').signal('SIGSTOP');
    const reply = await scene.ask(path, { method: 'POST', body: 'a search', headers: belongsTo('shop-1') });
    assert.equal(reply.body, 'shop-2');
    assert.ok(reply.tookMs < 3_000, `it took ${Math.round(reply.tookMs)} ms`);
  });

  test('P7: a GET that an instance was working on when it froze is replayed in time', async (t) => {
    const scene = await setScene(t, start);
    const path = '/slow?ms=600';
    const get = scene.ask(path, { headers: belongsTo('shop-1') });
    await scene.untilRecorded('shop-1', (entry) => entry.url === path);
    scene.backend('shop-1').signal('SIGSTOP');
    const reply = await get;
    assert.equal(reply.body, 'shop-2');
    assert.ok(reply.tookMs < 3_500, `it took ${Math.round(reply.tookMs)} ms`);
    await scene.untilCounted('shop-1', { replayed: 1, failed: 0 });
  });

  test('P7: the user of a replayed request belongs to the instance that answered it', async (t) => {
    const scene = await setScene(t, start);
    const visitor = scene.visitor();
    visitor.cookies.set('holdfast', belongsTo('shop-1').Cookie.slice('holdfast='.length));
    await scene.backend('shop-1').kill();
    assert.equal(await visitor.whereabouts(), 'shop-2');
    assert.ok(`holdfast=${visitor.cookies.get('holdfast')}`.startsWith(belongsTo('shop-2').Cookie));
  });

  test('a route has its own time to answer', async (t) => {
    const own = [{ path: '/slow', responseTimeoutMs: 200 }];
    const scene = await setScene(t, start, { instances: ['shop-1'], engine: { routes: own } });
    assert.equal((await scene.ask('/slow?ms=1500')).status, 504);
    assert.equal((await scene.ask('/sip?ms=400')).status, 200);
  });
}
