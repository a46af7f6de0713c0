import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Engine, EngineStatus, InstanceTraffic } from '../balancer/engine.ts';
import type { Arbiter } from '../database/arbiter.ts';
import type { BalancerFacts } from '../members/balancers.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';
import type { Clock } from '../support/clock.ts';
import { silentLog } from '../support/log.ts';
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts';

const calm: InstanceTraffic = {
  instance: 'shop-1',
  healthy: true,
  inFlight: 1,
  connections: 2,
  idleMs: 3.4,
  users: 5,
  requests: 100,
  responses: [0, 90, 5, 3, 2],
  replayed: 10,
  failed: 5,
  unknown: 1,
  ejections: 0,
  latency: null,
  warmth: 1,
};
const clients = { connections: 4, accepted: 50, refusals: { 503: 1 }, waiting: 0 };

const tableOf = (...instances: string[]): RoutingTable => ({
  cluster: 'shop',
  stickyKey: 'key',
  instances: instances.map((instance) => ({ instance, host: '127.0.0.1', port: 3000, state: 'up' })),
});

/** Fifty times as fast as ours. */
const fastClock: Clock = {
  monotonicMs: () => performance.now() * 50,
  wallMs: () => 1_800_000_000_000,
  sleep: (ms, signal) => delay(ms / 50, undefined, signal ? { signal } : {}).catch(() => undefined),
};

/** A gateway between an arbiter and an engine that say whatever the test wants. */
function scene(t: TestContext, options: Partial<GatewayOptions> = {}) {
  const world = {
    instances: () => [calm] as readonly InstanceTraffic[],
    /** How often the engine was asked. */
    asked: 0,
    /** What the arbiter answers. */
    routing: () => tableOf('shop-1'),
    applied: [] as RoutingTable[],
    facts: undefined as BalancerFacts | undefined,
    notices: [] as string[],
  };
  const engine: Engine = {
    apply: (table) => world.applied.push(table),
    status: (): EngineStatus => {
      world.asked++;
      return { listen: { host: '0.0.0.0', port: 8080 }, instances: world.instances(), clients };
    },
    close: async () => undefined,
  };
  const query = async (_text: string, values: readonly unknown[] = []) => {
    const routing = world.routing();
    if (values[1]) world.facts = values[1] as BalancerFacts;
    return [{ routing }];
  };
  const notice = (fields: object, message: string) => {
    if ('notice' in fields) world.notices.push(message);
  };
  const gateway: Gateway = startGateway({
    name: () => 'b1',
    arbiter: { query, listen: () => ({ close: async () => undefined }) } as unknown as Arbiter,
    engine,
    engineName: 'embedded',
    tableFile: { load: async () => undefined, save: async () => undefined },
    host: 'host-1',
    clock: fastClock,
    log: { ...silentLog, info: notice, warn: notice },
    ...options,
  });
  t.after(() => gateway.close());
  return { gateway, world };
}

async function eventually(what: string, condition: () => boolean): Promise<void> {
  const giveUpMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > giveUpMs) throw new Error(`It never came true that ${what}`);
    await delay(5);
  }
}

/** Waits for a few looks of the gateway at the engine. */
function looked(world: { readonly asked: number }): Promise<void> {
  const { asked } = world;
  return eventually('the engine is asked', () => world.asked >= asked + 4);
}

test('what the engine counts of each instance is reported to the arbiter, with the state it is routed by', async (t) => {
  const certificate = { certificate: '/etc/shop.crt', names: ['shop.example.com'], daysLeft: 12 };
  const { gateway, world } = scene(t, { certificates: () => [certificate] });
  await gateway.ready;
  await eventually('the state is known', () => world.facts?.traffic['shop-1']?.state === 'up');
  assert.deepEqual(world.facts, {
    listen: '0.0.0.0:8080',
    engine: 'embedded',
    pid: process.pid,
    host: 'host-1',
    admin: null,
    traffic: {
      'shop-1': {
        state: 'up',
        healthy: true,
        inFlight: 1,
        idleMs: 3,
        users: 5,
        requests: 100,
        responses: [0, 90, 5, 3, 2],
        replayed: 10,
        failed: 5,
        unknown: 1,
      },
    },
    clients,
    losses: [],
    certificates: [certificate],
  });
});

test('an instance that the table does not name yet is reported as down', async (t) => {
  const { world } = scene(t);
  world.routing = () => tableOf();
  await eventually('it is reported', () => world.facts !== undefined);
  assert.equal(world.facts?.traffic['shop-1']?.state, 'down');
});

test('the death of an instance is a notice with its cost, and everybody is told', async (t) => {
  const { gateway, world } = scene(t);
  await gateway.ready;
  await eventually('the state is known', () => world.facts?.traffic['shop-1']?.state === 'up');
  await looked(world);
  world.instances = () => [{ ...calm, healthy: false, replayed: 13, failed: 6, unknown: 2, ejections: 1 }];
  await looked(world);
  world.instances = () => [];
  world.routing = () => tableOf();
  await eventually('it is written down', () => world.notices.length > 0);
  assert.deepEqual(world.notices, [
    'shop-1 is gone: 3 requests replayed, 1 failed, 1 of them of unknown fate',
  ]);
  await eventually('it is reported', () => world.facts?.losses.length === 1);
  assert.equal(world.facts?.losses[0]?.unknown, 1);
});

test('what was counted until an instance leaves the table is not lost with it', async (t) => {
  const { gateway, world } = scene(t);
  await gateway.ready;
  await eventually('the state is known', () => world.facts?.traffic['shop-1']?.state === 'up');
  await looked(world);
  // The engine forgets an instance together with the table that named it; the counters grew just before.
  let isAnswered = false;
  world.routing = () => {
    isAnswered = true;
    return tableOf();
  };
  world.instances = () => {
    if (world.applied.length > 1) return [];
    return [isAnswered ? { ...calm, healthy: false, replayed: 17 } : calm];
  };
  await eventually('it is written down', () => world.notices.length > 0);
  assert.deepEqual(world.notices, ['shop-1 is gone: 7 requests replayed, 0 failed']);
});

test('P9: deaths are written down while the arbiter is away, too', async (t) => {
  const { gateway, world } = scene(t);
  await gateway.ready;
  world.routing = () => {
    throw new Error('no answer');
  };
  await eventually('it is away', () => world.notices.some((one) => one.startsWith('the arbiter is away')));
  await looked(world);
  world.instances = () => [{ ...calm, healthy: false, replayed: 11, ejections: 1 }];
  await looked(world);
  world.instances = () => [{ ...calm, replayed: 11, ejections: 1 }];
  const told = 'shop-1 failed its checks: 1 request replayed, 0 failed; it served again after 0.0 s';
  await eventually('it is written down', () => world.notices.includes(told));
});

test('the admin page shows the cluster, and its address is reported', async (t) => {
  const { gateway, world } = scene(t, { admin: { host: '127.0.0.1', port: 0 } });
  await gateway.ready;
  await eventually('its address is reported', () => typeof world.facts?.admin === 'string');
  const url = world.facts?.admin;
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(
    metrics,
    /holdfast_balancer_requests_total\{cluster="shop",balancer="b1",instance="shop-1"\} 100/,
  );
  assert.equal((await fetch(`${url}/health`)).status, 200);
  await gateway.close();
  await assert.rejects(fetch(`${url}/health`));
});

test('P10: an admin page that cannot be opened is an error with its address; traffic does not depend on it', async (t) => {
  const first = scene(t, { admin: { host: '127.0.0.1', port: 0 } });
  await eventually('the first is open', () => typeof first.world.facts?.admin === 'string');
  const port = Number(new URL(first.world.facts?.admin ?? '').port);
  const second = scene(t, { admin: { host: '127.0.0.1', port } });
  await assert.rejects(second.gateway.ready, { code: 'LISTEN_FAILED' });
  await eventually('the table is applied', () => second.world.applied.length === 1);
});
