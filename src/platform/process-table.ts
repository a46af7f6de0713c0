/**
 * What the operating system says of processes: one at a time, or all of them. On Linux this is /proc, elsewhere
 * `ps`. `kill(pid, 0)` alone cannot tell what we need to know: it finds a zombie as alive as a worker, and a
 * container whose first process does not reap keeps its zombies for ever.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  /** undefined where the system does not tell. */
  readonly sessionId: number | undefined;
  /** Dead and not yet waited for. */
  readonly zombie: boolean;
  /** The moment of its start in the system's own notation: clock ticks since boot, or the date that ps prints. */
  readonly startedAt: string;
}

const hasProc = process.platform === 'linux';

/** The entry of one process, or undefined when there is none that we are allowed to see. */
export function findProcess(pid: number): ProcessEntry | undefined {
  return hasProc ? readStat(pid) : listWithPs(['-p', String(pid)])[0];
}

export function listProcesses(): ProcessEntry[] {
  if (!hasProc) return listWithPs(['-A']);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((entry) => entry !== undefined);
}

/**
 * One line of /proc/<pid>/stat. The second field is the program's name in parentheses; it may itself contain
 * spaces, parentheses and newlines, so the fields are counted from the last closing parenthesis.
 */
export function parseStat(text: string): ProcessEntry | undefined {
  const nameEnd = text.lastIndexOf(')');
  const fields = text
    .slice(nameEnd + 1)
    .trim()
    .split(' ');
  const [state, parentPid, groupId, sessionId] = fields;
  const startedAt = fields[19];
  const pid = Number.parseInt(text, 10);
  if (nameEnd < 0 || !Number.isInteger(pid) || state === undefined || startedAt === undefined)
    return undefined;
  return {
    pid,
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: Number(sessionId),
    zombie: state === 'Z' || state === 'X',
    startedAt,
  };
}

/** One line of `ps -o pid=,ppid=,pgid=,stat=,lstart=`. */
export function parsePsLine(line: string): ProcessEntry | undefined {
  const [pid, parentPid, groupId, state, ...started] = line.trim().split(/\s+/);
  if (pid === undefined || state === undefined || started.length === 0) return undefined;
  return {
    pid: Number(pid),
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: undefined,
    zombie: state.startsWith('Z'),
    startedAt: started.join(' '),
  };
}

function readStat(pid: number): ProcessEntry | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch (error) {
    // Gone, or hidden from us by the mount's options. Anything else (no file descriptor left) must not pass
    // for a death.
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
    throw error;
  }
}

function listWithPs(selection: readonly string[]): ProcessEntry[] {
  const { stdout, error } = spawnSync('ps', [...selection, '-o', 'pid=,ppid=,pgid=,stat=,lstart='], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C' },
  });
  if (error) throw error;
  return stdout
    .split('\n')
    .map(parsePsLine)
    .filter((entry) => entry !== undefined);
}
