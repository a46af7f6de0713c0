import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtinExecutor } from './builtin.ts';
import type { RunOrder } from './execution.ts';

const order: RunOrder = {
  event: 'holdfast-prune-sessions',
  place: '',
  occurrence: '7',
  dueMs: 0,
  attempt: 1,
  token: 99n,
  cause: 'schedule',
  payload: null,
  timeoutMs: 60_000,
};
const run = (task: Parameters<typeof builtinExecutor>[0]) =>
  builtinExecutor(task)(order, { remainingMs: () => 1_000 });

test('what a task says is its result', async () => {
  const work = run(async (_signal, { event }) => `did ${event}`);
  const result = 'did holdfast-prune-sessions';
  assert.deepEqual(await work.finished, { outcome: 'succeeded', reason: null, result });
  assert.equal((await run(async () => null).finished).result, null);
});

test('what a task throws is its failure', async () => {
  const failed = { outcome: 'failed', reason: 'no space', result: null };
  assert.deepEqual(await run(() => Promise.reject(new Error('no space'))).finished, failed);
  const thrower = () => {
    throw new Error('no space');
  };
  assert.deepEqual(await run(thrower).finished, failed);
});

test('P4: a task that was aborted and ended half-way has not succeeded', async () => {
  const work = run(async (signal) => {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    return 'removed 3 of them';
  });
  work.abort('the lease is over');
  work.abort('the time is over');
  assert.deepEqual(await work.finished, {
    outcome: 'failed',
    reason: 'the lease is over',
    result: 'removed 3 of them',
  });
});
