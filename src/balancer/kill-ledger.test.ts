import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { InstanceState } from '../protocol/instance-state.ts';
import type { InstanceTraffic } from './engine.ts';
import { createKillLedger, describeLoss, type Loss } from './kill-ledger.ts';

const calm: InstanceTraffic = {
  instance: 'shop-1',
  healthy: true,
  inFlight: 0,
  connections: 0,
  idleMs: 0,
  users: 0,
  requests: 100,
  responses: [0, 100, 0, 0, 0],
  replayed: 10,
  failed: 5,
  unknown: 1,
  ejections: 0,
  latency: null,
  warmth: 1,
};

interface Moment extends Partial<InstanceTraffic> {
  readonly state?: InstanceState;
  /** Not in the routing table. */
  readonly gone?: boolean;
}

/** A ledger that is shown shop-1 at moments; the wall clock is a million milliseconds ahead. */
function scene() {
  const ledger = createKillLedger();
  const at = (nowMs: number, { state = 'up', gone = false, ...traffic }: Moment = {}): readonly Loss[] =>
    ledger.observe(
      nowMs,
      nowMs + 1_000_000,
      { instances: gone ? [] : [{ ...calm, ...traffic }] },
      new Map(gone ? [] : [[traffic.instance ?? 'shop-1', state]]),
    );
  return { at, recent: () => ledger.recent() };
}

const loss = (facts: Partial<Loss>): Loss => ({
  instance: 'shop-1',
  atWallMs: 1_001_000,
  reason: 'unhealthy',
  replayed: 0,
  failed: 0,
  unknown: 0,
  endedWallMs: null,
  ...facts,
});

test('what was lost is counted from the last look at which the instance served until it serves again', () => {
  const { at, recent } = scene();
  assert.deepEqual(at(0), []);
  assert.deepEqual(at(1_000, { healthy: false, replayed: 13, failed: 6, unknown: 2 }), []);
  assert.deepEqual(at(1_500, { healthy: false, replayed: 14, failed: 6, unknown: 2 }), []);
  const expected = loss({ replayed: 5, failed: 1, unknown: 1, endedWallMs: 1_003_000 });
  assert.deepEqual(at(3_000, { replayed: 15, failed: 6, unknown: 2 }), [expected]);
  assert.deepEqual(recent(), [expected]);
  assert.deepEqual(at(4_000, { replayed: 15, failed: 6, unknown: 2 }), [], 'told once');
});

test('an instance that stays away is settled five seconds after the last change, and its end is filled in later', () => {
  const { at, recent } = scene();
  at(0);
  at(1_000, { state: 'lost', replayed: 12 });
  assert.deepEqual(at(4_000, { state: 'lost', replayed: 13 }), []);
  assert.deepEqual(at(8_999, { state: 'lost', replayed: 13 }), []);
  assert.deepEqual(at(9_000, { state: 'lost', replayed: 13 }), [loss({ reason: 'lost', replayed: 3 })]);
  assert.deepEqual(at(20_000, { replayed: 13 }), []);
  assert.deepEqual(recent(), [loss({ reason: 'lost', replayed: 3, endedWallMs: 1_020_000 })]);
});

test('what comes to light after that is a further loss, for the same reason', () => {
  const { at, recent } = scene();
  at(0);
  at(1_000, { healthy: false, replayed: 12 });
  assert.equal(at(6_000, { healthy: false, replayed: 12 }).length, 1);
  assert.deepEqual(at(61_000, { healthy: false, replayed: 12, failed: 6, unknown: 2 }), []);
  const late = loss({ atWallMs: 1_061_000, failed: 1, unknown: 1 });
  assert.deepEqual(at(66_000, { healthy: false, replayed: 12, failed: 6, unknown: 2 }), [late]);
  assert.deepEqual(recent(), [loss({ replayed: 2 }), late]);
});

const reasons: readonly [string, readonly Moment[], Loss['reason']][] = [
  ['that failed its checks', [{ healthy: false }], 'unhealthy'],
  ['whose agent calls it down', [{ state: 'down' }], 'down'],
  ['whose agent starts it again', [{ state: 'starting' }], 'starting'],
  ['that the arbiter declared lost', [{ state: 'lost' }], 'lost'],
  ['that left the routing table', [{ gone: true }], 'vanished'],
  ['that failed its checks before its agent said more', [{ healthy: false }, { state: 'down' }], 'down'],
  ['that was called down before it was declared lost', [{ state: 'down' }, { state: 'lost' }], 'lost'],
  ['that was declared lost before it was called anything else', [{ state: 'lost' }, { gone: true }], 'lost'],
  ['that failed its checks before it left the table', [{ healthy: false }, { gone: true }], 'vanished'],
];
for (const [name, moments, reason] of reasons) {
  test(`the strongest reason that was seen is given for an instance ${name}`, () => {
    const { at } = scene();
    at(0);
    for (const [index, moment] of moments.entries()) at(1_000 + index, moment);
    assert.deepEqual(at(9_000, moments.at(-1)), [loss({ reason })]);
  });
}

test('an instance that leaves the table has lost what was seen until then, and is back when it serves again', () => {
  const { at } = scene();
  at(0);
  at(1_000, { healthy: false, replayed: 17, failed: 6, unknown: 2 });
  at(1_020, { gone: true });
  const again = { requests: 0, replayed: 0, failed: 0, unknown: 0 };
  assert.deepEqual(at(2_000, { ...again, state: 'starting' }), []);
  assert.deepEqual(at(3_000, again), [
    loss({ reason: 'starting', replayed: 7, failed: 1, unknown: 1, endedWallMs: 1_003_000 }),
  ]);
});

test('an instance that was out and back between two looks is known by its ejections', () => {
  const { at } = scene();
  at(0);
  assert.deepEqual(at(1_000, { ejections: 1, replayed: 30 }), [
    loss({ replayed: 20, endedWallMs: 1_001_000 }),
  ]);
});

test('counters that fall are not taken for losses', () => {
  const { at } = scene();
  at(0);
  const moved = { requests: 3, replayed: 2, failed: 1, unknown: 0 };
  assert.deepEqual(at(1_000, moved), []);
  at(2_000, { ...moved, healthy: false, replayed: 4 });
  assert.deepEqual(at(3_000, { ...moved, replayed: 4 }), [
    loss({ atWallMs: 1_002_000, replayed: 2, endedWallMs: 1_003_000 }),
  ]);
});

test('what fails while the instance serves is no loss of the ledger', () => {
  const { at, recent } = scene();
  at(0);
  assert.deepEqual(at(1_000, { failed: 6, replayed: 20 }), []);
  assert.deepEqual(at(60_000, { failed: 7, replayed: 21 }), []);
  assert.deepEqual(recent(), []);
});

test('an instance that never served has no incident, whatever fails there', () => {
  const { at, recent } = scene();
  at(0, { healthy: false });
  at(1_000, { healthy: false, failed: 9 });
  at(9_000, { state: 'down', failed: 12 });
  at(20_000, { failed: 12 });
  assert.deepEqual(recent(), []);
});

test('an instance that drained first is mentioned only if that cost something', () => {
  const { at, recent } = scene();
  at(0);
  at(1_000, { state: 'draining' });
  at(2_000, { gone: true });
  at(9_000);
  assert.deepEqual(recent(), []);
  at(10_000, { state: 'draining' });
  at(11_000, { state: 'maintenance', failed: 7 });
  assert.deepEqual(at(16_000, { state: 'maintenance', failed: 7 }), [
    loss({ reason: 'maintenance', atWallMs: 1_011_000, failed: 2 }),
  ]);
});

test('a draining instance that dies is a loss as any other', () => {
  const { at } = scene();
  at(0, { state: 'draining' });
  at(1_000, { state: 'draining', healthy: false, failed: 6, unknown: 2 });
  assert.deepEqual(at(6_000, { gone: true }), [loss({ reason: 'vanished', failed: 1, unknown: 1 })]);
});

test('the last twenty are kept', () => {
  const { at, recent } = scene();
  for (let i = 0; i < 25; i++) {
    at(i * 1_000);
    at(i * 1_000 + 500, { healthy: false });
  }
  at(25_000);
  assert.equal(recent().length, 20);
  assert.equal(recent()[0]?.atWallMs, 1_005_500);
  assert.equal(recent().at(-1)?.endedWallMs, 1_025_000);
});

test('each instance has its own entry', () => {
  const ledger = createKillLedger();
  const both = (nowMs: number, one: Moment, other: Moment) =>
    ledger.observe(
      nowMs,
      nowMs,
      {
        instances: [
          { ...calm, ...one },
          { ...calm, ...other, instance: 'shop-2' },
        ],
      },
      new Map([
        ['shop-1', 'up'],
        ['shop-2', 'up'],
      ]),
    );
  both(0, {}, {});
  both(1_000, { healthy: false, replayed: 11 }, { healthy: false, failed: 6 });
  assert.deepEqual(
    both(2_000, { replayed: 11 }, { failed: 6 }).map(({ instance, replayed, failed }) => [
      instance,
      replayed,
      failed,
    ]),
    [
      ['shop-1', 1, 0],
      ['shop-2', 0, 1],
    ],
  );
});

test('whatever happens, the entries add up to what the counters grew by while the instance did not serve', () => {
  const step = fc.record({
    afterMs: fc.integer({ min: 1, max: 8_000 }),
    healthy: fc.boolean(),
    state: fc.constantFrom<InstanceState>('up', 'draining', 'down', 'lost'),
    replayed: fc.nat(3),
    failed: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 15 }), (steps) => {
      const { at } = scene();
      at(0);
      const counters = { replayed: calm.replayed, failed: calm.failed };
      const expected = { replayed: 0, failed: 0 };
      const told = { replayed: 0, failed: 0 };
      const tell = (losses: readonly Loss[]) => {
        for (const one of losses) {
          told.replayed += one.replayed;
          told.failed += one.failed;
        }
      };
      let nowMs = 0;
      let served = true;
      for (const { afterMs, healthy, state, replayed, failed } of steps) {
        nowMs += afterMs;
        counters.replayed += replayed;
        counters.failed += failed;
        const serves = healthy && (state === 'up' || state === 'draining');
        if (!served || !serves) {
          expected.replayed += replayed;
          expected.failed += failed;
        }
        served = serves;
        tell(at(nowMs, { ...counters, healthy, state }));
      }
      tell(at(nowMs + 1, counters));
      assert.deepEqual(told, expected);
    }),
  );
});

const sentences: readonly [Partial<Loss>, string][] = [
  [{ reason: 'lost' }, 'shop-1 was lost: no request was lost or replayed'],
  [{ reason: 'vanished', replayed: 1 }, 'shop-1 is gone: 1 request replayed, 0 failed'],
  [
    { replayed: 3, failed: 2, unknown: 1 },
    'shop-1 failed its checks: 3 requests replayed, 2 failed, 1 of them of unknown fate',
  ],
  [
    { reason: 'down', failed: 1, endedWallMs: 1_005_200 },
    'shop-1 went down: 0 requests replayed, 1 failed; it served again after 4.2 s',
  ],
];
for (const [facts, sentence] of sentences) {
  test(`a loss in words: ${sentence}`, () => assert.equal(describeLoss(loss(facts)), sentence));
}
