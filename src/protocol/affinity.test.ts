import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rendezvous, rendezvousOrder, stickyValue } from './affinity.ts';

const key = Buffer.alloc(32, 7).toString('base64url');
const otherKey = Buffer.alloc(32, 8).toString('base64url');

test('every balancer computes the same cookie value for an instance, and a different one per instance and key', () => {
  assert.equal(stickyValue(key, 'shop-1'), stickyValue(key, 'shop-1'));
  assert.notEqual(stickyValue(key, 'shop-1'), stickyValue(key, 'shop-2'));
  assert.notEqual(stickyValue(key, 'shop-1'), stickyValue(otherKey, 'shop-1'));
});

test('a cookie value is safe in a cookie and does not contain the name', () => {
  assert.match(stickyValue(key, 'shop-1'), /^[A-Za-z0-9_-]{22}$/);
});

test('the order of preference does not depend on the order in which candidates are listed', () => {
  assert.deepEqual(
    rendezvousOrder('occurrence', ['a', 'b', 'c']),
    rendezvousOrder('occurrence', ['c', 'a', 'b']),
  );
  assert.equal(rendezvous('anything', []), undefined);
});

test('when a candidate goes, only the keys that preferred it move', () => {
  const all = ['shop-1', 'shop-2', 'shop-3'];
  const left = ['shop-1', 'shop-3'];
  const share = new Map<string, number>();
  for (let i = 0; i < 900; i++) {
    const before = rendezvous(`key-${i}`, all) as string;
    share.set(before, (share.get(before) ?? 0) + 1);
    if (before !== 'shop-2') assert.equal(rendezvous(`key-${i}`, left), before);
  }
  for (const name of all)
    assert.ok((share.get(name) ?? 0) > 200, `${name} prefers ${share.get(name)} of 900`);
});
