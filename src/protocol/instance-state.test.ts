import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type InstanceFacts,
  type InstanceState,
  instanceState,
  instanceStates,
  keepsItsUsers,
  takesNewUsers,
} from './instance-state.ts';

const facts = (changes: Partial<InstanceFacts> = {}): InstanceFacts => ({
  running: true,
  health: 'healthy',
  stopping: false,
  maintenance: [],
  drained: false,
  ...changes,
});

const cases: [string, Partial<InstanceFacts>, InstanceState][] = [
  ['healthy and running', {}, 'up'],
  ['not judged yet', { health: 'unknown' }, 'starting'],
  ['unhealthy', { health: 'unhealthy' }, 'down'],
  ['not running', { running: false, health: 'unknown' }, 'down'],
  ['about to stop', { stopping: true }, 'draining'],
  ['stopped', { stopping: true, running: false }, 'down'],
  ['in maintenance with users', { maintenance: ['disk'] }, 'draining'],
  ['in maintenance and drained', { maintenance: ['disk'], drained: true }, 'maintenance'],
  ['in maintenance and not running', { maintenance: ['disk'], running: false }, 'maintenance'],
  ['in maintenance and stopping', { maintenance: ['disk'], drained: true, stopping: true }, 'maintenance'],
];

for (const [name, changes, expected] of cases) {
  test(`an instance that is ${name} is ${expected}`, () =>
    assert.equal(instanceState(facts(changes)), expected));
}

test('only a running, healthy instance that nobody wants to stop is up, over all combinations of facts', () => {
  for (const running of [true, false]) {
    for (const health of ['unknown', 'healthy', 'unhealthy'] as const) {
      for (const stopping of [true, false]) {
        for (const maintenance of [[], ['disk']]) {
          for (const drained of [true, false]) {
            const isUp = instanceState({ running, health, stopping, maintenance, drained }) === 'up';
            assert.equal(isUp, running && health === 'healthy' && !stopping && maintenance.length === 0);
          }
        }
      }
    }
  }
});

test('new users go to instances that are up; those who belong to a draining one may stay', () => {
  assert.deepEqual(instanceStates.filter(takesNewUsers), ['up']);
  assert.deepEqual(instanceStates.filter(keepsItsUsers), ['up', 'draining']);
});
