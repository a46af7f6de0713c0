import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../database/clock.ts';
import type { CheckResult, ExitReason, RunningInstance } from '../platform/index.ts';
import { defaultRestartRules } from '../protocol/restart.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';
import { InstanceKeeper } from './instance-keeper.ts';

/** An instance that knows more of itself than a request could tell. */
function bench(check: () => CheckResult, startError?: Error) {
  const state = { lives: 0, killed: 0, said: [] as string[] };
  let end: (reason: ExitReason) => void = () => undefined;
  const say = (_fields: object, message: string): void => void state.said.push(message);
  const log: Log = { ...silentLog, info: say, warn: say, error: say };
  const keeper = new InstanceKeeper({
    instance: 'shop-1',
    async start(): Promise<RunningInstance> {
      state.lives++;
      if (startError) throw startError;
      const { promise: exited, resolve } = Promise.withResolvers<ExitReason>();
      end = resolve;
      const stop = async () => {
        resolve({ code: 0, signal: null, description: 'exited with code 0' });
        return exited;
      };
      const kill = () => {
        state.killed++;
        void stop();
      };
      return {
        pid: state.lives,
        address: { host: '127.0.0.1', port: 1 },
        exited,
        kill,
        stop,
        check: async () => check(),
      };
    },
    check: () => assert.fail('the platform has a better check'),
    health: {
      everyMs: 5,
      timeoutMs: 20,
      unhealthyAfter: 2,
      healthyAfter: 2,
      startWithinMs: 60,
      restartAfterMs: 60,
    },
    restart: { ...defaultRestartRules, firstPauseMs: 1, longestPauseMs: 2 },
    killAfterMs: 100,
    mayRestart: true,
    clock: systemClock,
    log,
    onChange: () => undefined,
  });
  const running = keeper.run();
  return {
    keeper,
    state,
    exit: (reason: ExitReason) => end(reason),
    async until(what: () => boolean): Promise<void> {
      const deadlineMs = performance.now() + 20_000;
      while (!what()) {
        assert.ok(performance.now() < deadlineMs, state.said.join('\n'));
        await systemClock.sleep(5);
      }
    },
    async stop(): Promise<void> {
      await keeper.stop();
      await running;
    },
  };
}

const unusable: ExitReason = {
  code: 4,
  signal: null,
  description: 'exited with code 4 (wrong Java)',
  remedy: 'Install the right one.',
};

test('what a restart cannot cure is not restarted, and what to do is said once and shown', async () => {
  const { keeper, state, exit, until, stop } = bench(() => ({ ok: true, latencyMs: 1 }));
  await until(() => keeper.report().health === 'healthy');
  exit(unusable);
  await until(() => state.said.some((line) => /not started again before somebody acts/.test(line)));
  await systemClock.sleep(50);
  assert.equal(state.lives, 1);
  assert.equal(keeper.report().reason, 'exited with code 4 (wrong Java) → Install the right one.');
  assert.equal(state.said.filter((line) => /somebody acts/.test(line)).length, 1);
  await stop();
});

test('asked for, it is started again', async () => {
  const { keeper, state, exit, until, stop } = bench(() => ({ ok: true, latencyMs: 1 }));
  await until(() => keeper.report().health === 'healthy');
  exit(unusable);
  await until(() => state.said.some((line) => /somebody acts/.test(line)));
  await keeper.restart();
  await until(() => state.lives === 2 && keeper.report().health === 'healthy');
  await stop();
});

test('a restart in order is no crash', async () => {
  const { keeper, state, until, stop } = bench(() => ({ ok: true, latencyMs: 1 }));
  await until(() => keeper.report().health === 'healthy');
  await keeper.restart();
  await until(() => state.lives === 2 && keeper.report().health === 'healthy');
  assert.ok(!state.said.some((line) => /starting it again/.test(line)));
  await stop();
});

test('an instance that changes a database, or says what is wrong with it, is not killed for that', async () => {
  const { keeper, state, until, stop } = bench(() => ({
    ok: false,
    reason: 'changes the database',
    restartHelps: false,
  }));
  await until(() => keeper.report().reason === 'changes the database');
  await systemClock.sleep(300);
  assert.deepEqual([state.killed, state.lives], [0, 1]);
  await stop();
});

test('an error at the start is shown with what to do', async () => {
  const error = new HoldfastError('RUNTIME_MISSING', 'Nothing is there.', { remedy: 'Put it there.' });
  const { keeper, state, until, stop } = bench(() => ({ ok: true, latencyMs: 1 }), error);
  await until(() => state.lives > 1);
  assert.match(keeper.report().reason ?? '', /^could not be started: Nothing is there\. → Put it there\.$/);
  await stop();
});
