import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { type BalancerFacts, balancerHeartbeat, balancerLeave, isDrained } from './balancers.ts';
import { claimCluster, viewCluster } from './cluster.ts';
import { join, type MemberFacts } from './membership.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
});
beforeEach(async (context) => {
  arbiter = openArbiter({ url: await postgres.createDatabase() });
  if ('after' in context) context.after(() => arbiter.close());
  await claimCluster(arbiter.query, 'shop', 'c3RpY2t5');
});
after(() => postgres?.stop());

const facts: MemberFacts = {
  host: 'host-1',
  agentPid: 10,
  address: { host: '10.0.0.1', port: 3000 },
  pid: 11,
  revision: 1,
  healthPage: null,
  reason: null,
};

const joinAs = (instance: string, address: MemberFacts['address'] = facts.address) =>
  join(arbiter.query, {
    instance,
    agentId: `agent of ${instance}`,
    provedDead: [],
    watched: null,
    ttlMs: 5_000,
    state: 'up',
    facts: { ...facts, address },
  });

const seeing = (traffic: BalancerFacts['traffic']): BalancerFacts => ({
  listen: '0.0.0.0:8080',
  engine: 'embedded',
  pid: 12,
  host: 'host-1',
  traffic,
});

const idle = { inFlight: 0, idleMs: 5_000, healthy: true, requests: 1, replayed: 0, failed: 0 };

test('a balancer is told the members that have an address, and the key of the sticky cookie', async () => {
  await joinAs('shop-1');
  await joinAs('shop-2', null);
  assert.deepEqual(await balancerHeartbeat(arbiter.query, 'b1', seeing({})), {
    cluster: 'shop',
    stickyKey: 'c3RpY2t5',
    instances: [{ instance: 'shop-1', state: 'up', host: '10.0.0.1', port: 3000 }],
  });
});

test('an instance is drained when every living balancer routes nobody there and has seen nobody for a while', async () => {
  const drainedAfter = async (one: object, other: object) => {
    await balancerHeartbeat(
      arbiter.query,
      'b1',
      seeing({ 'shop-1': { ...idle, state: 'draining', ...one } }),
    );
    await balancerHeartbeat(
      arbiter.query,
      'b2',
      seeing({ 'shop-1': { ...idle, state: 'draining', ...other } }),
    );
    return isDrained(arbiter.query, 'shop-1', 2_000);
  };
  assert.equal(await drainedAfter({}, {}), true);
  assert.equal(await drainedAfter({}, { state: 'up' }), false);
  assert.equal(await drainedAfter({ inFlight: 1 }, {}), false);
  assert.equal(await drainedAfter({}, { idleMs: 1_999 }), false);
});

test('without a balancer there is nothing to drain', async () => {
  assert.equal(await isDrained(arbiter.query, 'shop-1', 2_000), true);
});

test('a balancer that leaves is not shown any more', async () => {
  await balancerHeartbeat(arbiter.query, 'b1', seeing({}));
  assert.deepEqual(
    (await viewCluster(arbiter.query)).balancers.map(({ name }) => name),
    ['b1'],
  );
  await balancerLeave(arbiter.query, 'b1');
  assert.deepEqual((await viewCluster(arbiter.query)).balancers, []);
});

test('P10: an arbiter that belongs to another cluster is refused, with both names', async () => {
  await assert.rejects(claimCluster(arbiter.query, 'other', 'key'), {
    code: 'CLUSTER_MISMATCH',
    message: 'The arbiter belongs to the cluster "shop", not "other".',
  });
  await claimCluster(arbiter.query, 'shop', 'a key that is not used');
  assert.equal((await balancerHeartbeat(arbiter.query, 'b1', seeing({}))).stickyKey, 'c3RpY2t5');
});
