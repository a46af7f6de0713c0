import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../support/log.ts';
import { proveDeaths } from './agent-record.ts';
import { holdGroup } from './dead-mans-handle.ts';
import { handleProcesses, someLive } from './fixtures/handles.ts';
import { until } from './fixtures/until.ts';
import { parentDeathSignalPrefix } from './parent-death-signal.ts';
import { groupGone, livingMembers, signalGroup } from './process-group.ts';
import { findProcess, listProcesses } from './process-table.ts';

const standIn = fileURLToPath(new URL('./fixtures/agent-stand-in.ts', import.meta.url));

interface Agent {
  readonly process: ChildProcess & { readonly pid: number };
  readonly group: number;
  readonly stateDir: string;
  readonly lines: readonly string[];
}

/** Starts an agent with an instance and waits until the instance has said "ready" so many times. */
async function startAgent(
  t: TestContext,
  command: string,
  options: { ready?: number; withoutSetpriv?: boolean; neverRun?: boolean } = {},
): Promise<Agent> {
  const stateDir = await mkdtemp(join(tmpdir(), 'holdfast-handle-'));
  t.after(() => rm(stateDir, { recursive: true, force: true }));
  const env = { ...process.env };
  if (options.withoutSetpriv) env.PATH = await pathWith(stateDir, ['mkfifo', 'sleep']);
  const child = spawn(process.execPath, [standIn, stateDir, command, options.neverRun ? 'never' : ''], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const count = (): number => lines.filter((line) => line === 'ready').length;
  const group = (): number => Number(lines.find((line) => line.startsWith('group '))?.slice(6));
  await until(() => count() === (options.neverRun ? 0 : (options.ready ?? 1)) && group() > 1);
  t.after(() => signalGroup(group(), 'SIGKILL'));
  assert.ok(child.pid);
  return { process: Object.assign(child, { pid: child.pid }), group: group(), stateDir, lines };
}

/** A PATH on which there is nothing else than these: a system without setpriv. */
async function pathWith(directory: string, tools: readonly string[]): Promise<string> {
  const path = (process.env.PATH ?? '').split(':');
  for (const tool of tools) {
    const found = path.map((folder) => join(folder, tool)).find(existsSync);
    assert.ok(found, tool);
    await symlink(found, join(directory, tool));
  }
  return directory;
}

async function killed(agent: Agent): Promise<void> {
  process.kill(agent.process.pid, 'SIGKILL');
  await once(agent.process, 'exit');
}

/** The handle is the one child of the agent that is not in the instance's group. */
const handleOf = (agent: Agent): number | undefined =>
  listProcesses().find(
    ({ parentPid, groupId, zombie }) => parentPid === agent.process.pid && groupId !== agent.group && !zombie,
  )?.pid;

const worker = `'${process.execPath}' -e 'console.log("ready"); setInterval(() => {}, 1000)'`;

for (const withoutSetpriv of [false, true]) {
  const how = withoutSetpriv ? 'where the system has no setpriv' : 'on this system';

  test(`P5: the instance never outlives its agent: kill -9 ends the command, ${how}`, async (t) => {
    const agent = await startAgent(t, `exec ${worker}`, { withoutSetpriv });
    assert.equal(livingMembers(agent.group).length, 1);
    await killed(agent);
    assert.equal(await groupGone(agent.group, 10_000), true);
  });

  test(`P5: the instance never outlives its agent: no child of the shell is left, ${how}`, async (t) => {
    const agent = await startAgent(t, `${worker} & (${worker} & wait) & wait`, { ready: 2, withoutSetpriv });
    assert.ok(livingMembers(agent.group).length >= 3);
    await killed(agent);
    assert.equal(await groupGone(agent.group, 10_000), true);
  });

  test(`P5: the instance never outlives its agent: a frozen group ends too, ${how}`, async (t) => {
    const agent = await startAgent(t, `trap '' TERM HUP; ${worker} & wait`, { withoutSetpriv });
    process.kill(-agent.group, 'SIGSTOP');
    await killed(agent);
    assert.equal(await groupGone(agent.group, 10_000), true);
  });
}

test('P5: the instance never outlives its agent: a handle that is killed is replaced', async (t) => {
  const agent = await startAgent(t, `${worker} & wait`, { withoutSetpriv: true });
  const first = handleOf(agent);
  assert.ok(first);
  process.kill(first, 'SIGKILL');
  await until(() => handleOf(agent) !== undefined && handleOf(agent) !== first);
  assert.ok(livingMembers(agent.group).length >= 2, 'the instance does not notice');
  await killed(agent);
  assert.equal(await groupGone(agent.group, 10_000), true);
});

test('P5: the next agent finds the orphan of an agent that died together with its handle, and stops it', async (t) => {
  const agent = await startAgent(t, `${worker} & wait`, { withoutSetpriv: true });
  // Frozen first, so that it cannot replace its handle.
  process.kill(agent.process.pid, 'SIGSTOP');
  const handle = handleOf(agent);
  assert.ok(handle);
  process.kill(handle, 'SIGKILL');
  assert.deepEqual(await proveDeaths(agent.stateDir, 'shop-1'), {
    dead: [],
    alive: [{ agentId: 'agent-1', pid: agent.process.pid }],
    unproved: [],
  });
  await killed(agent);
  assert.ok(livingMembers(agent.group).length >= 2, 'there is an orphan');
  assert.deepEqual((await proveDeaths(agent.stateDir, 'shop-1')).dead, ['agent-1']);
  assert.deepEqual(livingMembers(agent.group), []);
});

test('P5: an orphan whose leader is dead is found by its group', async (t) => {
  const agent = await startAgent(t, `${worker} & wait`, { withoutSetpriv: true });
  process.kill(agent.process.pid, 'SIGSTOP');
  process.kill(handleOf(agent) ?? 0, 'SIGKILL');
  await killed(agent);
  process.kill(agent.group, 'SIGKILL');
  await until(() => findProcess(agent.group)?.zombie ?? true);
  assert.equal(livingMembers(agent.group).length, 1);
  assert.deepEqual((await proveDeaths(agent.stateDir, 'shop-1')).dead, ['agent-1']);
  assert.deepEqual(livingMembers(agent.group), []);
});

test('P5: the instance never outlives its agent: the parent death signal ends the command where the handle died too', async (t) => {
  if ((await parentDeathSignalPrefix()).length === 0) return t.skip('this system has no setpriv --pdeathsig');
  const agent = await startAgent(t, `exec ${worker}`);
  process.kill(agent.process.pid, 'SIGSTOP');
  process.kill(handleOf(agent) ?? 0, 'SIGKILL');
  await killed(agent);
  assert.equal(await groupGone(agent.group, 10_000), true);
});

test('P5: the instance never outlives its agent: one killed before it let the command run leaves nothing', async (t) => {
  const agent = await startAgent(t, 'touch ran', { neverRun: true, withoutSetpriv: true });
  assert.equal(livingMembers(agent.group).length, 1);
  await killed(agent);
  assert.equal(await groupGone(agent.group, 10_000), true);
  assert.equal(existsSync(join(agent.stateDir, 'ran')), false);
});

test('an agent that ends properly takes its instance with it, by the same way', async (t) => {
  const agent = await startAgent(t, `${worker} & wait`);
  agent.process.kill('SIGTERM');
  await once(agent.process, 'exit');
  assert.equal(await groupGone(agent.group, 10_000), true);
});

test('a released handle kills nobody and leaves no process behind', async (t) => {
  const instance = spawn('/bin/sh', ['-c', 'echo; exec sleep 600'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  assert.ok(instance.pid);
  const { pid } = instance;
  t.after(() => signalGroup(pid, 'SIGKILL'));
  await once(instance.stdout, 'data');
  const children = (): number =>
    listProcesses().filter(({ parentPid, zombie }) => parentPid === process.pid && !zombie).length;
  const handle = await holdGroup(pid, silentLog);
  assert.equal(children(), 2);
  handle.release();
  await until(() => children() === 1);
  assert.equal(livingMembers(pid).length, 1);
});

test('signals that end a session do not end the handle', async (t) => {
  const agent = await startAgent(t, `exec ${worker}`, { withoutSetpriv: true });
  const handle = handleOf(agent);
  assert.ok(handle);
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGPIPE'] as const)
    process.kill(handle, signal);
  await killed(agent);
  assert.equal(await groupGone(agent.group, 10_000), true);
});

async function startGroup(t: TestContext): Promise<number> {
  const group = spawn('/bin/sh', ['-c', 'echo; exec sleep 600'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  assert.ok(group.pid);
  const { pid } = group;
  t.after(() => signalGroup(pid, 'SIGKILL'));
  await once(group.stdout, 'data');
  return pid;
}

test('P4: a group lives as long as its handle allows, counted from the last word', async (t) => {
  const group = await startGroup(t);
  const handle = await holdGroup(group, silentLog);
  handle.allowFor(200);
  const start = performance.now();
  handle.allowFor(600);
  assert.equal(await groupGone(group, 15_000), true);
  assert.ok(performance.now() - start >= 600);
  handle.allowFor(60_000);
  assert.deepEqual(await handle.release(), { limitPassed: true });
  await until(() => handleProcesses(process.pid, group).length === 0);
  assert.throws(() => handle.allowFor(Number.NaN), RangeError);
});

test('P4: a handle that replaces a killed one keeps what is left of the limit', async (t) => {
  const group = await startGroup(t);
  const handle = await holdGroup(group, silentLog);
  const start = performance.now();
  handle.allowFor(1_500);
  await until(() => handleProcesses(process.pid, group).length === 3);
  const first = handleProcesses(process.pid, group);
  const shell = listProcesses().find(
    ({ parentPid, pid }) => parentPid === process.pid && first.includes(pid),
  );
  assert.ok(shell);
  process.kill(shell.pid, 'SIGKILL');
  await until(() => {
    const now = handleProcesses(process.pid, group);
    return now.length === 3 && !now.some((pid) => first.includes(pid));
  });
  await until(() => !someLive(first));
  assert.equal(livingMembers(group).length, 1);
  assert.equal(await groupGone(group, 15_000), true);
  const livedMs = performance.now() - start;
  assert.ok(livedMs >= 1_500 && livedMs < 2_500, `${livedMs} ms`);
  assert.deepEqual(await handle.release(), { limitPassed: true });
});

test('P4: where nothing can sleep, a limit ends the group at once rather than never', async (t) => {
  const group = await startGroup(t);
  const path = process.env.PATH;
  process.env.PATH = '/nowhere';
  t.after(() => {
    process.env.PATH = path;
  });
  const handle = await holdGroup(group, silentLog);
  assert.equal(livingMembers(group).length, 1);
  handle.allowFor(60_000);
  assert.equal(await groupGone(group, 15_000), true);
  await handle.release();
});

test('a released handle takes its sleepers with it, also those of a shell that was killed', async (t) => {
  const group = await startGroup(t);
  const handle = await holdGroup(group, silentLog);
  handle.allowFor(60_000);
  await until(() => handleProcesses(process.pid, group).length === 3);
  const first = handleProcesses(process.pid, group);
  const shell = listProcesses().find(
    ({ parentPid, pid }) => parentPid === process.pid && first.includes(pid),
  );
  process.kill(shell?.pid ?? 0, 'SIGKILL');
  assert.deepEqual(await handle.release(), { limitPassed: false });
  await until(() => !someLive(first));
  assert.equal(livingMembers(group).length, 1);
});
