/**
 * A command that an event runs. It is held and recorded like an instance (held-group.ts), and beyond that it may
 * live only as long as its agent keeps allowing it: the agent says `allowFor` whenever it has proved its lease.
 * An agent that is frozen says nothing, and its command is killed before another agent can take over, without
 * any part of the frozen one (P1, P4).
 *
 * Standard output and standard error are one pipe, as at a terminal, so what was printed stays in order. It is
 * read as fast as it comes and kept in part; a command never waits for a reader.
 */
import type { Log } from '../support/log.ts';
import { type GroupEnd, type HeldGroup, startHeldGroup } from './held-group.ts';
import { keepOutput, type OutputKeeper } from './output-keeper.ts';
import { type OutputReader, readLines } from './output-lines.ts';
import type { ExitReason, OutputLine } from './platform.ts';
import { inheritedEnvironment } from './shell-at-gate.ts';

export interface CommandOptions {
  /** For `/bin/sh -c`. What it leaves behind in its process group is killed when it ends. */
  readonly command: string;
  readonly directory: string;
  /** Added to what a command gets of the agent's own environment: all of it but the HOLDFAST_ variables. */
  readonly environment: Readonly<Record<string, string>>;
  readonly outputLimitBytes: number;
  /** The first `allowFor`, counted from the call of `startCommand`. */
  readonly allowForMs: number;
  /** Called with the group's number before the command runs, which it never does if this rejects. */
  readonly beforeRun?: (pid: number) => Promise<void>;
  /** Every line as it comes; both streams are one here and called `stdout`. Must not throw. */
  readonly onOutput?: (line: OutputLine) => void;
  readonly log: Log;
}

export interface CommandResult {
  readonly exit: ExitReason;
  /** Valid UTF-8 without zero characters: the beginning and the end where it was truncated. */
  readonly output: string;
  readonly truncated: boolean;
  /** Why it did not end by itself. */
  readonly killedBecause: string | undefined;
}

export interface CommandRun {
  /** Its process group has this number too. */
  readonly pid: number;
  /** Settles once no living member of its process group is left. Never rejects. */
  readonly finished: Promise<CommandResult>;
  /**
   * SIGTERM to the group, SIGKILL after the grace; at once when that is 0. Of several calls, the first reason
   * and the earliest end count.
   */
  stop(options: { readonly because: string; readonly graceMs: number }): void;
  /** The group may live for this long from now, even if this process says nothing more. */
  allowFor(ms: number): void;
}

export async function startCommand(options: CommandOptions): Promise<CommandRun> {
  const { command, directory, allowForMs, log, onOutput = () => undefined } = options;
  const limitAtMs = performance.now() + allowForMs;
  const group = await startHeldGroup({
    command,
    directory,
    environment: { ...inheritedEnvironment(process.env), ...options.environment },
    output: 'merged',
    allowForMs,
    beforeRun: async (pid) => options.beforeRun?.(pid),
    log,
  });
  const keeper = keepOutput(options.outputLimitBytes);
  group.stdout.on('data', (bytes: Buffer) => keeper.push(bytes));
  const reader = readLines('stdout', group.stdout, onOutput);
  const run = new HeldCommand(group, { keeper, reader, limitAtMs, log });
  group.run();
  return run;
}

interface CommandParts {
  readonly keeper: OutputKeeper;
  readonly reader: OutputReader;
  readonly limitAtMs: number;
  readonly log: Log;
}

class HeldCommand implements CommandRun {
  readonly pid: number;
  readonly finished: Promise<CommandResult>;
  readonly #group: HeldGroup;
  readonly #log: Log;
  #limitAtMs: number;
  #stopped: { readonly because: string; readonly atMs: number } | undefined;
  #ended = false;

  constructor(group: HeldGroup, { keeper, reader, limitAtMs, log }: CommandParts) {
    this.pid = group.pid;
    this.#group = group;
    this.#limitAtMs = limitAtMs;
    this.#log = log;
    this.finished = this.#watch(keeper, reader);
  }

  stop({ because, graceMs }: { readonly because: string; readonly graceMs: number }): void {
    if (this.#ended) return;
    this.#stopped ??= { because, atMs: performance.now() };
    this.#group.stop(graceMs);
  }

  allowFor(ms: number): void {
    const nowMs = performance.now();
    this.#group.allowFor(ms);
    if (nowMs < this.#limitAtMs) this.#limitAtMs = nowMs + Math.max(ms, 0);
  }

  async #watch(keeper: OutputKeeper, reader: OutputReader): Promise<CommandResult> {
    const end = await this.#group.ended;
    this.#ended = true;
    await reader.finish();
    const killedBecause = this.#killedBecause(end);
    if (killedBecause !== undefined) {
      this.#log.warn({ processGroup: this.pid, because: killedBecause }, 'a command was stopped');
    }
    return { exit: end.exit, ...keeper.end(), killedBecause };
  }

  /** An agent that wakes from a freeze may ask for what the handle has done meanwhile; what came first counts. */
  #killedBecause({ exit, limitPassed }: GroupEnd): string | undefined {
    const limitWasFirst = this.#stopped === undefined || this.#stopped.atMs >= this.#limitAtMs;
    if (limitPassed && exit.signal === 'SIGKILL' && limitWasFirst)
      return 'its agent did not allow it more time before its limit passed; the agent may have been frozen';
    return this.#stopped?.because;
  }
}
