import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import {
  type BalancerFacts,
  balancerHeartbeat,
  balancerLeave,
  drainProgress,
  type ReportedTraffic,
} from './balancers.ts';
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
  admin: null,
  traffic,
  clients: { connections: 0, accepted: 0, refusals: {}, waiting: 0 },
  losses: [],
  certificates: [],
});

const idle: ReportedTraffic = {
  state: 'draining',
  inFlight: 0,
  idleMs: 5_000,
  healthy: true,
  users: null,
  requests: 1,
  responses: [0, 1, 0, 0, 0],
  replayed: 0,
  failed: 0,
  unknown: 0,
};

/** How far the drain of shop-1 has come when two balancers report this. */
async function progress(one: Partial<ReportedTraffic>, other: Partial<ReportedTraffic>) {
  await balancerHeartbeat(arbiter.query, 'b1', seeing({ 'shop-1': { ...idle, ...one } }));
  await balancerHeartbeat(arbiter.query, 'b2', seeing({ 'shop-1': { ...idle, ...other } }));
  return drainProgress(arbiter.query, 'shop-1', 2_000);
}

test('a balancer is told the members that have an address, and the key of the sticky cookie', async () => {
  await joinAs('shop-1');
  await joinAs('shop-2', null);
  assert.deepEqual(await balancerHeartbeat(arbiter.query, 'b1', seeing({})), {
    cluster: 'shop',
    stickyKey: 'c3RpY2t5',
    instances: [{ instance: 'shop-1', state: 'up', host: '10.0.0.1', port: 3000 }],
  });
});

test('an instance is drained when every living balancer routes nobody there and has no user left', async () => {
  const none = { users: 0, idleMs: 0 };
  const drainedAfter = async (one: Partial<ReportedTraffic>, other: Partial<ReportedTraffic>) =>
    (await progress(one, other)).isDrained;
  assert.equal(await drainedAfter(none, none), true);
  assert.equal(await drainedAfter(none, { ...none, state: 'up' }), false);
  assert.equal(await drainedAfter({ ...none, inFlight: 1 }, none), false);
  assert.equal(await drainedAfter(none, { users: 1, idleMs: 60_000 }), false);
});

test('where a balancer cannot tell users apart, they are gone when no request came for a while', async () => {
  assert.equal((await progress({}, {})).isDrained, true);
  assert.equal((await progress({}, { idleMs: 1_999 })).isDrained, false);
  assert.equal((await progress({ users: 0 }, { idleMs: 1_999 })).isDrained, false);
  assert.equal((await progress({}, { inFlight: 1 })).isDrained, false);
});

test('the progress of a drain is the sum of what all balancers see', async () => {
  assert.deepEqual(await progress({ users: 3, inFlight: 2 }, { users: 4, inFlight: 1 }), {
    isDrained: false,
    inFlight: 3,
    users: 7,
  });
  assert.equal((await progress({ users: 3 }, {})).users, 3);
  assert.equal((await progress({}, {})).users, null);
});

test('a balancer that has been silent for five seconds is not asked', async () => {
  await progress({ users: 3 }, { users: 0 });
  await arbiter.query(
    "update holdfast.balancer set seen_at = seen_at - interval '6 seconds' where name = 'b1'",
  );
  assert.deepEqual(await drainProgress(arbiter.query, 'shop-1', 2_000), {
    isDrained: true,
    inFlight: 0,
    users: 0,
  });
});

test('a balancer that does not know the instance sends nobody there', async () => {
  await balancerHeartbeat(arbiter.query, 'b1', seeing({}));
  assert.deepEqual(await drainProgress(arbiter.query, 'shop-1', 2_000), {
    isDrained: true,
    inFlight: 0,
    users: null,
  });
});

test('without a balancer there is nothing to drain', async () => {
  assert.equal((await drainProgress(arbiter.query, 'shop-1', 2_000)).isDrained, true);
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
