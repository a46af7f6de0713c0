import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCodes, HoldfastError } from './errors.ts';

test('an error carries its code, its remedy and its cause', () => {
  const cause = new Error('the reason');
  const error = new HoldfastError('ARBITER_REFUSED', 'no', { remedy: 'ask', cause });
  assert.deepEqual(
    [error.code, error.remedy, error.cause, error.name],
    ['ARBITER_REFUSED', 'ask', cause, 'HoldfastError'],
  );
  assert.equal('cause' in new HoldfastError('USAGE', 'no'), false);
});

test('a wrong call exits with 2, everything else with 1', () => {
  assert.equal(new HoldfastError('USAGE', '').exitCode, 2);
  assert.equal(new HoldfastError('INSTANCE_HELD', '').exitCode, 1);
});

test('every code is explained in a sentence', () => {
  for (const [code, explanation] of Object.entries(errorCodes)) assert.match(explanation, /^.{15,}\.$/, code);
});
