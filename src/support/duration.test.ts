import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from './duration.ts';

test('a duration is a number with its unit', () => {
  assert.equal(parseDuration('500ms'), 500);
  assert.equal(parseDuration('1.5s'), 1_500);
  assert.equal(parseDuration(' 10 m '), 600_000);
  assert.equal(parseDuration('2h'), 7_200_000);
  assert.equal(parseDuration('7d'), 604_800_000);
});

test('P10: what has no unit, a sign or anything else is no duration', () => {
  for (const text of ['', '5', 's', '-5s', '5 seconds', '1e3s', '5s5s', '.5s', '5.s', 'NaNs']) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

test('a duration that is written is read back as it was', () => {
  fc.assert(fc.property(fc.nat(), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)));
  assert.equal(formatDuration(90_000), '90s');
  assert.equal(formatDuration(120_000), '2m');
  assert.equal(formatDuration(0), '0ms');
});
