import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../database/clock.ts';
import type { CheckResult, ExitReason, OutputLine, RunningInstance } from '../platform/index.ts';
import { defaultRestartRules } from '../protocol/restart.ts';
import type { Log } from '../support/log.ts';
import { InstanceKeeper } from './instance-keeper.ts';

/** An instance whose health and death the test decides. */
function bench(options: { restartAfterMs?: number; mayRestart?: boolean } = {}) {
  const good: CheckResult = { ok: true, latencyMs: 1 };
  const state = { health: good as CheckResult, lives: 0, killed: 0, stoodStillMs: 0, said: [] as string[] };
  let end: (reason: ExitReason) => void = () => undefined;
  let changed = Promise.withResolvers<void>();
  const log: Log = {
    debug: () => undefined,
    info: (_fields, message) => void state.said.push(message),
    warn: (_fields, message) => void state.said.push(message),
    error: (_fields, message) => void state.said.push(message),
    child: () => log,
  };
  let print: (line: OutputLine) => void = () => undefined;
  const keeper = new InstanceKeeper({
    instance: 'shop-1',
    start: async (onOutput): Promise<RunningInstance> => {
      print = onOutput;
      const { promise: exited, resolve } = Promise.withResolvers<ExitReason>();
      end = resolve;
      const kill = () => {
        state.killed++;
        resolve({ code: null, signal: 'SIGKILL', description: 'was killed by SIGKILL' });
      };
      return {
        pid: 100 + ++state.lives,
        address: { host: '127.0.0.1', port: 3000 },
        exited,
        kill,
        stop: async () => {
          resolve({ code: 0, signal: null, description: 'exited with code 0' });
          return exited;
        },
      };
    },
    check: async () => state.health,
    health: {
      everyMs: 5,
      timeoutMs: 20,
      unhealthyAfter: 2,
      healthyAfter: 2,
      startWithinMs: 10_000,
      restartAfterMs: options.restartAfterMs ?? Number.POSITIVE_INFINITY,
    },
    restart: { ...defaultRestartRules, firstPauseMs: 1, longestPauseMs: 2 },
    killAfterMs: 100,
    mayRestart: options.mayRestart ?? true,
    clock: { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + state.stoodStillMs },
    log,
    onChange: () => {
      changed.resolve();
      changed = Promise.withResolvers();
    },
  });
  return {
    keeper,
    state,
    crash: () => end({ code: 1, signal: null, description: 'exited with code 1' }),
    print: (line: string) => print({ stream: 'stderr', line }),
    async reaches(what: () => boolean): Promise<void> {
      while (!what()) await Promise.race([changed.promise, systemClock.sleep(5)]);
    },
  };
}

test('the first good answer makes a new instance healthy', async () => {
  const { keeper, reaches } = bench();
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  assert.deepEqual(keeper.report(), {
    running: true,
    health: 'healthy',
    reason: null,
    pid: 101,
    address: { host: '127.0.0.1', port: 3000 },
  });
  await keeper.stop();
  await running;
});

test('an instance that crashed is started again at once', async () => {
  const { keeper, reaches, crash, state } = bench();
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  crash();
  await reaches(() => keeper.report().health === 'healthy' && state.lives === 2);
  assert.ok(state.said.some((line) => /shop-1 exited with code 1; starting it again at once/.test(line)));
  await keeper.stop();
  await running;
});

test('a crash loop is told once, with the last lines of output', async () => {
  const { keeper, reaches, crash, print, state } = bench();
  state.health = { ok: false, reason: 'no connection' };
  const running = keeper.run();
  for (let life = 1; life <= 7; life++) {
    await reaches(() => state.lives === life && keeper.report().running);
    print(`cannot find module ${life}`);
    crash();
  }
  await reaches(() => state.lives === 8);
  const loops = state.said.filter((line) => /ended 5 times within/.test(line));
  assert.equal(loops.length, 1);
  assert.match(loops[0] ?? '', /cannot find module 5/);
  await keeper.stop();
  await running;
});

test('health changes only after answers in a row, and says why', async () => {
  const { keeper, reaches, state } = bench();
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  state.health = { ok: false, reason: 'no answer within 500 ms' };
  await reaches(() => keeper.report().health === 'unhealthy');
  assert.equal(keeper.report().reason, 'no answer within 500 ms');
  state.health = { ok: true, latencyMs: 1 };
  await reaches(() => keeper.report().health === 'healthy');
  assert.equal(state.lives, 1);
  await keeper.stop();
  await running;
});

test('an instance that gives no good answer for too long is killed and started again', async () => {
  const { keeper, reaches, state } = bench({ restartAfterMs: 50 });
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  state.health = { ok: false, reason: 'no answer' };
  await reaches(() => state.lives === 2);
  assert.equal(state.killed, 1);
  await keeper.stop();
  await running;
});

test('an instance is not killed for the time in which its agent stood still', async () => {
  const { keeper, reaches, state } = bench({ restartAfterMs: 60_000 });
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  state.health = { ok: false, reason: 'no answer within 20 ms' };
  state.stoodStillMs = 600_000; // frozen, and the look that was under way has timed out
  await reaches(() => keeper.report().health === 'unhealthy');
  state.health = { ok: true, latencyMs: 1 };
  await reaches(() => keeper.report().health === 'healthy');
  assert.equal(state.killed, 0);
  await keeper.stop();
  await running;
});

test('an instance that somebody else runs is never killed', async () => {
  const { keeper, reaches, state } = bench({ restartAfterMs: 1, mayRestart: false });
  const running = keeper.run();
  await reaches(() => keeper.report().health === 'healthy');
  state.health = { ok: false, reason: 'no answer' };
  await reaches(() => keeper.report().health === 'unhealthy');
  assert.deepEqual([state.killed, state.lives], [0, 1]);
  await keeper.stop();
  await running;
});
