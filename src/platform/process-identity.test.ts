import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { until } from './fixtures/until.ts';
import { isAlive, judge, type ProcessIdentity, processIdentity } from './process-identity.ts';
import { findProcess, listProcesses, type ProcessEntry, parsePsLine, parseStat } from './process-table.ts';

const outside = { machine: 'm/host', bootId: 'boot-1', pidNamespace: 'pid:[4026531836]' };
const inContainer = { ...outside, pidNamespace: 'pid:[4026532999]' };
const identity: ProcessIdentity = { ...outside, pid: 42, startedAt: '1000' };
const entry: ProcessEntry = {
  pid: 42,
  parentPid: 1,
  groupId: 42,
  sessionId: 42,
  zombie: false,
  startedAt: '1000',
};
const mustNotLook = (): never => assert.fail('the number has no meaning here');

function own(): ProcessIdentity {
  const found = processIdentity(process.pid);
  assert.ok(found);
  return found;
}

test('this process is alive by its own identity', () => {
  assert.equal(isAlive(own()), 'alive');
});

test('P5: a process number that was used again does not pass for the old process', () => {
  assert.equal(isAlive({ ...own(), startedAt: '1' }), 'dead');
  assert.equal(
    judge(identity, outside, () => ({ ...entry, startedAt: '2000' })),
    'dead',
  );
});

test('a process is alive until it ended, dead afterwards, and its zombie is dead', async (t) => {
  // The inner process stays a zombie: its parent does not come to wait for it.
  const script = `
    console.log(require('node:child_process').spawn('true', { stdio: 'ignore' }).pid);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`;
  const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => parent.kill('SIGKILL'));
  const pid = Number(String((await once(parent.stdout, 'data'))[0]));
  const parentIdentity = processIdentity(parent.pid ?? 0);
  assert.ok(parentIdentity);
  await until(() => findProcess(pid)?.zombie === true);
  assert.equal(processIdentity(pid), undefined);
  assert.equal(isAlive({ ...own(), pid, startedAt: findProcess(pid)?.startedAt ?? '' }), 'dead');
  assert.equal(isAlive(parentIdentity), 'alive');
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  assert.equal(isAlive(parentIdentity), 'dead');
  assert.equal(processIdentity(parent.pid ?? 0), undefined);
});

test('a process that nobody has, or a zombie, is dead', () => {
  assert.equal(
    judge(identity, outside, () => 'none'),
    'dead',
  );
  assert.equal(
    judge(identity, outside, () => ({ ...entry, zombie: true })),
    'dead',
  );
});

test('P5: a process that cannot be seen is not proved dead', () => {
  assert.equal(
    judge(identity, outside, () => 'hidden'),
    'unknown',
  );
});

test('P5: another name space in the same boot proves nothing', () => {
  assert.equal(judge(identity, inContainer, mustNotLook), 'unknown');
  assert.equal(judge({ ...identity, ...inContainer }, outside, mustNotLook), 'unknown');
});

test('an earlier boot of this machine proves death', () => {
  assert.equal(judge({ ...identity, bootId: 'boot-0' }, outside, mustNotLook), 'dead');
});

test('P5: another boot proves nothing where it may be that of another machine', () => {
  const before = { ...identity, bootId: 'boot-0' };
  assert.equal(judge({ ...before, machine: 'n/host' }, outside, mustNotLook), 'unknown');
  assert.equal(judge({ ...before, machine: '' }, { ...outside, machine: '' }, mustNotLook), 'unknown');
  assert.equal(judge({ ...before, bootId: '' }, outside, mustNotLook), 'unknown');
  assert.equal(judge(before, inContainer, mustNotLook), 'unknown');
  assert.equal(judge({ ...before, ...inContainer, bootId: 'boot-0' }, inContainer, mustNotLook), 'unknown');
});

test('a program whose name has parentheses, spaces and newlines does not confuse the fields', () => {
  const rest = Array.from({ length: 40 }, (_, index) => String(index + 4));
  const text = `77 (a) R 1) (\nb c) S ${rest.join(' ')}`;
  assert.deepEqual(parseStat(text), {
    pid: 77,
    parentPid: 4,
    groupId: 5,
    sessionId: 6,
    zombie: false,
    startedAt: '22',
  });
  assert.equal(parseStat(text.replace(') S ', ') Z '))?.zombie, true);
  for (const broken of ['', '77', '77 (a', '77 (a) S 1 2', 'x (a) S'])
    assert.equal(parseStat(broken), undefined);
});

test('what ps prints is understood', () => {
  assert.deepEqual(parsePsLine('  77     1    76 Ss+  Mon Jan  5 10:11:12 2026'), {
    pid: 77,
    parentPid: 1,
    groupId: 76,
    sessionId: undefined,
    zombie: false,
    startedAt: 'Mon Jan 5 10:11:12 2026',
  });
  assert.equal(parsePsLine('77 1 76 Z Mon Jan  5 10:11:12 2026')?.zombie, true);
  assert.equal(parsePsLine(''), undefined);
});

test('the list of processes has this one', () => {
  assert.deepEqual(
    listProcesses().find(({ pid }) => pid === process.pid),
    findProcess(process.pid),
  );
});
