import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InstanceReport } from './instance-keeper.ts';
import { verdictOf } from './state-of-agent.ts';

const healthy: InstanceReport = {
  running: true,
  health: 'healthy',
  reason: null,
  pid: 7,
  address: { host: '127.0.0.1', port: 3000 },
};
const calm = { stopping: false, maintenance: [], drained: false };

test('a healthy instance is up and gives no reason', () => {
  assert.deepEqual(verdictOf(healthy, calm), { state: 'up', reason: null });
});

test('a started instance without a verdict is starting', () => {
  assert.equal(verdictOf({ ...healthy, health: 'unknown', reason: 'starting' }, calm).state, 'starting');
});

test('an instance that ended is down, with how it ended', () => {
  const ended = { ...healthy, running: false, health: 'unhealthy', reason: 'was killed by SIGKILL' } as const;
  assert.deepEqual(verdictOf(ended, calm), { state: 'down', reason: 'was killed by SIGKILL' });
});

test('an agent that was asked to stop drains while its instance runs, healthy or not', () => {
  assert.equal(verdictOf(healthy, { ...calm, stopping: true }).state, 'draining');
  assert.equal(verdictOf({ ...healthy, running: false }, { ...calm, stopping: true }).state, 'down');
});

test('maintenance drains first, gives every reason, and outranks a stop', () => {
  const maintenance = ['disk', 'update'];
  assert.deepEqual(verdictOf(healthy, { ...calm, maintenance }), {
    state: 'draining',
    reason: 'disk; update',
  });
  assert.equal(verdictOf(healthy, { stopping: true, maintenance, drained: true }).state, 'maintenance');
});
