import assert from 'node:assert/strict';
import type { Cleanup } from './cleanup.ts';
import { belongsTo, quickHealth, type Scene, type StartEngine, setScene, testHealth } from './scene.ts';
import type { Suite } from './suite.ts';

/** What makes an instance sick in a balancer's eyes, how fast, and what its agent's word is worth beside that. */
export function healthTests(suite: Suite): void {
  checkTests(suite);
  trafficTests(suite);
  agentTests(suite);
}

function checkTests({ start, test }: Suite): void {
  test('an answer outside the expected status is a failure', async (t) => {
    const health = { ...quickHealth, status: [200, 204] as const };
    const scene = await setScene(t, start, { engine: { health } });
    await scene.backend('shop-1').pretend({ status: 302, body: '' });
    await scene.untilHealthy('shop-1', false);
    await scene.backend('shop-1').pretend({ status: 204, body: '' });
    await scene.untilHealthy('shop-1', true);
    assert.equal(scene.traffic('shop-2').healthy, true);
  });

  test('an answer without the expected body is a failure', async (t) => {
    const health = { ...quickHealth, body: '"status":\\s*"(UP|WARM)"' };
    const scene = await setScene(t, start, { engine: { health } });
    const pretend = (body: string) => scene.backend('shop-1').pretend({ status: 200, body });
    await pretend('{"status": "DOWN"}');
    await scene.untilHealthy('shop-1', false);
    await pretend('{"status": "WARM"}');
    await scene.untilHealthy('shop-1', true);
    await pretend(`${'.'.repeat(128 * 1024)}{"status": "UP"}`);
    await scene.untilHealthy('shop-1', false);
  });

  test('a frozen instance is found by its silence, though it still accepts connections', async (t) => {
    const scene = await setScene(t, start, { engine: { health: quickHealth } });
    scene.backend('shop-1').signal('SIGSTOP');
    const startedMs = performance.now();
    await scene.untilHealthy('shop-1', false);
    assert.ok(performance.now() - startedMs < 2_000);
    scene.backend('shop-1').signal('SIGCONT');
    await scene.untilHealthy('shop-1', true);
    await scene.untilCounted('shop-1', { ejections: 1 });
  });

  test('one failed check alone changes nothing', async (t) => {
    const verdicts: string[] = [];
    const onInstanceHealth = (instance: string, healthy: boolean) => verdicts.push(`${instance} ${healthy}`);
    const health = { ...quickHealth, unhealthyAfter: 1_000 };
    const scene = await setScene(t, start, { engine: { health, onInstanceHealth } });
    await scene.backend('shop-1').pretend('sick');
    for (let i = 0; i < 20; i++) await scene.ask('/slow?ms=20', { headers: belongsTo('shop-1') });
    assert.equal(scene.traffic('shop-1').healthy, true);
    assert.deepEqual(verdicts, []);
  });
}

/** The next check by the clock is far away, once the first is over, which begins with the table. */
async function betweenChecks(t: Cleanup, start: StartEngine): Promise<Scene> {
  const scene = await setScene(t, start, { engine: { health: { ...testHealth, everyMs: 60_000 } } });
  await scene.ask('/slow?ms=300', { headers: belongsTo('shop-1') });
  return scene;
}

function trafficTests({ start, test }: Suite): void {
  test('a refused connection in traffic leads to a check at once', async (t) => {
    const scene = await betweenChecks(t, start);
    await scene.backend('shop-1').kill();
    await scene.ask('/whoami', { headers: belongsTo('shop-1') });
    const startedMs = performance.now();
    await scene.untilHealthy('shop-1', false);
    assert.ok(performance.now() - startedMs < 1_500);
  });

  test('silence in traffic leads to a check at once', async (t) => {
    const scene = await betweenChecks(t, start);
    scene.backend('shop-1').signal('SIGSTOP');
    const reply = await scene.ask('/whoami', { headers: belongsTo('shop-1') });
    assert.equal(reply.body, 'shop-2');
    assert.ok(reply.tookMs < 2_500, `it took ${Math.round(reply.tookMs)} ms`);
    assert.equal(scene.traffic('shop-1').healthy, false);
  });

  test('a request that breaks its connection does not make a healthy instance sick', async (t) => {
    const scene = await setScene(t, start);
    for (let i = 0; i < 4; i++) await scene.ask('/break', { method: 'POST', headers: belongsTo('shop-1') });
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-1') })).body, 'shop-1');
    assert.deepEqual(
      scene.engine.status().instances.map(({ healthy }) => healthy),
      [true, true],
    );
  });
}

function agentTests({ start, test }: Suite): void {
  test("an agent's word counts before any check", async (t) => {
    const scene = await setScene(t, start, { engine: { health: quickHealth } });
    for (const word of ['maintenance', 'lost', 'down', 'starting'] as const) {
      await scene.say({ 'shop-1': word });
      assert.equal((await scene.newUsers(4))('shop-1'), 0, word);
    }
    // Not even when the checks speak against everybody else.
    await scene.backend('shop-2').pretend('sick');
    await scene.untilHealthy('shop-2', false);
    assert.equal((await scene.newUsers(4))('shop-2'), 4);
  });

  test('when every instance looks sick, new users are spread over all that their agents call up', async (t) => {
    const instances = ['shop-1', 'shop-2', 'shop-3'];
    const scene = await setScene(t, start, { instances, engine: { health: quickHealth } });
    await scene.say({ 'shop-3': 'down' });
    for (const instance of ['shop-1', 'shop-2']) {
      await scene.backend(instance).pretend('sick');
      await scene.untilHealthy(instance, false);
    }
    const users = await scene.newUsers(30);
    assert.ok(users('shop-1') >= 5 && users('shop-2') >= 5);
    assert.equal(users('shop-3'), 0);
  });
}
