/**
 * The instance never outlives its agent, and this is what sees to it: a tiny shell beside the instance whose
 * standard input is a pipe that only the agent holds. However the agent ends — `kill -9`, out of memory, a
 * defect — the kernel closes the pipe; the shell's `read` returns and it kills the whole process group.
 *
 * Why not the kernel's own parent death signal alone (`setpriv --pdeathsig`)? It belongs to one process and is
 * not inherited by what that process forks. The command runs under `sh -c`, and a shell that forks (`a && b`,
 * `node x & wait`, a start script) is all that would die: the application itself would live on, without an
 * agent, without a lease, and hold the port. It is also Linux only. It is still used, in parent-death-signal.ts,
 * for it works even where the handle was killed too.
 *
 * The shell is a session of its own, so neither a signal to the agent's group nor one to the instance's reaches
 * it, and it ignores the signals that end a session. It does not write to disk, knows no path and uses nothing
 * but builtins. Killed all the same, it is replaced at once. Node opens its end of the pipe close-on-exec, so no
 * other child can hold it open past the agent's death.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../support/log.ts';

export interface DeadMansHandle {
  /** Lets go: the group is gone, and nobody is to be killed any more. */
  release(): void;
}

/** PIPE too: when the agent is already dead, even saying `holding` must not end the shell. */
const script = `trap '' HUP INT QUIT TERM PIPE
echo holding
while read -r _; do :; done
kill -KILL "-$1"`;

type HandleProcess = ChildProcessByStdio<Writable, Readable, null>;

/** Resolves once the shell is there and waits: from then on the group cannot outlive this process. */
export async function holdGroup(groupId: number, log: Log): Promise<DeadMansHandle> {
  let released = false;
  let current: HandleProcess | undefined;

  const hold = async (): Promise<void> => {
    const shell = startShell(groupId);
    current = shell;
    await holding(shell);
    shell.once('exit', () => {
      if (!released) void replace();
    });
  };
  const replace = async (): Promise<void> => {
    log.warn({ processGroup: groupId }, "the dead man's handle of the instance ended and is replaced");
    for (let pauseMs = 100; !released; pauseMs = Math.min(pauseMs * 2, 5_000)) {
      try {
        return await hold();
      } catch (error) {
        if (released) return;
        log.error({ processGroup: groupId, error: String(error) }, "no dead man's handle; trying again");
        await sleep(pauseMs);
      }
    }
  };
  const release = (): void => {
    released = true;
    current?.kill('SIGKILL');
  };

  try {
    await hold();
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}

function startShell(groupId: number): HandleProcess {
  return spawn('/bin/sh', ['-c', script, 'holdfast-dead-mans-handle', String(groupId)], {
    detached: true,
    cwd: '/',
    env: {},
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

function holding(shell: HandleProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    // Nothing is ever written to it; an error here is the shell's end, which `exit` tells.
    shell.stdin.on('error', () => undefined);
    shell.stdout.on('error', () => undefined);
    shell.stdout.once('data', () => resolve());
    shell.once('error', reject);
    shell.once('exit', () => reject(new Error('the shell ended before it held the process group')));
  });
}
