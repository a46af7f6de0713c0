import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Log, silentLog } from '../../support/log.ts';
import { commandExecutor } from './command.ts';
import type { RunOrder } from './execution.ts';

const order: RunOrder = {
  event: 'report',
  place: 'shop-1',
  occurrence: '7',
  dueMs: Date.UTC(2027, 0, 2, 3),
  attempt: 1,
  token: 99n,
  cause: 'manual',
  payload: { size: 3 },
  timeoutMs: 60_000,
};

function run(command: string, remainingMs = 5_000, onLine: (line: string) => void = () => undefined) {
  const groups: string[] = [];
  const log: Log = { ...silentLog, info: (_fields, line) => onLine(line) };
  const work = commandExecutor({
    command,
    directory: tmpdir(),
    environment: () => ({ HOLDFAST_INSTANCE: 'shop-1' }),
    recordGroup: async (pid) => void groups.push(`+${pid}`),
    forgetGroup: (pid) => void groups.push(`-${pid}`),
    stopWorkMs: 200,
    log,
  })(order, { remainingMs: () => remainingMs });
  return { work, groups };
}

test('what the command prints is its result, and what it runs for is in its environment', async () => {
  const { work, groups } = run(
    'echo "$HOLDFAST_EVENT $HOLDFAST_PLACE $HOLDFAST_DUE $HOLDFAST_ATTEMPT $HOLDFAST_TOKEN $HOLDFAST_CAUSE $HOLDFAST_PAYLOAD $HOLDFAST_INSTANCE"; echo "$HOLDFAST_IDEMPOTENCY_KEY"',
  );
  assert.deepEqual(await work.finished, {
    outcome: 'succeeded',
    reason: null,
    result: `report shop-1 2027-01-02T03:00:00.000Z 1 99 manual {"size":3} shop-1\nreport/shop-1/2027-01-02T03:00:00.000Z/manual\n`,
  });
  assert.match(groups.join(' '), /^\+(\d+) -\1$/, 'its process group was written down while it ran');
});

test('an exit code other than 0 is a failure that names it', async () => {
  const { work } = run('echo no >&2; exit 3');
  assert.deepEqual(await work.finished, {
    outcome: 'failed',
    reason: 'the command exited with code 3',
    result: 'no\n',
  });
});

test('a command that cannot be found is a failure', async () => {
  assert.equal((await run('no-such-command-here').work.finished).outcome, 'failed');
});

test('P4: an aborted command is killed with its group, also before it has begun', async () => {
  const { work } = run('sleep 60 & sleep 60');
  work.abort('the lease is over');
  const { outcome, reason } = await work.finished;
  assert.equal(outcome, 'failed');
  assert.match(reason ?? '', /the lease is over/);
});

test('P4: without a renewal the command ends with the proof, and with renewals it goes on', async () => {
  assert.equal((await run('sleep 60', 200).work.finished).outcome, 'lost', 'it has not failed by itself');
  const { work } = run('sleep 1', 500);
  const renewing = setInterval(() => work.renewed?.(500), 100);
  assert.equal((await work.finished).outcome, 'succeeded');
  clearInterval(renewing);
});

test('P4: at the end of the proof a command has time to end by itself, before what kills it does', async () => {
  const startedMs = performance.now();
  const { work } = run('trap "echo tidy; exit 1" TERM; while :; do sleep 0.02; done', 500);
  setTimeout(() => work.abort('the lease is over'), 500 - (performance.now() - startedMs));
  const { result } = await work.finished;
  assert.match(result ?? '', /^tidy$/m);
  const alone = performance.now();
  await run('trap "" TERM; while :; do sleep 0.02; done', 300).work.finished;
  const tookMs = performance.now() - alone;
  assert.ok(tookMs >= 390 && tookMs < 1_000, `half of the 200 ms for stopping later: ${tookMs} ms`);
});

test('P4: a command that answers the request to end with success has not succeeded', async () => {
  const { work } = run('trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done', 5_000, (line) => {
    if (line === 'ready') work.abort('the time is over');
  });
  const { outcome, reason, result } = await work.finished;
  assert.deepEqual([outcome, reason], ['failed', 'the time is over']);
  assert.match(result ?? '', /^ready\n/, 'what it had printed is kept');
});

test('P4: a command that does not heed it is killed within half the time that there is for stopping', async () => {
  let abortedAtMs = 0;
  const { work } = run('trap "" TERM; echo ready; while :; do sleep 0.05; done', 5_000, (line) => {
    if (line !== 'ready') return;
    abortedAtMs = performance.now();
    work.abort('the time is over');
  });
  assert.equal((await work.finished).reason, 'the time is over');
  assert.ok(performance.now() - abortedAtMs < 2_000);
});

test('P4: nothing runs of a command that was aborted before it could begin', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-command-'));
  try {
    const { work, groups } = run(`touch ${folder}/it-ran`);
    work.abort('the lease is over');
    assert.equal((await work.finished).reason, 'the lease is over');
    assert.deepEqual(await readdir(folder), []);
    assert.match(groups.join(' '), /^\+(\d+) -\1$/, 'and its process group is forgotten');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('P4: a command whose process group cannot be written down never runs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-command-'));
  try {
    const { finished } = commandExecutor({
      command: `touch ${folder}/it-ran`,
      directory: tmpdir(),
      environment: () => ({}),
      recordGroup: () => Promise.reject(new Error('the disk is full')),
      forgetGroup: () => undefined,
      stopWorkMs: 200,
      log: silentLog,
    })(order, { remainingMs: () => 5_000 });
    const reason = 'the command could not be started: the disk is full';
    assert.deepEqual(await finished, { outcome: 'failed', reason, result: null });
    assert.deepEqual(await readdir(folder), []);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a directory that is not there is a failure that names it', async () => {
  const { finished } = commandExecutor({
    command: 'true',
    directory: '/there/is/no/such/folder',
    environment: () => ({}),
    recordGroup: async () => undefined,
    forgetGroup: () => assert.fail('nothing was written down'),
    stopWorkMs: 200,
    log: silentLog,
  })(order, { remainingMs: () => 5_000 });
  const { outcome, reason } = await finished;
  assert.equal(outcome, 'failed');
  assert.match(reason ?? '', /no such folder|\/there\/is\/no\/such\/folder/);
});

test('a command that was killed by somebody else has failed, and says by what', async () => {
  const { outcome, reason } = await run('kill -9 $$').work.finished;
  assert.deepEqual([outcome, reason], ['failed', 'the command was killed by SIGKILL']);
});
