import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { actingForMs, clockRateTolerance, elapsedMs, type Moment, remainingMs, stopWorkMs } from './lease.ts';

const start: Moment = { monotonicMs: 1_000, wallMs: 50_000 };
const terms = { ttlMs: 5_000, stopWorkMs: 1_000 };

test('time has passed as far as either clock says', () => {
  assert.equal(elapsedMs(start, { monotonicMs: 3_000, wallMs: 52_000 }), 2_000);
  assert.equal(elapsedMs(start, { monotonicMs: 1_000, wallMs: 60_000 }), 10_000, 'suspended');
  assert.equal(elapsedMs(start, { monotonicMs: 3_000, wallMs: 10_000 }), 2_000, 'wall clock set back');
});

test('P4: acting and stopping fit into the ttl, whatever the ttl is', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000_000 }), (ttlMs) => {
      const acting = actingForMs({ ttlMs, stopWorkMs: stopWorkMs(ttlMs) });
      assert.ok(acting >= 0);
      assert.ok(acting + stopWorkMs(ttlMs) <= ttlMs * (1 - clockRateTolerance) + 1e-6);
    }),
  );
});

test('P4: an agent never believes longer than the arbiter grants, for any delay and any clocks within the tolerance', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 10_000 }),
      fc.integer({ min: 0, max: 20_000 }),
      fc.double({ min: 1 - clockRateTolerance / 2, max: 1 + clockRateTolerance / 2, noNaN: true }),
      fc.integer({ min: -1_000_000, max: 1_000_000 }),
      (requestTookMs, passedMs, rate, wallSetByMs) => {
        const now = {
          monotonicMs: start.monotonicMs + passedMs * rate,
          wallMs: start.wallMs + passedMs * rate + wallSetByMs,
        };
        const stillGranted = requestTookMs + terms.ttlMs - passedMs > 0;
        if (remainingMs(start, now, terms) > 0) assert.ok(stillGranted);
      },
    ),
  );
});

test('what is kept back for stopping the work is a fifth of the ttl, at most a second', () => {
  assert.equal(stopWorkMs(1_000), 200);
  assert.equal(stopWorkMs(5_000), 1_000);
  assert.equal(stopWorkMs(60_000), 1_000);
});

test('a ttl that leaves no time to act gives no right', () => {
  assert.equal(actingForMs({ ttlMs: 500, stopWorkMs: 1_000 }), 0);
  assert.ok(remainingMs(start, start, { ttlMs: 500, stopWorkMs: 1_000 }) <= 0);
});
