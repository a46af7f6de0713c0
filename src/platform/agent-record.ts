/**
 * Local records that can prove a death. Each agent keeps one file with the identities of its own process and of
 * the leaders of the process groups that it started: its instance, and the commands that run now. The next agent
 * of the same instance on this host reads them: an agent that is dead by that evidence, and whose groups are
 * gone to the last process, is a death that was seen; its work is free at once, without waiting for the lease.
 * Everything less proves nothing: a record that cannot be read, one from another name space, a group that does
 * not go away.
 *
 * That a group's leader is gone does not mean that the group is; `belongsTo` tells its orphans from strangers.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';
import { belongsTo, groupGone, livingMembers, signalGroup } from './process-group.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

export interface AgentRecord {
  readonly agentId: string;
  readonly agent: ProcessIdentity;
  /** The leader of the instance's process group. Written before the application runs; see `beforeRun`. */
  readonly processGroup?: ProcessIdentity;
  /** The leaders of the groups of running commands, each written before its command runs. */
  readonly commandGroups?: readonly ProcessIdentity[];
  readonly port?: number;
  readonly commandDigest?: string;
}

export interface DeathProof {
  /** Proved dead, and nothing left of their instances and commands. */
  readonly dead: readonly string[];
  readonly alive: readonly { readonly agentId: string; readonly pid: number }[];
  /** Neither: whoever wants their place waits for the lease. */
  readonly unproved: readonly { readonly agentId: string; readonly reason: string }[];
}

const orphanLimitMs = 5_000;

/** Replaces the agent's record, so that a reader finds the old one or the new one, also after a power cut. */
export async function writeRecord(stateDir: string, instance: string, record: AgentRecord): Promise<void> {
  const folder = folderOf(stateDir, instance);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, fileName(record.agentId));
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    await writeThrough(temporary, JSON.stringify(record));
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** For an agent that has ended properly, and for the records of the dead once their place is taken. */
export async function removeRecord(stateDir: string, instance: string, agentId: string): Promise<void> {
  await rm(join(folderOf(stateDir, instance), fileName(agentId)), { force: true });
}

/** Looks at every record of the instance; kills the orphans of dead agents and waits until they are gone. */
export async function proveDeaths(
  stateDir: string,
  instance: string,
  options: { log?: Log } = {},
): Promise<DeathProof> {
  const log = options.log ?? silentLog;
  const records = await readRecords(folderOf(stateDir, instance), log);
  const proof = {
    dead: [] as string[],
    alive: [] as { agentId: string; pid: number }[],
    unproved: [] as { agentId: string; reason: string }[],
  };
  for (const record of records) {
    const { agentId } = record;
    const agent = isAlive(record.agent);
    if (agent === 'alive') {
      proof.alive.push({ agentId, pid: record.agent.pid });
    } else if (agent === 'unknown') {
      proof.unproved.push({ agentId, reason: 'its process cannot be seen from here' });
    } else {
      const left = await endOrphans(record, log);
      if (left === undefined) proof.dead.push(agentId);
      else proof.unproved.push({ agentId, reason: left });
    }
  }
  return proof;
}

/** Undefined once nothing of what the dead agent started is left; else why that cannot be said. */
async function endOrphans(record: AgentRecord, log: Log): Promise<string | undefined> {
  const groups = [
    ...(record.processGroup ? [{ what: 'its instance', leader: record.processGroup }] : []),
    ...(record.commandGroups ?? []).map((leader) => ({ what: 'a command of it', leader })),
  ].map((group) => ({ ...group, is: groupOf(group.leader, isAlive(group.leader)) }));

  // All are signalled before any is waited for: nobody works on while another takes its time to die.
  const orphans = groups.filter(({ is }) => is === 'ours');
  for (const { what, leader } of orphans) {
    log.warn({ agentId: record.agentId, processGroup: leader.pid }, `killing ${what}: the agent is dead`);
    signalGroup(leader.pid, 'SIGKILL');
  }
  const gone = await Promise.all(orphans.map(({ leader }) => groupGone(leader.pid, orphanLimitMs)));
  const left = orphans.find((_, index) => !gone[index]);
  if (left) return `${left.what} (process group ${left.leader.pid}) was killed and is not gone`;
  const hidden = groups.find(({ is }) => is === 'unknown');
  return hidden && `the processes of ${hidden.what} cannot be seen from here`;
}

function groupOf(leader: ProcessIdentity, leaderIs: ReturnType<typeof isAlive>): 'ours' | 'gone' | 'unknown' {
  if (leaderIs === 'alive') return 'ours';
  if (leaderIs === 'unknown') return 'unknown';
  return belongsTo(leader, livingMembers(leader.pid)) ? 'ours' : 'gone';
}

async function readRecords(folder: string, log: Log): Promise<AgentRecord[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const records: AgentRecord[] = [];
  for (const name of names.filter((candidate) => candidate.endsWith('.json')).sort()) {
    try {
      const record: unknown = JSON.parse(await readFile(join(folder, name), 'utf8'));
      if (!isRecord(record) || fileName(record.agentId) !== name) throw new Error('it is no agent record');
      records.push(record);
    } catch (error) {
      // Removed since the folder was read: its agent ended properly.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      log.warn(
        { file: join(folder, name), error: String(error) },
        'an agent record cannot be read; it proves nothing',
      );
    }
  }
  return records;
}

function isRecord(value: unknown): value is AgentRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { agentId, agent, processGroup, commandGroups = [] } = value as Record<string, unknown>;
  if (typeof agentId !== 'string' || !isIdentity(agent) || !Array.isArray(commandGroups)) return false;
  return (processGroup === undefined || isLeader(processGroup)) && commandGroups.every(isLeader);
}

/** Group 1 would be everybody. */
const isLeader = (value: unknown): boolean => isIdentity(value) && value.pid > 1;

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, ...texts } = value as Record<string, unknown>;
  const complete = ['startedAt', 'machine', 'bootId', 'pidNamespace'].every(
    (key) => typeof texts[key] === 'string',
  );
  return complete && Number.isSafeInteger(pid) && (pid as number) > 0;
}

const folderOf = (stateDir: string, instance: string): string =>
  join(stateDir, 'agents', asFileName(instance, 'instance'));

const fileName = (agentId: string): string => `${asFileName(agentId, 'agent id')}.json`;

/** Names become parts of a path and must not lead out of it. */
function asFileName(name: string, what: string): string {
  if (/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/.test(name)) return name;
  throw new HoldfastError('INSTANCE_UNKNOWN', `${JSON.stringify(name)} cannot be the name of an ${what}.`, {
    remedy: 'Use letters, digits, dots, dashes and underscores.',
  });
}

async function writeThrough(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
