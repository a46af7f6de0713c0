/**
 * A command as the agent runs it, be it an application or an event's: its life is the life of a process group.
 *
 * Order is everything here, because the agent may be killed between any two steps:
 *   1. a shell is started that does not run the command yet but waits at a gate, and ends if the agent does;
 *   2. the dead man's handle takes hold of its group, with the time that the group may live, if there is one;
 *   3. `beforeRun`: the agent writes down which process this is;
 *   4. the gate opens and the shell becomes the command in the same process.
 * So there is no moment in which the command runs and is neither held nor recorded.
 */
import type { Readable } from 'node:stream';
import type { Log } from '../support/log.ts';
import { type DeadMansHandle, holdGroup } from './dead-mans-handle.ts';
import type { ExitReason } from './platform.ts';
import { groupGone, signalGroup } from './process-group.ts';
import { type ShellAtGate, type ShellCommand, startAtGate } from './shell-at-gate.ts';

export interface HeldGroupOptions extends ShellCommand {
  /** From the call on, the steps before the command runs included. Undefined: no limit, as long as this lives. */
  readonly allowForMs?: number;
  readonly beforeRun?: ((pid: number) => Promise<void>) | undefined;
  readonly log: Log;
}

export interface GroupEnd {
  readonly exit: ExitReason;
  /** The handle killed the group, because nobody had moved its limit. */
  readonly limitPassed: boolean;
}

/** The command runs only when the caller, having seen to the output, says `run()`. */
export async function startHeldGroup(options: HeldGroupOptions): Promise<HeldGroup> {
  const startMs = performance.now();
  const shell = await startAtGate(options);
  let handle: DeadMansHandle | undefined;
  try {
    handle = await holdGroup(shell.pid, options.log);
    const limitAtMs = startMs + (options.allowForMs ?? Number.POSITIVE_INFINITY);
    if (limitAtMs !== Number.POSITIVE_INFINITY) handle.allowFor(limitAtMs - performance.now());
    await options.beforeRun?.(shell.pid);
    return new HeldGroup(shell, handle, limitAtMs);
  } catch (error) {
    signalGroup(shell.pid, 'SIGKILL');
    await groupGone(shell.pid);
    await handle?.release();
    shell.stdout.destroy();
    shell.stderr.destroy();
    throw error;
  }
}

export class HeldGroup {
  readonly pid: number;
  /** The same one twice where the output is merged. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves once no living member is left. Never rejects. */
  readonly ended: Promise<GroupEnd>;
  readonly #shell: ShellAtGate;
  readonly #handle: DeadMansHandle;
  readonly #firstLimitAtMs: number;
  #stopping = false;
  #killTimer: { readonly atMs: number; readonly timer: NodeJS.Timeout } | undefined;
  #gone = false;

  constructor(shell: ShellAtGate, handle: DeadMansHandle, firstLimitAtMs: number) {
    this.pid = shell.pid;
    this.stdout = shell.stdout;
    this.stderr = shell.stderr;
    this.#shell = shell;
    this.#handle = handle;
    this.#firstLimitAtMs = firstLimitAtMs;
    this.ended = this.#watch();
  }

  run(): void {
    // Past the limit the handle is killing the shell, which must not get ahead of it.
    if (performance.now() < this.#firstLimitAtMs) this.#shell.openGate();
  }

  /** Asks the group to end and kills it after the limit. Asked again, the earlier limit counts. */
  stop(killAfterMs: number): void {
    if (this.#gone) return;
    this.#stopping = true;
    if (killAfterMs <= 0) {
      this.kill();
      return;
    }
    this.#signal('SIGTERM');
    // A frozen process does not see SIGTERM before it is thawed.
    this.#signal('SIGCONT');
    const atMs = performance.now() + killAfterMs;
    if (this.#killTimer && this.#killTimer.atMs <= atMs) return;
    clearTimeout(this.#killTimer?.timer);
    this.#killTimer = { atMs, timer: setTimeout(() => this.kill(), killAfterMs) };
  }

  kill(): void {
    this.#signal('SIGKILL');
  }

  allowFor(ms: number): void {
    this.#handle.allowFor(ms);
  }

  async #watch(): Promise<GroupEnd> {
    const exit = await this.#shell.leaderExit;
    // A leader that ended by itself leaves nobody who answers for the others. One that was asked to stop may be
    // only the shell around a program that is still finishing its work: that has until the limit.
    if (!this.#stopping) this.kill();
    await groupGone(this.pid);
    this.#gone = true;
    clearTimeout(this.#killTimer?.timer);
    return { exit, ...(await this.#handle.release()) };
  }

  /** Never once the group is gone: its number may be another's by then. */
  #signal(signal: NodeJS.Signals): void {
    if (!this.#gone) signalGroup(this.pid, signal);
  }
}
