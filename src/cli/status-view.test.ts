import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventTotals } from '../events/administration.ts';
import { durabilityOf, type ReplicationView } from '../members/durability.ts';
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

const nowMs = Date.parse('2027-01-02T12:00:00Z');
const hourly = {
  schedule: { kind: 'every', everyMs: 3_600_000 },
  timezone: 'UTC',
  dst: { skipped: 'after', repeated: undefined },
  fromMs: undefined,
  untilMs: undefined,
} as const;
const events: EventTotals = {
  nowMs,
  events: 12,
  running: 1,
  waiting: 2,
  unclaimed: [],
  fences: [],
  lastDay: { failed: 0, missed: 0, abandoned: 0 },
  paused: [],
  cursors: [{ event: 'stock', place: '', cursorMs: nowMs, isGate: false, calendar: hourly }],
};
const alone: ReplicationView = { synchronousNames: '', synchronousCommit: 'on', receivers: [] };

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
  replication: alone,
  events,
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

test('what a balancer reports is in the data as it stands, and its line in the picture', () => {
  const traffic = {
    'shop-1': { state: 'up', users: 4, responses: [0, 7, 0, 0, 0], replayed: 0, failed: 0, unknown: 0 },
  };
  const facts = {
    listen: '0.0.0.0:8080',
    engine: 'embedded',
    admin: 'http://127.0.0.1:9100',
    traffic,
    losses: [],
  };
  const view = { ...input.view, balancers: [{ name: 'b1', seenAgoMs: 400, facts }] };
  const status = statusJson({ ...input, view });
  assert.deepEqual(status.balancers, [{ balancer: 'b1', state: 'up', seenAgoMs: 400, ...facts }]);
  const text = statusText(status);
  assert.match(text, /^ {2}b1 +up +0\.0\.0\.0:8080 +embedded +7 +0 +0 +0 +0 +0 +0$/m);
  assert.match(text, /^ {4}users: shop-1 4$/m);
});

const receiver = (name: string | null, syncState: string | null) => ({
  name,
  state: name && 'streaming',
  syncState,
});

const promises: readonly [string, Partial<ReplicationView>, string, RegExp][] = [
  ['none', {}, 'none', /^no standby: if its disk is lost, so is the ledger$/],
  [
    'an asynchronous one',
    { receivers: [receiver('db2', 'async')] },
    'asynchronous',
    /^asynchronous standby only: after a failover the last claims may be forgotten, so a run may happen twice$/,
  ],
  [
    'a synchronous one',
    { synchronousNames: 'db2', receivers: [receiver('db2', 'sync'), receiver('db3', 'async')] },
    'synchronous',
    /^synchronous standby db2: /,
  ],
  [
    'a quorum',
    { synchronousNames: 'ANY 1 (*)', receivers: [receiver('db2', 'quorum'), receiver('db3', 'quorum')] },
    'synchronous',
    /^synchronous standby db2, db3: /,
  ],
  [
    'a synchronous one that commits do not wait for',
    { synchronousNames: 'db2', synchronousCommit: 'local', receivers: [receiver('db2', 'sync')] },
    'asynchronous',
    /asynchronous standby only \(synchronous_commit is local\)/,
  ],
  [
    'a synchronous one that is not there',
    { synchronousNames: 'db2' },
    'stalled',
    /no synchronous standby is connected \(synchronous_standby_names = db2\): every commit waits/,
  ],
  [
    'one that this role may not see',
    { receivers: [receiver(null, null)] },
    'hidden',
    /a run may happen twice.*cannot be seen with this role: it needs pg_monitor/,
  ],
  [
    'ones that this role may not see, and commits that wait',
    { synchronousNames: 'db2', receivers: [receiver(null, null)] },
    'hidden',
    /^commits wait for standbys \(synchronous_standby_names = db2\).*cannot be seen with this role/,
  ],
];
for (const [standbys, replication, kind, promise] of promises) {
  test(`the picture says what the arbiter can promise; its standbys: ${standbys}`, () => {
    const seen = { ...alone, ...replication };
    const durability = durabilityOf(seen);
    assert.equal(durability.kind, kind);
    assert.match(durability.promise, promise);
    const status = statusJson({ ...input, replication: seen });
    assert.deepEqual(status.arbiter.durability, durability);
    assert.ok(statusText(status).includes(durability.promise));
  });
}

test('the picture counts events, and names those that are paused, overdue or held by a fence', () => {
  assert.match(
    statusText(statusJson(input)),
    /events {3}12 events, 1 running, 2 waiting; in the last 24 h 0 failed, 0 missed, 0 abandoned$/,
  );
  const bad: EventTotals = {
    ...events,
    lastDay: { failed: 1, missed: 60, abandoned: 0 },
    unclaimed: [{ event: 'invoices', sinceMs: nowMs - 300_000 }],
    cursors: [{ event: 'stock', place: '', cursorMs: nowMs - 7_200_000, isGate: false, calendar: hourly }],
    paused: [{ event: 'mail', atMs: nowMs - 60_000, by: 'alice', reason: 'spam\x1b[2J' }],
    fences: [{ instance: 'shop-2', tries: 3, error: 'exit code 1' }],
  };
  const status = statusJson({ ...input, events: bad });
  assert.deepEqual('overdue' in status.events && status.events.overdue, [
    { event: 'stock', since: '2027-01-02T11:00:00.000Z' },
    { event: 'invoices', since: '2027-01-02T11:55:00.000Z' },
  ]);
  const lines = statusText(status)
    .split('\n')
    .map((line) => line.trim());
  for (const line of [
    'overdue: stock, for 1h',
    'overdue: invoices, for 5m',
    'paused: mail, by alice 1m ago: spam·[2J',
    'to be fenced: shop-2, 3 tries, which failed: exit code 1; what it ran waits',
  ])
    assert.ok(lines.includes(line), line);
});

test('events that cannot be read do not keep the rest of the picture away', () => {
  const status = statusJson({ ...input, events: { unreadable: 'no answer within 3000 ms' } });
  assert.match(statusText(status), /shop-1 .*events {3}cannot be read: no answer within 3000 ms/s);
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

test('status shows which instance is the leader, while it lives', () => {
  const leader = { ...member, facts: { ...member.facts, leader: true } };
  const status = statusJson({ ...input, view: { ...input.view, members: [leader] } });
  assert.equal(status.instances[0]?.leader, true);
  assert.match(statusText(status), /shop-1 .* leader\n/);
  const lost = statusJson({ ...input, view: { ...input.view, members: [{ ...leader, state: 'lost' }] } });
  assert.equal(lost.instances[0]?.leader, undefined);
});
