import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Census } from './census.ts';

const rememberMs = 1_000;

test('a newcomer is known at once, and counted when coming again', () => {
  const census = new Census(rememberMs, 0);
  census.greet('ada', 10);
  assert.deepEqual([census.has('ada', 20), census.count(20)], [true, 0]);
  census.note('ada', 30);
  census.note('ada', 40);
  assert.deepEqual([census.has('ada', 50), census.count(50)], [true, 1]);
  assert.equal(census.has('eve', 50), false);
});

test('a user who came in both generations is counted once', () => {
  const census = new Census(rememberMs, 0);
  census.note('ada', 900);
  census.note('bob', 900);
  census.note('ada', 1_100);
  assert.equal(census.count(1_200), 2);
  census.greet('bob', 1_300);
  assert.equal(census.count(1_300), 2, 'a greeting does not make a stranger of an old friend');
});

test('who logs out is forgotten at once, in both generations', () => {
  const census = new Census(rememberMs, 0);
  census.note('ada', 900);
  census.note('ada', 1_100);
  census.forget('ada');
  assert.deepEqual([census.has('ada', 1_100), census.count(1_100)], [false, 0]);
});

const users = ['ada', 'bob', 'eve'];
const step = fc.record({
  what: fc.constantFrom('note', 'greet', 'has', 'count'),
  user: fc.constantFrom(...users),
  afterMs: fc.oneof(fc.nat(300), fc.nat(3_000)),
});

test('whoever was here within the time is known, and nobody who was away for twice as long', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const census = new Census(rememberMs, 0);
      const seenMs = new Map<string, number>();
      let nowMs = 0;
      for (const { what, user, afterMs } of steps) {
        nowMs += afterMs;
        if (what === 'note' || what === 'greet') {
          census[what](user, nowMs);
          seenMs.set(user, nowMs);
        } else if (what === 'count') census.count(nowMs);
        else {
          const awayMs = nowMs - (seenMs.get(user) ?? Number.NEGATIVE_INFINITY);
          if (awayMs < rememberMs) assert.equal(census.has(user, nowMs), true, `${user} at ${nowMs}`);
          if (awayMs >= 2 * rememberMs) assert.equal(census.has(user, nowMs), false, `${user} at ${nowMs}`);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test('P10: a flood of invented users is not told apart for ever', () => {
  const census = new Census(rememberMs, 0);
  for (let user = 0; user < Census.most + 10; user++) census.note(`user ${user}`, 0);
  assert.equal(census.count(0), Census.most);
  census.note('ada', rememberMs);
  assert.equal(census.has('ada', rememberMs), true, 'the next generation has room again');
});
