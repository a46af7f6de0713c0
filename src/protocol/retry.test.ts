import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryPauseMs } from './retry.ts';

test('the pause doubles up to its bound, and after the last attempt there is none', () => {
  const rules = { times: 4, backoffMs: 1_000, maxBackoffMs: 5_000 };
  const pauses = [1, 2, 3, 4, 5].map((attempt) => retryPauseMs(attempt, rules));
  assert.deepEqual(pauses, [1_000, 2_000, 4_000, 5_000, null]);
});

test('without further attempts the first failure is the last', () => {
  assert.equal(retryPauseMs(1, { times: 0, backoffMs: 1, maxBackoffMs: 1 }), null);
});

test('many attempts do not overflow the pause', () => {
  assert.equal(retryPauseMs(1_000, { times: 1_000, backoffMs: 1, maxBackoffMs: 99 }), 99);
});
