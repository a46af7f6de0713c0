/**
 * A process group as one thing: signalled whole, gone when its last living member is gone. A signal to a group
 * reaches all members in one step of the kernel, a child that is being forked included, and SIGKILL reaches a
 * frozen one too; nobody can slip out between two members. A process that leaves the group (`setsid`, a daemon
 * of its own) is out of reach: applications are to be started in the foreground.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { listProcesses, type ProcessEntry } from './process-table.ts';

/** false when there was nobody to signal. */
export function signalGroup(groupId: number, signal: NodeJS.Signals): boolean {
  assertGroupId(groupId);
  try {
    process.kill(-groupId, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    // Not allowed: somebody is there, and stays. Whoever waits for the group's end will see that.
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return true;
    throw error;
  }
}

/** The members that are not zombies, as far as they can be seen. */
export function livingMembers(groupId: number): ProcessEntry[] {
  return membersOf(groupId).filter(({ zombie }) => !zombie);
}

/** Waits until no living member is left; false when the limit came first. */
export async function groupGone(groupId: number, limitMs = Number.POSITIVE_INFINITY): Promise<boolean> {
  const start = performance.now();
  // No event tells of the end of a process that is not our child. The first looks come quickly, because most
  // groups go at once; later ones are rare, because each reads the whole process table.
  for (let pauseMs = 5; !hasEnded(groupId); pauseMs = Math.min(pauseMs * 2, 100)) {
    if (performance.now() - start >= limitMs) return false;
    await sleep(pauseMs);
  }
  return true;
}

/**
 * Of a leader that is dead: are these the members of its group, or of a later one with the same number? A number
 * is not given to a new process while a group or session bears it; so if another process has the leader's
 * number, the old group ended before. If nobody has it, the members are its orphans, unless they began before
 * the leader did or are in a session that it did not found.
 */
export function belongsTo(
  leader: Pick<ProcessEntry, 'pid' | 'startedAt'>,
  members: readonly ProcessEntry[],
): boolean {
  const [member] = members;
  if (member === undefined) return false;
  if (members.some(({ pid }) => pid === leader.pid)) return false;
  // Where the system names no sessions, its moments of start are no numbers either.
  if (member.sessionId === undefined) return true;
  return member.sessionId === leader.pid && Number(member.startedAt) >= Number(leader.startedAt);
}

/** Only what proves the end counts: a look that fails, and a group whose members are hidden, are no end. */
function hasEnded(groupId: number): boolean {
  if (!groupExists(groupId)) return true;
  try {
    const members = membersOf(groupId);
    return members.length > 0 && members.every(({ zombie }) => zombie);
  } catch {
    // The process table could not be read just now; the next look may succeed.
    return false;
  }
}

function membersOf(groupId: number): ProcessEntry[] {
  return groupExists(groupId) ? listProcesses().filter((entry) => entry.groupId === groupId) : [];
}

function groupExists(groupId: number): boolean {
  assertGroupId(groupId);
  try {
    process.kill(-groupId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** -0 is our own group and -1 everybody: a slip in a number must not become a massacre. */
function assertGroupId(groupId: number): void {
  if (!Number.isSafeInteger(groupId) || groupId <= 1) throw new RangeError(`no process group: ${groupId}`);
}
