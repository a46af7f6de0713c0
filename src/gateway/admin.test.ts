import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { EngineStatus, InstanceTraffic } from '../balancer/engine.ts';
import { type AdminSources, openAdmin } from './admin.ts';

const traffic: InstanceTraffic = {
  instance: 'shop-1',
  healthy: true,
  inFlight: 0,
  connections: 1,
  idleMs: 10,
  users: null,
  requests: 7,
  responses: [0, 7, 0, 0, 0],
  replayed: 0,
  failed: 0,
  unknown: 0,
  ejections: 0,
  latency: null,
  warmth: 1,
};

const status: EngineStatus = {
  listen: { host: '0.0.0.0', port: 8080 },
  instances: [traffic],
  clients: { connections: 1, accepted: 2, refusals: {}, waiting: 0 },
};

const loss = {
  instance: 'shop-2',
  atWallMs: 1_800_000_000_000,
  reason: 'lost',
  replayed: 3,
  failed: 1,
  unknown: 1,
  endedWallMs: null,
} as const;
const certificate = { certificate: '/etc/shop.crt', names: ['shop.example.com'], daysLeft: 12 };

async function opened(t: TestContext, sources: Partial<AdminSources> = {}): Promise<string> {
  const admin = await openAdmin(
    { host: '127.0.0.1', port: 0 },
    {
      status: () => status,
      losses: () => [loss],
      certificates: () => [certificate],
      labels: () => ({ cluster: 'shop', balancer: 'b1' }),
      ...sources,
    },
  );
  t.after(() => admin.close());
  return admin.url;
}

test('metrics are in the text format of Prometheus, with the labels of the balancer', async (t) => {
  const response = await fetch(`${await opened(t)}/metrics`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  assert.match(
    await response.text(),
    /^holdfast_balancer_requests_total\{cluster="shop",balancer="b1",instance="shop-1"\} 7$/m,
  );
});

test('the status is everything that the engine says, with recent losses and the life of certificates', async (t) => {
  const response = await fetch(`${await opened(t)}/status`);
  assert.equal(response.headers.get('content-type'), 'application/json');
  assert.equal(response.headers.get('cache-control'), 'no-store');
  assert.deepEqual(await response.json(), { ...status, losses: [loss], certificates: [certificate] });
});

test('what is shown is what is so at that moment', async (t) => {
  let requests = 1;
  const url = await opened(t, { status: () => ({ ...status, instances: [{ ...traffic, requests }] }) });
  requests = 2;
  const { instances } = (await (await fetch(`${url}/status`)).json()) as EngineStatus;
  assert.equal(instances[0]?.requests, 2);
});

test('the balancer is well while one instance passes its checks', async (t) => {
  let instances: readonly InstanceTraffic[] = [{ ...traffic, healthy: false }, traffic];
  const url = `${await opened(t, { status: () => ({ ...status, instances }) })}/health`;
  assert.deepEqual([(await fetch(url)).status, await (await fetch(url)).text()], [200, 'OK\n']);
  instances = [{ ...traffic, healthy: false }];
  const sick = await fetch(url);
  assert.deepEqual([sick.status, await sick.json()], [503, { reason: 'no instance passes its checks' }]);
  instances = [];
  const empty = await fetch(url);
  assert.deepEqual(
    [empty.status, await empty.json()],
    [503, { reason: 'the routing table names no instance' }],
  );
});

test('P10: only GET and HEAD of the three pages are answered', async (t) => {
  const url = await opened(t);
  for (const path of ['/metrics', '/status', '/health']) {
    assert.equal((await fetch(`${url}${path}?a=b`)).status, 200);
    const head = await fetch(`${url}${path}`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
    for (const method of ['POST', 'PUT', 'DELETE']) {
      assert.equal((await fetch(`${url}${path}`, { method })).status, 405);
    }
  }
  for (const path of ['', '/', '/metrics/', '/constructor', '/__proto__', '/toString']) {
    const missing = await fetch(`${url}${path}`);
    assert.equal(missing.status, 404, path);
    assert.equal(await missing.text(), 'The pages are /metrics, /status, /health\n');
  }
});

test('P10: an address that is taken is refused with the address and a remedy', async (t) => {
  const { port } = new URL(await opened(t));
  await assert.rejects(openAdmin({ host: '127.0.0.1', port: Number(port) }, {} as never), {
    code: 'LISTEN_FAILED',
    message: new RegExp(`admin page cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`),
    remedy: /another address/,
  });
});
