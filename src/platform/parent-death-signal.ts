/**
 * `setpriv --pdeathsig KILL command`: on Linux the kernel then kills that one process when the thread that
 * started it ends. It is the second line behind dead-mans-handle.ts, which tells why it cannot be the only one.
 * It is tied to a thread and not to a process: agents that start instances run on a main thread.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const prefix = ['setpriv', '--pdeathsig', 'KILL', '--'] as const;

let found: Promise<readonly string[]> | undefined;

/** What to put before a command; nothing where the system has no such tool (or one that cannot do this). */
export function parentDeathSignalPrefix(): Promise<readonly string[]> {
  found ??= process.platform === 'linux' ? probe() : Promise.resolve([]);
  return found;
}

async function probe(): Promise<readonly string[]> {
  const [tool, ...options] = prefix;
  try {
    await promisify(execFile)(tool, [...options, '/bin/sh', '-c', ':'], { timeout: 5_000 });
    return prefix;
  } catch {
    // Not installed, or the small one of busybox: the dead man's handle is enough.
    return [];
  }
}
