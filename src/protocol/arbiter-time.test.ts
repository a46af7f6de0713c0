import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ArbiterTime } from './arbiter-time.ts';

test('nothing is known before the first answer, nor after what was known proved wrong', () => {
  const time = new ArbiterTime();
  assert.equal(time.nowMs(5), undefined);
  time.observe(1_000, 5);
  assert.equal(time.nowMs(7), 1_002);
  time.forget();
  assert.equal(time.nowMs(7), undefined);
});

test('the answer that travelled fastest counts', () => {
  const time = new ArbiterTime();
  time.observe(1_000, 50); // 45 ms on its way
  time.observe(1_100, 105); // no time at all
  time.observe(1_200, 260);
  assert.equal(time.nowMs(300), 1_295);
});

test('it is never ahead of a clock that runs evenly, and late by the shortest way at most', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ pauseMs: fc.nat(2_000), wayMs: fc.nat(90) }), { minLength: 1 }),
      (answers) => {
        const time = new ArbiterTime();
        const offsetMs = 1_700_000;
        let nowMs = 0;
        for (const { pauseMs, wayMs } of answers) {
          const readMs = nowMs + pauseMs;
          nowMs = readMs + wayMs;
          time.observe(readMs + offsetMs, nowMs);
        }
        const shortestMs = Math.min(...answers.slice(-8).map(({ wayMs }) => wayMs));
        assert.equal(time.nowMs(nowMs + 10), nowMs + 10 + offsetMs - shortestMs);
      },
    ),
  );
});
