import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withoutUndefined } from './without-undefined.ts';

test('a key that holds undefined is left out; null, false, 0 and the empty text are values', () => {
  const copy = withoutUndefined({ a: undefined, b: null, c: false, d: 0, e: '' });
  assert.deepEqual(Object.keys(copy), ['b', 'c', 'd', 'e']);
  assert.deepEqual(copy, { b: null, c: false, d: 0, e: '' });
});

test('the value that was given is not changed', () => {
  const given = { a: undefined, b: 1 };
  withoutUndefined(given);
  assert.deepEqual(Object.keys(given), ['a', 'b']);
});
