import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DueQueue } from './due-queue.ts';

test('what is earlier comes out first, and of equals what came in first', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (moments) => {
      const queue = new DueQueue<number>();
      for (const [index, atMs] of moments.entries()) queue.push(atMs, index);
      const expected = moments
        .map((atMs, index) => ({ atMs, index }))
        .sort((a, b) => a.atMs - b.atMs || a.index - b.index);
      for (const { atMs, index } of expected) {
        assert.equal(queue.nextAtMs(), atMs);
        assert.equal(queue.pop()?.item, index);
      }
      assert.equal(queue.pop(), undefined);
    }),
  );
});

test('nothing comes out before its moment', () => {
  const queue = new DueQueue<string>();
  queue.push(10, 'later');
  assert.equal(queue.pop(9), undefined);
  assert.equal(queue.pop(10)?.item, 'later');
  assert.equal(queue.nextAtMs(), undefined);
});
