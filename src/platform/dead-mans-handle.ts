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
 * An agent that is frozen is worse than a dead one: its pipe stays open, its lease runs out, and what it started
 * works on beside the one that took over. So the group of a command is given a limit, which the agent moves on
 * as long as it can prove its lease: a line with the seconds that are left. For each the shell starts a sleeper
 * that kills the group, and ends the sleeper before it. A limit that has passed is not moved any more. A sleeper
 * that cannot sleep kills at once: without a limit the group must not run on. What it cannot see is a machine
 * that was suspended, for its clock stood still; the agent that wakes with it compares wall clocks.
 *
 * The shell is a session of its own, so neither a signal to the agent's group nor one to the instance's reaches
 * it, and it ignores the signals that end a session. It does not write to disk and needs no program but `sleep`.
 * Killed all the same, it is replaced at once, and its sleeper keeps the limit until the new one does. Node
 * opens its end of the pipe close-on-exec, so no other child can hold it open past the agent's death.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../support/log.ts';
import { belongsTo, livingMembers, signalGroup } from './process-group.ts';

export interface DeadMansHandle {
  /**
   * The group may live for this long from now, and is killed then even if this process can do nothing. Each call
   * replaces the limit of the one before, unless that has passed. Never called: no limit.
   */
  allowFor(ms: number): void;
  /**
   * Lets go, at once: the group is gone, and nobody is to be killed any more. Resolves when nothing of the
   * handle can act any more, with whether it was the limit that ended the group.
   */
  release(): Promise<{ readonly limitPassed: boolean }>;
}

/**
 * PIPE too: when the agent is already dead, even saying `holding` must not end the shell. `$!` of a sleeper is
 * its `sleep` only once that was started, hence the two traps. A sleeper that was ended is waited for one line
 * later, when that cannot take time: no zombie is left to a first process that may not reap, and `read` is never
 * late. At the end the whole group of the handle goes, its sleepers included.
 */
const script = `trap '' HUP INT QUIT TERM PIPE
group=$1
endSleep() { trap - EXIT; kill -KILL "$!"; wait "$!"; exit; }
limit() {
  trap 'trap "" USR1; echo passed; kill -KILL "-$group"' EXIT
  trap 'ended=yes' USR1
  ended=
  sleep "$1" &
  trap endSleep USR1
  [ -z "$ended" ] || endSleep
  wait "$!"
  exit
}
sleeper=
previous=
echo holding
while read -r seconds; do
  [ -z "$previous" ] || wait "$previous"
  previous=$sleeper
  limit "$seconds" &
  sleeper=$!
  [ -z "$previous" ] || kill -USR1 "$previous"
done
kill -KILL "-$group"
kill -KILL 0`;

/** Killed processes close what they held at once; this is for a system that is too busy to see to it. */
const releaseLimitMs = 2_000;

type HandleProcess = ChildProcessByStdio<Writable, Readable, null>;

/** Resolves once the shell is there and waits: from then on the group cannot outlive this process. */
export async function holdGroup(groupId: number, log: Log): Promise<DeadMansHandle> {
  const handle = new Handle(groupId, log);
  try {
    await handle.hold();
  } catch (error) {
    await handle.release();
    throw error;
  }
  return handle;
}

class Handle implements DeadMansHandle {
  readonly #groupId: number;
  readonly #log: Log;
  /** Those of which something may be left: the shell or a sleeper, which both hold the shell's output open. */
  readonly #shells = new Set<HandleProcess>();
  #current: HandleProcess | undefined;
  #limitAtMs: number | undefined;
  #limitPassed = false;
  #released = false;

  constructor(groupId: number, log: Log) {
    this.#groupId = groupId;
    this.#log = log;
  }

  async hold(): Promise<void> {
    const shell = startShell(this.#groupId);
    this.#shells.add(shell);
    shell.stdout.once('close', () => this.#shells.delete(shell));
    await this.#holding(shell);
    this.#current = shell;
    this.#tellLimit();
    this.#end([...this.#shells].filter((other) => other !== shell));
    shell.once('exit', () => {
      if (!this.#released) void this.#replace();
    });
  }

  allowFor(ms: number): void {
    if (!Number.isFinite(ms)) throw new RangeError(`no time that a process group may live: ${ms}`);
    const nowMs = performance.now();
    if (this.#released || nowMs >= (this.#limitAtMs ?? Number.POSITIVE_INFINITY)) return;
    this.#limitAtMs = nowMs + Math.max(ms, 0);
    this.#tellLimit();
  }

  async release(): Promise<{ readonly limitPassed: boolean }> {
    this.#released = true;
    const left = [...this.#shells];
    this.#end(left);
    const limit = AbortSignal.timeout(releaseLimitMs);
    await Promise.all(left.map((shell) => closed(shell, limit)));
    return { limitPassed: this.#limitPassed };
  }

  async #replace(): Promise<void> {
    const fields = { processGroup: this.#groupId };
    this.#log.warn(fields, "the dead man's handle of a process group ended and is replaced");
    for (let pauseMs = 100; !this.#released; pauseMs = Math.min(pauseMs * 2, 5_000)) {
      try {
        return await this.hold();
      } catch (error) {
        if (this.#released) return;
        this.#log.error({ ...fields, error: String(error) }, "no dead man's handle; trying again");
        await sleep(pauseMs);
      }
    }
  }

  /** A shell that is gone does not hear it; the one that replaces it is told again. */
  #tellLimit(): void {
    if (this.#limitAtMs === undefined || !this.#current?.stdin.writable) return;
    const leftMs = Math.max(Math.ceil(this.#limitAtMs - performance.now()), 0);
    this.#current.stdin.write(`${(leftMs / 1000).toFixed(3)}\n`);
  }

  #end(shells: readonly HandleProcess[]): void {
    for (const shell of shells) {
      try {
        endShell(shell);
      } catch (error) {
        this.#log.error(
          { processGroup: this.#groupId, error: String(error) },
          "what is left of a dead man's handle cannot be looked for",
        );
      }
    }
  }

  #holding(shell: HandleProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      // An error here is the shell's end, which `exit` tells.
      shell.stdin.on('error', () => undefined);
      shell.stdout.on('error', () => undefined);
      shell.stdout.setEncoding('latin1').on('data', (words: string) => {
        if (words.includes('passed')) this.#limitPassed = true;
        resolve();
      });
      shell.once('error', reject);
      shell.once('exit', () => reject(new Error('the shell ended before it held the process group')));
    });
  }
}

function startShell(groupId: number): HandleProcess {
  return spawn('/bin/sh', ['-c', script, 'holdfast-dead-mans-handle', String(groupId)], {
    detached: true,
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

/** Ends the shell with its sleepers; of a shell that is gone, only what is proved to be a sleeper of its. */
function endShell(shell: HandleProcess): void {
  const { pid, exitCode, signalCode } = shell;
  if (pid === undefined) return;
  const running = exitCode === null && signalCode === null;
  if (running || belongsTo({ pid, startedAt: '0' }, livingMembers(pid))) signalGroup(pid, 'SIGKILL');
}

function closed(shell: HandleProcess, limit: AbortSignal): Promise<void> {
  if (shell.stdout.closed) return Promise.resolve();
  return new Promise((resolve) => {
    shell.stdout.once('close', () => resolve());
    limit.addEventListener('abort', () => resolve(), { once: true });
  });
}
