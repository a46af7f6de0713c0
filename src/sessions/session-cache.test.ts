import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CachedSession, openSessionCache } from './session-cache.ts';

const copy = (version: number): CachedSession => ({
  tag: { version, deferred: 0 },
  confirmed: [],
  values: new Map(),
  idleMs: 1_000,
  idleDeadlineMs: 1_000,
  persistedDeadlineMs: 1_000,
  absoluteDeadlineMs: 1_000,
});

test('an answer that a revocation overtook is not kept', () => {
  const cache = openSessionCache(10);
  const asked = cache.moment();
  cache.drop('a'); // the notification comes first, the older answer after it
  cache.put('a', copy(1), asked);
  assert.equal(cache.get('a'), undefined);
  cache.put('a', copy(2), cache.moment());
  assert.equal(cache.get('a')?.tag.version, 2);
});

test('nothing from before a reconnection is kept, not even what is still under way', () => {
  const cache = openSessionCache(10);
  cache.put('a', copy(1), cache.moment());
  const asked = cache.moment();
  cache.clear();
  cache.put('b', copy(1), asked);
  assert.equal(cache.size, 0);
});

test('the least recently used copy goes first', () => {
  const cache = openSessionCache(2);
  cache.put('a', copy(1), cache.moment());
  cache.put('b', copy(1), cache.moment());
  cache.get('a');
  cache.put('c', copy(1), cache.moment());
  assert.deepEqual(
    ['a', 'b', 'c'].map((id) => cache.get(id) !== undefined),
    [true, false, true],
  );
});

test('without room nothing is kept', () => {
  const cache = openSessionCache(0);
  cache.put('a', copy(1), cache.moment());
  assert.equal(cache.size, 0);
});

test('an older answer that comes late does not replace a newer copy', () => {
  const cache = openSessionCache(10);
  const asked = cache.moment();
  cache.put('a', copy(2), asked);
  cache.put('a', copy(1), asked);
  assert.equal(cache.get('a')?.tag.version, 2);
});

test('confirmed cookies stay confirmed while the version does, and only the last few are remembered', () => {
  const cache = openSessionCache(10);
  for (let number = 0; number < 20; number++) {
    cache.put('a', { ...copy(1), confirmed: [`nonce${number}`] }, cache.moment());
  }
  const confirmed = cache.get('a')?.confirmed ?? [];
  assert.deepEqual([confirmed.at(-1), confirmed.length], ['nonce19', 8]);
  cache.put('a', copy(2), cache.moment());
  assert.deepEqual(cache.get('a')?.confirmed, []);
});
