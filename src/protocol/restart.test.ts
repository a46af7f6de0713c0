import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RestartDecision, RestartHistory } from './restart.ts';
import { decideRestart, defaultRestartRules, describeCrashLoop, isCrashLooping, noExits } from './restart.ts';

const exitAt = (atMs: number, healthyForMs = 0) => ({
  atMs,
  healthyForMs,
  description: 'exited with code 1',
  lastLines: ['listening', 'cannot read the database'],
});

function after(exits: readonly ReturnType<typeof exitAt>[]): RestartDecision[] {
  let history: RestartHistory = noExits;
  return exits.map((exit) => {
    const decision = decideRestart(history, exit);
    history = decision.history;
    return decision;
  });
}

test('the first restart is immediate and the later ones wait twice as long each, up to 30 s', () => {
  const decisions = after(Array.from({ length: 10 }, (_, turn) => exitAt(turn * 100_000)));
  assert.deepEqual(
    decisions.map(({ pauseMs }) => pauseMs),
    [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000],
  );
});

test('an instance that had been healthy for a while is restarted at once again', () => {
  const decisions = after([exitAt(0), exitAt(1_000), exitAt(90_000, defaultRestartRules.healthyResetMs)]);
  assert.equal(decisions[1]?.pauseMs, 500);
  assert.equal(decisions[2]?.pauseMs, 0);
});

test('being healthy for a moment does not end the streak', () => {
  const decisions = after([exitAt(0), exitAt(50_000, defaultRestartRules.healthyResetMs - 1)]);
  assert.equal(decisions[1]?.pauseMs, 500);
});

test('five exits within a minute are a crash loop, told once with the reason and the last lines', () => {
  const decisions = after([0, 5_000, 10_000, 15_000, 60_000, 61_000, 62_000].map((at) => exitAt(at)));
  assert.deepEqual(
    decisions.map(({ crashLoop }) => crashLoop !== undefined),
    [false, false, false, false, true, false, false],
  );
  const loop = decisions[4]?.crashLoop;
  assert.deepEqual(loop, {
    exits: 5,
    withinMs: 60_000,
    description: 'exited with code 1',
    lastLines: ['listening', 'cannot read the database'],
  });
  assert.equal(
    describeCrashLoop(loop),
    'the instance ended 5 times within 60 s; the last time it exited with code 1. Its last output:\n' +
      '  listening\n  cannot read the database',
  );
});

test('five exits in a little more than a minute are no crash loop', () => {
  const decisions = after([0, 5_000, 10_000, 15_000, 60_001].map((at) => exitAt(at)));
  assert.ok(decisions.every(({ crashLoop }) => crashLoop === undefined));
});

test('a crash loop that ended and came back is told again', () => {
  const loop = [0, 1, 2, 3, 4].map((at) => exitAt(at));
  const again = [100_000, 100_001, 100_002, 100_003, 100_004].map((at) => exitAt(at));
  again[0] = exitAt(100_000, 60_000);
  const decisions = after([...loop, ...again]);
  assert.ok(decisions[4]?.crashLoop);
  assert.equal(isCrashLooping(decisions[4].history), true);
  assert.equal(isCrashLooping(decisions[5]?.history ?? noExits), false);
  assert.ok(decisions[9]?.crashLoop);
});

test('a crash loop without output says that nothing was printed', () => {
  const text = describeCrashLoop({ exits: 5, withinMs: 10, description: 'was killed', lastLines: [] });
  assert.equal(
    text,
    'the instance ended 5 times within 1 s; the last time it was killed. It printed nothing',
  );
});

test('whatever the exits are, no pause is negative or beyond the limit and no loop is told twice in a row', () => {
  const exits = fc.array(fc.record({ gapMs: fc.nat(40_000), healthyForMs: fc.nat(60_000) }), {
    maxLength: 2_000,
  });
  fc.assert(
    fc.property(exits, (list) => {
      let atMs = 0;
      let toldAndNotReset = false;
      const decisions = after(
        list.map(({ gapMs, healthyForMs }) => {
          atMs += gapMs;
          return exitAt(atMs, healthyForMs);
        }),
      );
      decisions.forEach(({ pauseMs, crashLoop, history }, turn) => {
        assert.ok(pauseMs >= 0 && pauseMs <= defaultRestartRules.longestPauseMs);
        assert.ok(history.exitsAtMs.length <= defaultRestartRules.loopExits);
        if ((list[turn]?.healthyForMs ?? 0) >= defaultRestartRules.healthyResetMs) toldAndNotReset = false;
        if (crashLoop) assert.equal(toldAndNotReset, false);
        if (crashLoop) toldAndNotReset = true;
      });
    }),
    { numRuns: 50 },
  );
});
