import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';
import { type AgentRecord, proveDeaths, removeRecord, writeRecord } from './agent-record.ts';
import { belongsTo, livingMembers, signalGroup } from './process-group.ts';
import { type ProcessIdentity, processIdentity } from './process-identity.ts';
import type { ProcessEntry } from './process-table.ts';

async function stateFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-record-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

function identityOf(pid: number): ProcessIdentity {
  const identity = processIdentity(pid);
  assert.ok(identity);
  return identity;
}

const self = (): ProcessIdentity => identityOf(process.pid);
/** Our own number at another time: a process that is dead for certain. */
const dead = (): ProcessIdentity => ({ ...self(), startedAt: '1' });

async function startGroup(t: TestContext, script: string): Promise<number> {
  const child = spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid } = child;
  assert.ok(pid);
  t.after(() => signalGroup(pid, 'SIGKILL'));
  await once(child.stdout, 'data');
  return pid;
}

function recordingLog(): Log & { readonly warnings: string[] } {
  const warnings: string[] = [];
  return { ...silentLog, warnings, warn: (_, message) => warnings.push(message) };
}

test('an instance without records has no dead and no living agents', async (t) => {
  const folder = await stateFolder(t);
  assert.deepEqual(await proveDeaths(folder, 'shop-1'), { dead: [], alive: [], unproved: [] });
});

test('a record is written whole, for the owner alone, replaced, and removed', async (t) => {
  const folder = await stateFolder(t);
  const record: AgentRecord = { agentId: 'a-1', agent: self() };
  await writeRecord(folder, 'shop-1', record);
  await writeRecord(folder, 'shop-1', { ...record, processGroup: self(), port: 8081, commandDigest: 'abc' });
  const files = join(folder, 'agents', 'shop-1');
  assert.deepEqual(await readdir(files), ['a-1.json']);
  assert.deepEqual(JSON.parse(await readFile(join(files, 'a-1.json'), 'utf8')), {
    agentId: 'a-1',
    agent: self(),
    processGroup: self(),
    port: 8081,
    commandDigest: 'abc',
  });
  assert.equal((await stat(join(files, 'a-1.json'))).mode & 0o777, 0o600);
  await removeRecord(folder, 'shop-1', 'a-1');
  await removeRecord(folder, 'shop-1', 'a-1');
  assert.deepEqual(await readdir(files), []);
});

test('an agent that lives is named with its process', async (t) => {
  const folder = await stateFolder(t);
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: self() });
  assert.deepEqual(await proveDeaths(folder, 'shop-1'), {
    dead: [],
    alive: [{ agentId: 'a-1', pid: process.pid }],
    unproved: [],
  });
  assert.deepEqual(
    (await proveDeaths(folder, 'shop-2')).alive,
    [],
    'the records of another instance are not read',
  );
});

test('P5: an agent that is dead without having started its instance is proved dead', async (t) => {
  const folder = await stateFolder(t);
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: dead() });
  assert.deepEqual((await proveDeaths(folder, 'shop-1')).dead, ['a-1']);
});

test('P5: an agent is proved dead only when its orphans are killed and gone', async (t) => {
  const folder = await stateFolder(t);
  const group = await startGroup(t, `trap '' TERM; sleep 600 & echo; wait`);
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: dead(), processGroup: identityOf(group) });
  assert.deepEqual((await proveDeaths(folder, 'shop-1')).dead, ['a-1']);
  assert.deepEqual(livingMembers(group), []);
});

test('P5: an agent is proved dead only when the orphans of its commands are killed and gone too', async (t) => {
  const folder = await stateFolder(t);
  const groups = [];
  for (const _ of ['instance', 'command', 'command'])
    groups.push(await startGroup(t, `trap '' TERM; sleep 600 & echo; wait`));
  const [processGroup, ...commandGroups] = groups.map(identityOf);
  assert.ok(processGroup);
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: dead(), processGroup, commandGroups });
  await writeRecord(folder, 'shop-1', { agentId: 'a-2', agent: dead(), commandGroups: [dead()] });
  assert.deepEqual((await proveDeaths(folder, 'shop-1')).dead, ['a-1', 'a-2']);
  assert.deepEqual(groups.flatMap(livingMembers), []);
});

test('P5: a command that cannot be seen leaves the death unproved; those that can be are killed all the same', async (t) => {
  const folder = await stateFolder(t);
  const [hidden, seen] = [
    await startGroup(t, 'echo; exec sleep 600'),
    await startGroup(t, 'echo; exec sleep 600'),
  ];
  const commandGroups = [{ ...identityOf(hidden), pidNamespace: 'pid:[1]' }, identityOf(seen)];
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: dead(), commandGroups });
  const proof = await proveDeaths(folder, 'shop-1');
  assert.deepEqual(proof.dead, []);
  assert.match(proof.unproved[0]?.reason ?? '', /a command of it cannot be seen/);
  assert.deepEqual([livingMembers(hidden).length, livingMembers(seen).length], [1, 0]);
});

test('P5: a group number that was used again is not killed', async (t) => {
  const folder = await stateFolder(t);
  const stranger = await startGroup(t, 'sleep 600 & echo; wait');
  const before = { ...identityOf(stranger), startedAt: '1' };
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: dead(), processGroup: before });
  assert.deepEqual((await proveDeaths(folder, 'shop-1')).dead, ['a-1']);
  assert.equal(livingMembers(stranger).length, 2);
});

test('P5: a record from another name space proves nothing and kills nobody', async (t) => {
  const folder = await stateFolder(t);
  const group = await startGroup(t, 'echo; exec sleep 600');
  const elsewhere = { pidNamespace: 'pid:[1]' };
  await writeRecord(folder, 'shop-1', { agentId: 'a-1', agent: { ...dead(), ...elsewhere } });
  await writeRecord(folder, 'shop-1', {
    agentId: 'a-2',
    agent: dead(),
    processGroup: { ...identityOf(group), ...elsewhere },
  });
  const { dead: proved, alive, unproved } = await proveDeaths(folder, 'shop-1');
  assert.deepEqual([proved, alive], [[], []]);
  assert.deepEqual(
    unproved.map(({ agentId }) => agentId),
    ['a-1', 'a-2'],
  );
  assert.equal(livingMembers(group).length, 1);
});

test('P5: a broken record is ignored with a warning and is never proof', async (t) => {
  const folder = await stateFolder(t);
  const files = join(folder, 'agents', 'shop-1');
  await mkdir(files, { recursive: true });
  const whole = { agentId: 'x', agent: dead() };
  const broken: Record<string, string> = {
    'empty.json': '',
    'half.json': JSON.stringify(whole).slice(0, 40),
    'null.json': 'null',
    'other-name.json': JSON.stringify(whole),
    'no-agent.json': JSON.stringify({ agentId: 'no-agent' }),
    'no-machine.json': JSON.stringify({ agentId: 'no-machine', agent: { ...dead(), machine: undefined } }),
    'bad-number.json': JSON.stringify({ agentId: 'bad-number', agent: { ...dead(), pid: '5' } }),
    'everybody.json': JSON.stringify({
      agentId: 'everybody',
      agent: dead(),
      processGroup: { ...dead(), pid: 1 },
    }),
    'command.json': JSON.stringify({
      agentId: 'command',
      agent: dead(),
      commandGroups: [{ ...dead(), pid: 1 }],
    }),
    'no-list.json': JSON.stringify({ agentId: 'no-list', agent: dead(), commandGroups: dead() }),
    'path.json': JSON.stringify({ agentId: '../path', agent: dead() }),
  };
  for (const [name, text] of Object.entries(broken)) await writeFile(join(files, name), text);
  await writeFile(join(files, 'half-written.json.123.tmp'), '{');
  const log = recordingLog();
  assert.deepEqual(await proveDeaths(folder, 'shop-1', { log }), { dead: [], alive: [], unproved: [] });
  assert.equal(log.warnings.length, Object.keys(broken).length);
});

test('P10: a name that leads out of the folder is refused', async (t) => {
  const folder = await stateFolder(t);
  for (const name of ['', '.', '..', '../x', 'a/b', '.hidden', 'a\0b', 'x'.repeat(300)]) {
    await assert.rejects(proveDeaths(folder, name), HoldfastError, JSON.stringify(name));
    await assert.rejects(writeRecord(folder, 'shop-1', { agentId: name, agent: self() }), HoldfastError);
    await assert.rejects(removeRecord(folder, 'shop-1', name), HoldfastError);
  }
});

test('the members of a dead leader are told from a later group with its number', () => {
  const leader = { pid: 50, startedAt: '1000' };
  const member: ProcessEntry = {
    pid: 60,
    parentPid: 1,
    groupId: 50,
    sessionId: 50,
    zombie: false,
    startedAt: '1001',
  };
  assert.equal(belongsTo(leader, [member]), true);
  assert.equal(belongsTo(leader, [{ ...member, sessionId: undefined }]), true);
  assert.equal(belongsTo(leader, []), false);
  assert.equal(belongsTo(leader, [{ ...member, pid: 50, startedAt: '2000' }, member]), false);
  assert.equal(belongsTo(leader, [{ ...member, sessionId: 7 }]), false);
  assert.equal(belongsTo(leader, [{ ...member, startedAt: '999' }]), false);
});
