import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type MissedPolicy, planOccurrences } from './occurrence-plan.ts';

const latest: MissedPolicy = { kind: 'latest' };
const none: MissedPolicy = { kind: 'none', afterMs: 60_000 };
const all: MissedPolicy = { kind: 'all', count: 3, ageMs: 10_000 };
const plan = (dues: number[], missed: MissedPolicy, nowMs: number, complete = true) =>
  planOccurrences(dues, { complete, nowMs, missed });

test('nothing is due: there is nothing to plan', () => {
  assert.equal(plan([], latest, 100), undefined);
});

test('the usual case: one moment is due, and it is run', () => {
  for (const missed of [latest, none, all])
    assert.deepEqual(plan([1_000], missed, 1_003), {
      toMs: 1_000,
      missed: null,
      dueMs: [1_000],
      inLine: false,
    });
});

test('after an outage `latest` runs the last one and records the others as missed', () => {
  const planned = plan([1_000, 2_000, 3_000], latest, 3_500);
  assert.deepEqual(planned?.dueMs, [3_000]);
  assert.equal(planned?.toMs, 3_000);
  const { firstMs, lastMs, count } = planned?.missed ?? {};
  assert.deepEqual([firstMs, lastMs, count], [1_000, 2_000, 2]);
});

test('`latest` runs even what was due long ago, `none` does not', () => {
  assert.deepEqual(plan([1_000], latest, 9e9)?.dueMs, [1_000]);
  const planned = plan([1_000], none, 9e9);
  assert.deepEqual(planned?.dueMs, []);
  assert.equal(planned?.missed?.count, 1);
});

test('`none` still runs what is late by less than its bound', () => {
  assert.deepEqual(plan([1_000], none, 61_000)?.dueMs, [1_000]);
  assert.deepEqual(plan([1_000], none, 61_001)?.dueMs, []);
});

test('`all` catches up in order, within its bounds of count and age', () => {
  const planned = plan([1_000, 2_000, 3_000, 4_000, 5_000], all, 5_100);
  assert.deepEqual(planned?.dueMs, [3_000, 4_000, 5_000]);
  assert.equal(planned?.inLine, true);
  assert.equal(planned?.missed?.count, 2);
  assert.deepEqual(plan([1_000, 20_000], all, 21_000)?.dueMs, [20_000]);
  assert.deepEqual(plan([1_000], all, 99_000)?.dueMs, []);
});

test('a part of many moments is settled as missed, because a later part has the latest', () => {
  for (const missed of [latest, none, all]) {
    const planned = plan([1_000, 2_000], missed, 2_001, false);
    assert.deepEqual(planned?.dueMs, []);
    assert.equal(planned?.missed?.count, 2);
    assert.equal(planned?.toMs, 2_000);
  }
});

test('P2: whatever the policy, every moment is either run or missed, and none is both', () => {
  const policies = fc.oneof(
    fc.constant(latest),
    fc.record({ kind: fc.constant('none' as const), afterMs: fc.nat(20_000) }),
    fc.record({
      kind: fc.constant('all' as const),
      count: fc.integer({ min: 1, max: 9 }),
      ageMs: fc.nat(20_000),
    }),
  );
  const moments = fc.uniqueArray(fc.nat(30_000), { minLength: 1 }).map((list) => list.sort((a, b) => a - b));
  fc.assert(
    fc.property(moments, policies, fc.boolean(), fc.nat(9_000), (dues, missed, complete, lateMs) => {
      const planned = plan(dues, missed, (dues.at(-1) ?? 0) + lateMs, complete);
      const missedCount = planned?.missed?.count ?? 0;
      assert.equal(missedCount + (planned?.dueMs.length ?? 0), dues.length);
      assert.deepEqual(planned?.dueMs, dues.slice(missedCount));
      assert.equal(planned?.toMs, dues.at(-1));
      if (planned?.missed) assert.equal(planned.missed.lastMs, dues[missedCount - 1]);
    }),
  );
});
