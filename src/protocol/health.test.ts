import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assumedHealthy, type HealthState, isInDoubt, observeHealth, unknownHealth } from './health.ts';

const thresholds = { unhealthyAfter: 3, healthyAfter: 2 };
const after = (start: HealthState, results: readonly boolean[]) =>
  results.reduce((state, ok) => observeHealth(state, ok, thresholds), start);

test('a verdict changes only after enough contradicting results in a row', () => {
  assert.equal(after(assumedHealthy, [false, false]).verdict, 'healthy');
  assert.equal(after(assumedHealthy, [false, false, true, false, false]).verdict, 'healthy');
  assert.equal(after(assumedHealthy, [false, false, false]).verdict, 'unhealthy');
  assert.equal(after(assumedHealthy, [false, false, false, true]).verdict, 'unhealthy');
  assert.equal(after(assumedHealthy, [false, false, false, true, true]).verdict, 'healthy');
});

test('nothing is known until there are enough results', () => {
  assert.equal(after(unknownHealth, [true]).verdict, 'unknown');
  assert.equal(after(unknownHealth, [true, true]).verdict, 'healthy');
  assert.equal(after(unknownHealth, [false, false, false]).verdict, 'unhealthy');
});

test('a verdict is in doubt between the first contradicting result and the change', () => {
  assert.equal(isInDoubt(assumedHealthy), false);
  assert.equal(isInDoubt(after(assumedHealthy, [false])), true);
  assert.equal(isInDoubt(after(assumedHealthy, [false, true])), false);
  assert.equal(isInDoubt(after(assumedHealthy, [false, false, false])), false);
});

test('the verdict agrees with the latest run of results that was long enough', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean()), (results) => {
      let expected = 'unknown';
      for (let end = 1; end <= results.length; end++) {
        const seen = results.slice(0, end);
        if (seen.length >= 2 && seen.slice(-2).every((ok) => ok)) expected = 'healthy';
        if (seen.length >= 3 && seen.slice(-3).every((ok) => !ok)) expected = 'unhealthy';
      }
      assert.equal(after(unknownHealth, results).verdict, expected);
    }),
  );
});
