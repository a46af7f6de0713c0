/** The keeper on a virtual clock, against an arbiter that answers as each test says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Query } from '../database/arbiter.ts';
import { HoldfastError } from '../support/errors.ts';
import { silentLog } from '../support/log.ts';
import { simulatedMachine } from '../testing/simulation/machine.ts';
import { virtualTime } from '../testing/simulation/virtual-time.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { plainFacts } from './member-facts.fixture.ts';

const lease = { ttlMs: 5_000, heartbeatMs: 1_000 };
/** What the arithmetic leaves of 5 s: a hundredth for the clocks' rates, a second for stopping the work. */
const actingMs = 3_950;

type Answer = Record<string, unknown> | 'away' | 'silence';

const joined = (more: object = {}): Answer => ({
  outcome: 'joined',
  incarnation: 1,
  token: '7',
  timeline: 1,
  graceMs: 0,
  ...more,
});
const renewed = (more: object = {}): Answer => ({
  outcome: 'renewed',
  timeline: 1,
  maintenance: [],
  revision: null,
  expired: [],
  ...more,
});
const held = (renewedAt: string, timeline = 1): Answer => ({
  outcome: 'held',
  facts: { host: 'other-host', agentPid: 4711 },
  incarnation: 3,
  renewedAt,
  timeline,
  remainingMs: -1,
});

/** `answer` is asked for each statement; answers take 10 ms. */
function scene(
  answer: (
    operation: 'join' | 'heartbeat' | 'leave' | 'lost',
    values: readonly unknown[],
    nowMs: number,
  ) => Answer,
) {
  const time = virtualTime();
  const machine = simulatedMachine(time, { rate: 1, wallOffsetMs: 1_700_000_000_000 });
  const events: string[] = [];
  const query: Query = (text, values = [], { deadlineMs = 3_000 } = {}) =>
    new Promise((resolve, reject) => {
      const operation = /member_(join|heartbeat|leave|declare_lost)/.exec(text)?.[1]?.replace('declare_', '');
      const said = answer(operation as 'join', values, time.nowMs());
      const away = () => reject(new HoldfastError('ARBITER_UNAVAILABLE', 'away'));
      if (said === 'silence') machine.timer(deadlineMs, away);
      else if (said === 'away') machine.timer(1, away);
      else machine.timer(10, () => resolve([{ answer: said, done: true }] as never));
    });
  const keeper = new LeaseKeeper({
    query,
    clock: machine.clock,
    random: () => 0.5,
    log: silentLog,
    instance: 'shop-1',
    agentId: 'me',
    provedDead: [],
    lease,
    report: () => ({
      state: 'up',
      facts: plainFacts,
    }),
    on: {
      joined: () => events.push(`${Math.round(time.nowMs())} joined`),
      renewed: () => undefined,
      expired: (why) => events.push(`${Math.round(time.nowMs())} ${why}`),
    },
  });
  let end: unknown;
  void keeper.run().then(
    () => {
      end = 'ended';
    },
    (error) => {
      end = error;
    },
  );
  return { time, machine, keeper, events, ended: () => end };
}

test('P4: the right to act is counted from when the renewal was sent, and ends before the ttl', async () => {
  const { time, keeper, events } = scene((operation) => (operation === 'join' ? joined() : 'silence'));
  await time.runUntil(100);
  assert.equal(keeper.mayAct(), true);
  assert.equal(Math.round(keeper.remainingMs()), actingMs - 100);
  await time.runUntil(actingMs - 1);
  assert.equal(keeper.mayAct(), true);
  await time.runUntil(actingMs + 300);
  assert.equal(keeper.mayAct(), false);
  assert.deepEqual(events, ['10 joined', `${actingMs} the lease could not be renewed in time`]);
});

test('heartbeats keep the right to act for as long as they are answered', async () => {
  const { time, keeper, events } = scene((operation) => (operation === 'join' ? joined() : renewed()));
  await time.runUntil(60_000);
  assert.equal(keeper.mayAct(), true);
  assert.deepEqual(events, ['10 joined']);
});

test('P4: a suspended machine, whose monotonic clock stood still, knows at once that its right is over', async () => {
  const { time, machine, keeper, events } = scene((operation) =>
    operation === 'join' ? joined() : time.nowMs() < 10_000 ? renewed() : 'silence',
  );
  await time.runUntil(10_000);
  machine.suspend();
  await time.runUntil(100_000);
  machine.wake();
  assert.equal(keeper.mayAct(), false);
  await time.runUntil(100_000 + 250);
  assert.match(events.at(-1) ?? '', /^100\d\d\d the lease could not be renewed in time$/);
});

test('P4: a right that ran out does not come back because somebody sets the wall clock back', async () => {
  let answers = true;
  const { time, machine, keeper } = scene((operation) =>
    operation === 'join' ? joined() : answers ? renewed() : 'silence',
  );
  await time.runUntil(10_000);
  answers = false;
  machine.suspend();
  await time.runUntil(100_000);
  machine.wake();
  await time.runUntil(100_300);
  machine.setWallClock(-90_000);
  assert.equal(keeper.mayAct(), false);
});

test('a fenced member stops at once, with the reason, and joins anew', async () => {
  let fenced = false;
  const { time, keeper, events } = scene((operation) => {
    if (operation === 'join') return joined({ token: fenced ? '9' : '7' });
    if (fenced) return renewed();
    fenced = true;
    return { outcome: 'fenced', because: 'declared lost by shop-2' };
  });
  await time.runUntil(2_000);
  assert.equal(keeper.membership?.token, 9n);
  assert.equal(events[1]?.replace(/^\d+ /, ''), 'declared lost by shop-2');
  assert.match(events[2] ?? '', /joined$/);
});

test('a name whose holder renews is refused, and the error names the holder', async () => {
  let renewals = 0;
  const { time, ended } = scene(() => held(`renewal ${renewals++}`));
  await time.runUntil(3_000);
  const error = ended() as HoldfastError;
  assert.equal(error.code, 'INSTANCE_HELD');
  assert.match(error.message, /process 4711 on other-host \(incarnation 3\)/);
});

test('a name whose holder is silent is taken only after it was watched for one ttl', async () => {
  const watched: number[] = [];
  const { time, keeper } = scene((operation, values) => {
    if (operation !== 'join') return renewed();
    if (values[3] === null) return held('same');
    watched.push(time.nowMs());
    return joined();
  });
  await time.runUntil(8_000);
  assert.equal(watched.length, 1);
  assert.ok((watched[0] ?? 0) > lease.ttlMs, `watched until ${watched[0]}`);
  assert.equal(keeper.mayAct(), true);
});

test('whoever watched an arbiter that was away has watched nothing: the living holder comes first', async () => {
  // The arbiter is away from 1 s until 20 s. The first to come back must not take the name of the living.
  const claims: number[] = [];
  const { time } = scene((operation, values, nowMs) => {
    if (operation !== 'join') return renewed();
    if (values[3] !== null) claims.push(nowMs);
    return nowMs > 1_000 && nowMs < 20_000 ? 'silence' : held('same');
  });
  await time.runUntil(24_000);
  assert.deepEqual(claims, []);
  await time.runUntil(30_000);
  assert.ok((claims[0] ?? 0) > 20_000 + lease.ttlMs);
});

test('a newcomer that slept while it watched starts to watch again', async () => {
  const claims: number[] = [];
  const { time, machine } = scene((operation, values) => {
    if (operation !== 'join') return renewed();
    if (values[3] !== null) claims.push(time.nowMs());
    return held('same');
  });
  await time.runUntil(1_000);
  machine.freeze();
  await time.runUntil(20_000);
  machine.wake();
  await time.runUntil(24_000);
  assert.deepEqual(claims, []);
});

test('P1: a grant with a grace is acted upon only after the grace, whatever is renewed meanwhile', async () => {
  const { time, keeper, events } = scene((operation) =>
    operation === 'join' ? joined({ graceMs: 5_000 }) : renewed(),
  );
  await time.runUntil(5_000);
  assert.notEqual(keeper.membership, undefined);
  assert.equal(keeper.mayAct(), false);
  await time.runUntil(5_100);
  assert.equal(keeper.mayAct(), true);
  assert.deepEqual(events, ['10 joined']);
});

test('P4: a lease that runs out right after its grace is told, though no heartbeat came in between', async () => {
  const { time, events } = scene((operation) => {
    if (operation === 'join') return joined({ graceMs: 3_000 });
    return time.nowMs() < 2_000 ? renewed() : 'silence';
  });
  await time.runUntil(10_000);
  assert.match(events.at(-1) ?? '', /the lease could not be renewed in time$/);
});

test('P1: a renewal by a new primary is none for a keeper whose lease was out: it joins anew', async () => {
  let joins = 0;
  const { time, keeper, events } = scene((operation) => {
    if (operation === 'join')
      return joins++ === 0 ? joined() : joined({ token: '2199023255553', timeline: 2, graceMs: 5_000 });
    return time.nowMs() < 10_000 ? 'silence' : renewed({ timeline: 2 });
  });
  await time.runUntil(12_500);
  assert.equal(joins, 2);
  assert.equal(keeper.mayAct(), false);
  assert.equal(events.length, 3);
  await time.runUntil(18_000);
  assert.equal(keeper.mayAct(), true);
});

test('a failover within the lease interrupts nobody', async () => {
  const { time, keeper, events } = scene((operation) => {
    if (operation === 'join') return joined();
    if (time.nowMs() > 4_500 && time.nowMs() < 6_500) return 'away';
    return renewed({ timeline: time.nowMs() < 5_000 ? 1 : 2 });
  });
  await time.runUntil(30_000);
  assert.equal(keeper.mayAct(), true);
  assert.deepEqual(events, ['10 joined']);
});

test('closing says goodbye, and stops believing before it is said', async () => {
  let left = false;
  const { time, keeper, ended } = scene((operation) => {
    if (operation === 'leave') {
      left = true;
      assert.equal(keeper.mayAct(), false);
    }
    return operation === 'join' ? joined() : renewed();
  });
  await time.runUntil(2_500);
  void keeper.close();
  await time.runUntil(4_000);
  assert.equal(left, true);
  assert.equal(ended(), 'ended');
});

test('a witness declares lost whom the arbiter names', async () => {
  const lost: unknown[] = [];
  const { time } = scene((operation, values) => {
    if (operation === 'lost') lost.push(values);
    if (operation === 'join') return joined();
    return renewed({ expired: lost.length === 0 ? [{ instance: 'shop-2', token: '6' }] : [] });
  });
  await time.runUntil(3_000);
  assert.deepEqual(lost, [['shop-1', '7', 'shop-2', '6']]);
});
