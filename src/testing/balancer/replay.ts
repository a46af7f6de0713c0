import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCrowd } from './client.ts';
import { belongsTo, blindHealth, type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** Whether a dying instance is noticed by users. */
export function replayTests(suite: Suite): void {
  crowdTests(suite);
  oneRequestTests(suite);
  unrepeatableTests(suite);
}

function crowdTests({ start, test }: Suite): void {
  test('P7: kill -9 of an instance under a crowd of GETs fails not one of them', async (t) => {
    const scene = await setScene(t, start);
    const crowd = startCrowd(scene.port, 32);
    await untilServed(scene, 'shop-1', 200);
    await scene.backend('shop-1').kill();
    await untilServed(scene, 'shop-2', 800);
    const report = await crowd.stop();
    assert.deepEqual(report.failures, []);
    assert.ok(report.slowestMs < 2_000, `the slowest took ${Math.round(report.slowestMs)} ms`);
  });

  test('P7: a frozen instance fails no GET and delays none by 3 s', async (t) => {
    const scene = await setScene(t, start);
    const crowd = startCrowd(scene.port, 32);
    await untilServed(scene, 'shop-1', 200);
    scene.backend('shop-1').signal('SIGSTOP');
    await scene.untilHealthy('shop-1', false);
    await untilServed(scene, 'shop-2', 800);
    const report = await crowd.stop();
    assert.deepEqual(report.failures, []);
    assert.ok(report.slowestMs < 3_000, `the slowest took ${Math.round(report.slowestMs)} ms`);
  });

  test('P7: a killed instance that comes back takes its users again', async (t) => {
    const scene = await setScene(t, start);
    const headers = belongsTo('shop-1');
    await scene.backend('shop-1').kill();
    assert.equal((await scene.ask('/whoami', { headers })).body, 'shop-2');
    await scene.untilHealthy('shop-1', false);
    await scene.backend('shop-1').start();
    await scene.untilHealthy('shop-1', true);
    assert.equal((await scene.ask('/whoami', { headers })).body, 'shop-1');
  });

  test('P7: with one instance only, requests wait while it is restarted, and not one GET fails', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const crowd = startCrowd(scene.port, 8);
    await untilServed(scene, 'shop-1', 50);
    await scene.backend('shop-1').kill();
    await scene.say({ 'shop-1': 'down' });
    await scene.backend('shop-1').start();
    await scene.say({ 'shop-1': 'up' });
    await untilServed(scene, 'shop-1', 50);
    assert.deepEqual((await crowd.stop()).failures, []);
  });
}

function oneRequestTests({ start, test }: Suite): void {
  test('P7: a request that was never sent is replayed whatever its method', async (t) => {
    // No verdict by checks: it is the request itself that finds out.
    const scene = await setScene(t, start, { engine: { health: blindHealth } });
    for (const [method, bytes] of [
      ['POST', 8],
      ['PATCH', 400_000],
      ['PUT', 400_000],
      ['GET', 0],
    ] as const) {
      await scene.backend('shop-1').kill();
      const reply = await scene.ask('/echo', {
        method,
        headers: belongsTo('shop-1'),
        body: 'x'.repeat(bytes),
      });
      assert.deepEqual(pick(reply.body), { instance: 'shop-2', bytes }, method);
      assert.equal(await scene.backend('shop-2').count(method, '/echo'), 1);
      await scene.backend('shop-1').start();
      await scene.say({ 'shop-1': 'down' });
      await scene.say({ 'shop-1': 'up' });
    }
    await scene.untilCounted('shop-1', { replayed: 4 });
  });

  test('P7: the body of an idempotent request goes with it to the next instance', async (t) => {
    const scene = await setScene(t, start);
    const options = { method: 'PUT', headers: belongsTo('shop-1'), body: 'x'.repeat(60_000) };
    scene.backend('shop-1').signal('SIGSTOP');
    const reply = await scene.ask('/echo', options);
    assert.deepEqual(pick(reply.body), { instance: 'shop-2', bytes: 60_000 });
    assert.ok(reply.tookMs < 3_000);
    await scene.untilCounted('shop-1', { replayed: 1 });
  });

  test('P7: an idempotent request whose body is too large to be held is not repeated', async (t) => {
    const scene = await setScene(t, start);
    const options = { method: 'PUT', headers: belongsTo('shop-1'), body: 'x'.repeat(200_000) };
    const put = scene.ask('/hang', options);
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    await sleep(100); // the rest of the body is on its way; nothing tells when it has arrived
    await scene.backend('shop-1').kill();
    const reply = await put;
    assert.equal(reply.status, 502);
    assert.match(reply.body, /may safely be sent again/);
    assert.equal(await scene.backend('shop-2').count('PUT', '/hang'), 0);
  });

  test('P7: a response that has begun is never joined to another one: the client sees it break', async (t) => {
    const scene = await setScene(t, start);
    await assert.rejects(scene.ask('/half'));
    assert.equal(await scene.arrivals('GET', '/half'), 1);
    const failed = () => scene.traffic('shop-1').failed + scene.traffic('shop-2').failed;
    await until('the failure is counted', () => failed() === 1);
  });

  test('a GET that breaks every instance is tried once at each and then answered with 502', async (t) => {
    const scene = await setScene(t, start);
    const reply = await scene.ask('/break');
    assert.equal(reply.status, 502);
    assert.match(reply.body, /Every instance/);
    for (const backend of scene.backends) assert.equal(await backend.count('GET', '/break'), 1);
  });

  test('a kept connection that the instance has closed is no reason to move its user', async (t) => {
    // Its own checks must not find it gone in the moment between its death and its return.
    const scene = await setScene(t, start, { engine: { health: blindHealth } });
    const headers = belongsTo('shop-1');
    await scene.ask('/whoami', { headers });
    await scene.backend('shop-1').kill();
    await scene.backend('shop-1').start();
    await scene.say({ 'shop-1': 'up' });
    assert.equal((await scene.ask('/whoami', { headers })).body, 'shop-1');
  });

  test('an answer that is not HTTP is 502 and is not asked for again', async (t) => {
    const scene = await setScene(t, start);
    assert.equal((await scene.ask('/garbage')).status, 502);
    assert.equal(await scene.arrivals('GET', '/garbage'), 1);
  });

  test('an instance that does not answer in time is 504, and the request is not repeated', async (t) => {
    const scene = await setScene(t, start, { engine: { responseTimeoutMs: 300 } });
    const get = await scene.ask('/hang', { headers: belongsTo('shop-1') });
    assert.equal(get.status, 504);
    const post = await scene.ask('/hang', { method: 'POST', body: 'x', headers: belongsTo('shop-1') });
    assert.equal(post.status, 504);
    assert.match(post.body, /fate of the request is unknown/);
    assert.equal(await scene.backend('shop-2').count('POST', '/hang'), 0);
    assert.equal(await scene.backend('shop-2').count('GET', '/hang'), 0);
  });
}

function unrepeatableTests({ start, test }: Suite): void {
  test('P7: POSTs are never repeated while instances are killed: each arrives at most once', async (t) => {
    const scene = await setScene(t, start);
    const agent = new http.Agent({ keepAlive: true });
    let isStopped = false;
    const asked: { path: string; status: number }[] = [];
    const client = async (id: number) => {
      for (let i = 0; !isStopped; i++) {
        const path = `/echo?order=${id}-${i}`;
        const { status } = await scene.ask(path, { method: 'POST', body: 'an order', agent });
        asked.push({ path, status });
        await sleep(5);
      }
    };
    const clients = Promise.all(Array.from({ length: 16 }, (_, id) => client(id)));
    await untilServed(scene, 'shop-1', 100);
    await scene.backend('shop-1').kill();
    await untilServed(scene, 'shop-2', 400);
    isStopped = true;
    await clients;
    agent.destroy();
    const arrived = new Map<string, number>();
    for (const backend of scene.backends) {
      for (const { method, url } of await backend.records()) {
        if (method === 'POST') arrived.set(url as string, (arrived.get(url as string) ?? 0) + 1);
      }
    }
    for (const { path, status } of asked) {
      const times = arrived.get(path) ?? 0;
      assert.ok(times <= 1, `${path} arrived ${times} times`);
      assert.ok(
        status === 502 || (status === 200 && times === 1),
        `${path}: ${status}, arrived ${times} times`,
      );
    }
  });

  test('P7: a POST in the hands of an instance that dies is answered 502 and its fate is called unknown', async (t) => {
    const scene = await setScene(t, start);
    const post = scene.ask('/hang', { method: 'POST', body: 'an order', headers: belongsTo('shop-1') });
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    await scene.backend('shop-1').kill();
    const reply = await post;
    assert.equal(reply.status, 502);
    assert.match(reply.body, /Its fate is unknown/);
    assert.equal(await scene.backend('shop-2').count('POST', '/hang'), 0);
    await scene.untilCounted('shop-1', { failed: 1, unknown: 1, replayed: 0 });
  });

  test('P7: a POST waits for a frozen instance that wakes up again, and arrives once', async (t) => {
    const scene = await setScene(t, start);
    scene.backend('shop-1').signal('SIGSTOP');
    const post = scene.ask('/echo', { method: 'POST', body: 'an order', headers: belongsTo('shop-1') });
    await scene.untilHealthy('shop-1', false);
    scene.backend('shop-1').signal('SIGCONT');
    assert.deepEqual(pick((await post).body), { instance: 'shop-1', bytes: 8 });
    assert.equal(await scene.backend('shop-2').count('POST', '/echo'), 0);
  });
}

const untilServed = (scene: Scene, instance: string, more: number) => {
  const before = scene.traffic(instance).requests;
  return until(
    `${instance} got ${more} more requests`,
    () => scene.traffic(instance).requests >= before + more,
  );
};

function pick(body: string): { instance: string; bytes: number } {
  const { instance, bytes } = JSON.parse(body) as { instance: string; bytes: number };
  return { instance, bytes };
}
