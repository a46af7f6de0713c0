import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunOrder } from './execution.ts';
import { Gate } from './gate.ts';

const order = (token: bigint): RunOrder => ({
  event: 'e',
  place: '',
  occurrence: '1',
  dueMs: 0,
  attempt: 1,
  token,
  cause: 'schedule',
  payload: null,
  timeoutMs: 1_000,
});
const done = { outcome: 'succeeded', reason: null, result: 'ok' } as const;

test('the application says how its run ended, once', async () => {
  const gate = new Gate({ instanceDied: () => new Promise(() => undefined) });
  const work = gate.open(order(5n));
  assert.equal(gate.finish('6', done), false, 'not a run of ours');
  assert.equal(gate.finish('5', done), true);
  assert.deepEqual(await work.finished, done);
  assert.equal(gate.finish('5', done), false, 'it has ended');
});

test('P4: after an abort the result of the application counts for nothing', async () => {
  const gate = new Gate({ instanceDied: () => new Promise(() => undefined) });
  const work = gate.open(order(5n));
  work.abort('timed out');
  assert.equal(gate.finish('5', done), false);
  assert.deepEqual(await work.finished, { outcome: 'failed', reason: 'timed out', result: null });
});

test('P5: with the instance all its runs are lost', async () => {
  const died = Promise.withResolvers<void>();
  const gate = new Gate({ instanceDied: () => died.promise });
  const works = [gate.open(order(5n)), gate.open(order(6n))];
  died.resolve();
  assert.deepEqual(
    (await Promise.all(works.map(({ finished }) => finished))).map(({ outcome }) => outcome),
    ['lost', 'lost'],
  );
});

test('a yes that nobody heard is lost, and free for others', async () => {
  const gate = new Gate({ instanceDied: () => new Promise(() => undefined) });
  const work = gate.open(order(5n));
  gate.finish('5', { outcome: 'lost', reason: 'nobody was told', result: null });
  assert.equal((await work.finished).outcome, 'lost');
});
