import assert from 'node:assert/strict';
import { test } from 'node:test';
import { table } from './output.ts';
import { isFine, type StatusInput, statusJson, statusText } from './status-view.ts';

const member = {
  instance: 'shop-1',
  state: 'up',
  incarnation: 3,
  token: '1',
  leaseRemainingMs: 4_200,
  left: false,
  endedBecause: null,
  maintenance: [],
  facts: {
    host: 'host-1',
    agentPid: 10,
    address: { host: '127.0.0.1', port: 3000 },
    pid: 11,
    revision: 2,
    healthPage: null,
    reason: null,
  },
} as const;

const input: StatusInput = {
  view: {
    cluster: 'shop',
    revision: 2,
    arbiter: { version: '18.4', timeline: 1, startedAt: '2026-01-01T00:00:00Z', synchronousStandbys: [] },
    members: [member],
    balancers: [{ name: 'b1', seenAgoMs: 400, facts: { listen: '0.0.0.0:8080', engine: 'embedded' } }],
  },
  address: 'postgres://holdfast:***@127.0.0.1:5432/shop',
  roundTripMs: 1.5,
  lease: { ttlMs: 5_000, heartbeatMs: 1_000 },
  queryDeadlineMs: 3_000,
  sessions: { 'shop-1': 7 },
  expected: ['shop-1'],
};

test('status gives each instance its state, processes, lease, revision and sessions', () => {
  const { instances, takeoverWorstCaseMs } = statusJson(input);
  assert.deepEqual(instances, [
    {
      instance: 'shop-1',
      state: 'up',
      reason: null,
      address: '127.0.0.1:3000',
      pid: 11,
      agentPid: 10,
      host: 'host-1',
      incarnation: 3,
      leaseRemainingMs: 4_200,
      revision: 2,
      sessions: 7,
      healthPage: null,
    },
  ]);
  assert.equal(takeoverWorstCaseMs, 12_000);
});

test('an instance that is configured and never joined is shown, and the cluster is not fine', () => {
  const status = statusJson({ ...input, expected: ['shop-1', 'shop-2'] });
  assert.deepEqual([status.instances[1]?.state, status.instances[1]?.reason], ['down', 'never joined']);
  assert.equal(isFine(status), false);
});

test('a lost instance is shown with the evidence and without processes', () => {
  const lost = {
    ...member,
    state: 'lost',
    leaseRemainingMs: -900,
    endedBecause: 'declared lost by shop-2',
  } as const;
  const [shown] = statusJson({ ...input, view: { ...input.view, members: [lost] } }).instances;
  assert.deepEqual(
    [shown?.state, shown?.reason, shown?.pid, shown?.leaseRemainingMs],
    ['lost', 'declared lost by shop-2', null, 0],
  );
});

test('the cluster is fine when every instance is up and a balancer was heard of lately', () => {
  assert.equal(isFine(statusJson(input)), true);
  const silent = [{ name: 'b1', seenAgoMs: 6_000, facts: {} }];
  assert.equal(isFine(statusJson({ ...input, view: { ...input.view, balancers: silent } })), false);
});

test('the picture says what the arbiter can promise', () => {
  assert.match(statusText(statusJson(input)), /no synchronous standby: a failover may lose the last moments/);
  const arbiter = { ...input.view.arbiter, synchronousStandbys: ['db2'] };
  assert.match(
    statusText(statusJson({ ...input, view: { ...input.view, arbiter } })),
    /commits wait for db2/,
  );
});

test('a table aligns its columns, colours or not', () => {
  assert.equal(
    table([
      ['a', '1'],
      ['\x1b[32mlong\x1b[39m', '2'],
    ]),
    'a     1\n\x1b[32mlong\x1b[39m  2',
  );
});
