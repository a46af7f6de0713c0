import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { groupGone, livingMembers, signalGroup } from './process-group.ts';

async function startGroup(t: TestContext, script: string): Promise<ChildProcess & { pid: number }> {
  const child = spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid } = child;
  assert.ok(pid);
  t.after(() => signalGroup(pid, 'SIGKILL'));
  await once(child.stdout, 'data');
  return Object.assign(child, { pid });
}

test('a group is gone when its last member is, and not when its leader is', async (t) => {
  const leader = await startGroup(t, 'sleep 600 & sleep 600 & echo; exit 0');
  await once(leader, 'exit');
  assert.equal(await groupGone(leader.pid, 50), false);
  assert.equal(livingMembers(leader.pid).length, 2);
  assert.equal(signalGroup(leader.pid, 'SIGKILL'), true);
  assert.equal(await groupGone(leader.pid), true);
  assert.deepEqual(livingMembers(leader.pid), []);
});

test('a group of zombies is gone', async (t) => {
  // The child stays a zombie, in a group of its own: its parent does not come to wait for it.
  const script = `
    const child = require('node:child_process').spawn('true', { detached: true, stdio: 'ignore' });
    console.log(child.pid);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`;
  const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => parent.kill('SIGKILL'));
  const group = Number(String((await once(parent.stdout, 'data'))[0]));
  assert.equal(await groupGone(group, 10_000), true);
  assert.equal(process.kill(-group, 0), true, 'the zombie is still there to be signalled');
});

test('nobody is signalled in a group that is not there', async (t) => {
  const leader = await startGroup(t, 'echo; exec sleep 600');
  leader.kill('SIGKILL');
  await once(leader, 'exit');
  assert.equal(signalGroup(leader.pid, 'SIGKILL'), false);
  assert.equal(await groupGone(leader.pid), true);
});

test('numbers that mean our own group or everybody are refused', () => {
  for (const number of [0, 1, -1, -5, 1.5, Number.NaN]) {
    assert.throws(() => signalGroup(number, 'SIGKILL'), RangeError);
    assert.throws(() => livingMembers(number), RangeError);
  }
});
