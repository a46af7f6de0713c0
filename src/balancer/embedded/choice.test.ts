import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Candidate, chooseInstance } from './choice.ts';

const candidate = (changes: Partial<Candidate> = {}): Candidate => ({
  state: 'up',
  healthy: true,
  inFlight: 0,
  ...changes,
});
const nobody = () => false;

test('a user goes to the own instance, however busy it is', () => {
  const owner = candidate({ inFlight: 99 });
  assert.equal(chooseInstance([candidate(), owner], { owner, excluded: nobody, turn: 0 }), owner);
});

test('a user whose instance is sick, away or just failed goes to another', () => {
  const other = candidate();
  for (const changes of [
    { healthy: false },
    { state: 'down' },
    { state: 'maintenance' },
    { state: 'lost' },
  ] as const) {
    const owner = candidate(changes);
    assert.equal(chooseInstance([owner, other], { owner, excluded: nobody, turn: 0 }), other);
  }
  const owner = candidate();
  const excluded = (one: Candidate) => one === owner;
  assert.equal(chooseInstance([owner, other], { owner, excluded, turn: 0 }), other);
});

test('a new user goes to the least busy, and equals take turns', () => {
  const busy = candidate({ inFlight: 2 });
  const a = candidate({ inFlight: 1 });
  const b = candidate({ inFlight: 1 });
  const choose = (turn: number) => chooseInstance([busy, a, b], { owner: undefined, excluded: nobody, turn });
  assert.deepEqual([choose(0), choose(1), choose(2)], [a, b, a]);
});

test('a draining instance gets a new user only when there is nobody else', () => {
  const draining = candidate({ state: 'draining' });
  const busy = candidate({ inFlight: 50 });
  assert.equal(chooseInstance([draining, busy], { owner: undefined, excluded: nobody, turn: 0 }), busy);
  assert.equal(chooseInstance([draining], { owner: undefined, excluded: nobody, turn: 0 }), draining);
});

test('when all look sick their agents are believed; one healthy instance is enough to believe ourselves', () => {
  const sick = candidate({ healthy: false });
  const alsoSick = candidate({ healthy: false, inFlight: 1 });
  const down = candidate({ healthy: true, state: 'down' });
  const request = { owner: undefined, excluded: nobody, turn: 0 };
  assert.equal(chooseInstance([sick, alsoSick, down], request), sick);
  const healthy = candidate({ inFlight: 9 });
  assert.equal(chooseInstance([sick, healthy], request), healthy);
});

test('nobody is nobody', () => {
  assert.equal(chooseInstance([], { owner: undefined, excluded: nobody, turn: 0 }), undefined);
  const all = [candidate(), candidate({ state: 'starting' })];
  assert.equal(chooseInstance(all, { owner: undefined, excluded: () => true, turn: 0 }), undefined);
});
