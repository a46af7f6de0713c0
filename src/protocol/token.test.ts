import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatToken, tokenParts } from './token.ts';

const tokenOf = (timeline: number, sequence: number): bigint => (BigInt(timeline) << 40n) | BigInt(sequence);
const timelines = fc.integer({ min: 1, max: 2 ** 22 });
const sequences = fc.integer({ min: 1, max: 2 ** 40 - 1 });

test('a token is taken apart into the timeline and the sequence that it was made of', () => {
  fc.assert(
    fc.property(timelines, sequences, (timeline, sequence) => {
      assert.deepEqual(tokenParts(tokenOf(timeline, sequence)), { timeline, sequence });
    }),
  );
});

test('P3: a token of a later timeline is higher, however far the sequence fell back', () => {
  fc.assert(
    fc.property(timelines, sequences, sequences, (timeline, before, after) => {
      assert.ok(tokenOf(timeline + 1, after) > tokenOf(timeline, before));
    }),
  );
});

test('people read a token as timeline and number', () => {
  assert.equal(formatToken(tokenOf(1, 42)), '1.42');
  assert.equal(formatToken((1n << 40n) - 1n), `0.${2 ** 40 - 1}`);
});
