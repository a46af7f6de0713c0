import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onInstanceDeath } from './instance-death.ts';

function instance() {
  const lives: PromiseWithResolvers<void>[] = [];
  return {
    lives,
    died: (): Promise<void> => {
      const life = Promise.withResolvers<void>();
      lives.push(life);
      return life.promise;
    },
  };
}

test('there is one wait for a death, however many runs come and go', () => {
  const { lives, died } = instance();
  for (let runs = 0; runs < 1_000; runs++) onInstanceDeath(died, () => assert.fail('it has left'))();
  onInstanceDeath(died, () => undefined);
  assert.equal(lives.length, 1);
});

test('P5: everybody who is there when the instance dies is told once, and nobody who left', async () => {
  const { lives, died } = instance();
  const told: string[] = [];
  onInstanceDeath(died, () => told.push('first'));
  const leave = onInstanceDeath(died, () => told.push('left'));
  const second = new Promise<void>((resolve) => {
    onInstanceDeath(died, () => {
      told.push('second');
      resolve();
    });
  });
  leave();
  lives[0]?.resolve();
  await second;
  assert.deepEqual(told, ['first', 'second']);
});

test('who comes after a death waits for the next one', async () => {
  const { lives, died } = instance();
  await new Promise<void>((resolve) => {
    onInstanceDeath(died, resolve);
    lives[0]?.resolve();
  });
  const next = new Promise<void>((resolve) => void onInstanceDeath(died, resolve));
  assert.equal(lives.length, 2);
  lives[1]?.resolve();
  await next;
});
