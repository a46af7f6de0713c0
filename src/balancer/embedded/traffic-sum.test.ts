import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type InstanceTraffic, latencyBucketsMs } from '../engine.ts';
import type { StationTraffic } from './station.ts';
import { noTraffic, sumOfTraffic } from './traffic-sum.ts';

const seen = (instance: string, more: Partial<InstanceTraffic> = {}): InstanceTraffic => ({
  instance,
  healthy: true,
  inFlight: 1,
  connections: 2,
  idleMs: 300,
  users: 4,
  requests: 50,
  responses: [1, 20, 3, 4, 5],
  replayed: 6,
  failed: 7,
  unknown: 3,
  ejections: 1,
  latency: { counts: latencyBucketsMs.map(() => 1).concat(2), sumMs: 1_000 },
  warmth: 1,
  ...more,
});

const station = (instances: readonly InstanceTraffic[], refusals = {}): StationTraffic => ({
  instances,
  clients: { connections: 1, accepted: 10, waiting: 2, refusals },
});

test('what is counted adds up, and what is a state is that of the process that looks best or worst', () => {
  const one = station([seen('a', { idleMs: 300, warmth: 0.4, responses: [1, 2, 3, 4, 5] })]);
  const other = station([seen('a', { idleMs: 200, warmth: 0.3 })]);
  assert.deepEqual(sumOfTraffic(one, other).instances, [
    {
      instance: 'a',
      healthy: true,
      inFlight: 2,
      connections: 4,
      idleMs: 200,
      users: 8,
      requests: 100,
      responses: [2, 22, 6, 8, 10],
      replayed: 12,
      failed: 14,
      unknown: 6,
      ejections: 1,
      latency: { counts: latencyBucketsMs.map(() => 2).concat(4), sumMs: 2_000 },
      warmth: 0.3,
    },
  ]);
});

test('clients and refusals add up, by status', () => {
  const sum = sumOfTraffic(station([], { 503: 1, 404: 2 }), station([], { 503: 4, 400: 1 }));
  assert.deepEqual(sum.clients, {
    connections: 2,
    accepted: 20,
    waiting: 4,
    refusals: { 400: 1, 404: 2, 503: 5 },
  });
});

test('verdicts and ejections are those of the first, which is the balancer itself', () => {
  const views = [
    { instance: 'a', healthy: false, ejections: 7 },
    { instance: 'b', healthy: true, ejections: 0 },
  ];
  const plain = {
    host: '127.0.0.1',
    port: 1,
    state: 'up',
    cookieValue: '',
    births: 0,
    lifeSigns: 0,
  } as const;
  const nothing = noTraffic(views.map((view) => ({ ...plain, ...view })));
  const sum = sumOfTraffic(nothing, station([seen('b', { ejections: 3 }), seen('a', { healthy: true })]));
  assert.deepEqual(
    sum.instances.map(({ instance, healthy, ejections, requests }) => [
      instance,
      healthy,
      ejections,
      requests,
    ]),
    [
      ['a', false, 7, 50],
      ['b', true, 0, 50],
    ],
  );
});

test('what one of them cannot know is taken from the other', () => {
  const [blind] = sumOfTraffic(
    station([seen('a', { users: null, latency: null })]),
    station([seen('a')]),
  ).instances;
  assert.deepEqual([blind?.users, blind?.latency?.sumMs], [4, 1_000]);
  const none = station([seen('a', { users: null, latency: null })]);
  const [both] = sumOfTraffic(none, none).instances;
  assert.deepEqual([both?.users, both?.latency], [null, null]);
});

const counts = fc.nat(1_000);
const anyStation = fc
  .dictionary(fc.constantFrom('a', 'b', 'c'), fc.record({ requests: counts, failed: counts, users: counts }))
  .map((instances) => station(Object.entries(instances).map(([instance, more]) => seen(instance, more))));

test('nothing is counted twice or left out, in whichever order the processes are added', () => {
  const total = ({ instances }: StationTraffic, key: 'requests' | 'failed' | 'users') =>
    instances.reduce((sum, instance) => sum + (instance[key] ?? 0), 0);
  fc.assert(
    fc.property(fc.array(anyStation), (stations) => {
      const sum = stations.reduce(sumOfTraffic, noTraffic([]));
      const reversed = stations.toReversed().reduce(sumOfTraffic, noTraffic([]));
      for (const key of ['requests', 'failed', 'users'] as const) {
        assert.equal(
          total(sum, key),
          stations.reduce((all, one) => all + total(one, key), 0),
        );
        assert.equal(total(reversed, key), total(sum, key));
      }
      const names = sum.instances.map(({ instance }) => instance);
      assert.equal(new Set(names).size, names.length, 'each instance once');
    }),
  );
});
