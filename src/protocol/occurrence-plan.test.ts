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
  for (const missed of [latest, none]) {
    const planned = plan([1_000, 2_000], missed, 2_001, false);
    assert.deepEqual(planned?.dueMs, []);
    assert.equal(planned?.missed?.count, 2);
    assert.equal(planned?.toMs, 2_000);
  }
});

test('of a part, `all` settles only what is missed in any case: the last ones may be among the latest of the whole', () => {
  const planned = plan([1_000, 2_000, 3_000, 4_000, 5_000], all, 5_100, false);
  assert.equal(planned?.missed?.count, 2);
  assert.equal(planned?.toMs, 2_000);
  assert.deepEqual(planned?.dueMs, []);
});

test('a long row is caught up with in portions, of which none is a single one', () => {
  const many: MissedPolicy = { kind: 'all', count: 1_000, ageMs: 1e9 };
  const dues = Array.from({ length: 201 }, (_, index) => index + 1);
  const first = plan(dues, many, 300);
  assert.equal(first?.dueMs.length, 100);
  assert.equal(first?.toMs, 100);
  const second = plan(dues.slice(100), many, 300);
  assert.equal(second?.dueMs.length, 101);
  assert.equal(second?.inLine, true);
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
      const settled = missedCount + (planned?.dueMs.length ?? 0);
      assert.ok(settled > 0, 'it always goes on');
      assert.deepEqual(planned?.dueMs, dues.slice(missedCount, settled));
      assert.equal(planned?.toMs, dues[settled - 1]);
      if (complete) assert.equal(settled, dues.length);
      if (planned?.missed) assert.equal(planned.missed.lastMs, dues[missedCount - 1]);
    }),
  );
});
