import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isIdempotent, mayReplay } from './replay.ts';

test('P7: a request that was never sent is replayed whatever it is', () => {
  for (const repeatable of [true, false]) {
    assert.equal(mayReplay({ phase: 'notConnected', repeatable, bodyHeld: false }), true);
  }
});

test('P7: a request that was sent is replayed only if it may be repeated and its body is held', () => {
  for (const phase of ['pooledClosed', 'sent'] as const) {
    assert.equal(mayReplay({ phase, repeatable: true, bodyHeld: true }), true);
    assert.equal(mayReplay({ phase, repeatable: true, bodyHeld: false }), false);
    assert.equal(mayReplay({ phase, repeatable: false, bodyHeld: true }), false);
  }
});

test('P7: a request whose response has begun is never replayed', () => {
  for (const phase of ['responding', 'tunnel'] as const) {
    assert.equal(mayReplay({ phase, repeatable: true, bodyHeld: true }), false);
  }
});

test('methods are told apart by case, and an unknown one is not repeatable', () => {
  assert.deepEqual(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'].filter(isIdempotent).length, 6);
  assert.deepEqual(['get', 'POST', 'PATCH', 'CONNECT', 'PROPPATCH', ''].filter(isIdempotent), []);
});
