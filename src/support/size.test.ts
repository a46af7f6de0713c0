import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatSize, parseSize } from './size.ts';

test('a size is a number with its unit, each 1024 of the one before', () => {
  assert.equal(parseSize('512B'), 512);
  assert.equal(parseSize('16KB'), 16_384);
  assert.equal(parseSize(' 1.5 MB '), 1_572_864);
  assert.equal(parseSize('1GB'), 1_073_741_824);
  assert.equal(parseSize('2TB'), 2_199_023_255_552);
});

test('P10: what has no unit, a sign, another spelling or anything else is no size', () => {
  for (const text of [
    '',
    '5',
    'MB',
    '-5MB',
    '1 megabyte',
    '1e3KB',
    '5KB5KB',
    '.5MB',
    '5.MB',
    '16kb',
    '16K',
  ]) {
    assert.equal(parseSize(text), undefined, text);
  }
});

test('a size that is written is read back as it was', () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(formatSize(bytes)), bytes)));
  assert.equal(formatSize(65_536), '64KB');
  assert.equal(formatSize(1_500), '1500B');
  assert.equal(formatSize(0), '0B');
});
