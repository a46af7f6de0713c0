/**
 * The `process` platform: the application is a command, and its life is the life of a process group.
 *
 * Order is everything here, because the agent may be killed between any two steps:
 *   1. a shell is started in a new session and process group, with standard input closed. It does not run the
 *      command; it waits at a gate, a pipe from the agent, and ends if the agent's end closes;
 *   2. the dead man's handle takes hold of the group;
 *   3. `beforeRun`: the agent writes down which process this is;
 *   4. the gate opens and the shell becomes `sh -c <command>` in the same process.
 * So there is no moment in which the application runs and is neither held nor recorded.
 *
 * The environment of the instance is the agent's own (PATH, HOME, LANG, proxies, what the service manager set),
 * without any HOLDFAST_ variable, because those are the agent's: the arbiter's address with its password, for
 * one. To that comes what is given at the start, and PORT.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import { silentLog } from '../support/log.ts';
import { type DeadMansHandle, holdGroup } from './dead-mans-handle.ts';
import { exitReason } from './exit-reason.ts';
import { type OutputReader, readLines } from './output-lines.ts';
import { discardPipe, openOutputPipes } from './output-pipe.ts';
import { parentDeathSignalPrefix } from './parent-death-signal.ts';
import type { ExitReason, Platform, RunningInstance, StartSpec } from './platform.ts';
import { groupGone, signalGroup } from './process-group.ts';

export interface ProcessPlatformOptions {
  /** For `/bin/sh -c`. It must stay in the foreground. */
  readonly command: string;
  readonly directory: string;
  readonly log?: Log;
}

const gateScript = 'read -r go <&3 || exit 125; exec 3<&-; exec /bin/sh -c "$1"';
const gateDescriptor = 3;

export function processPlatform(options: ProcessPlatformOptions): Platform {
  const log = options.log ?? silentLog;
  return {
    async start(spec) {
      const waiting = await startAtGate(options, spec);
      let handle: DeadMansHandle | undefined;
      try {
        handle = await holdGroup(waiting.pid, log);
        await spec.beforeRun?.(waiting.pid);
      } catch (error) {
        signalGroup(waiting.pid, 'SIGKILL');
        await groupGone(waiting.pid);
        handle?.release();
        await finishAll(waiting.readers);
        throw error;
      }
      const instance = new ProcessInstance(waiting, handle, spec);
      waiting.openGate();
      return instance;
    },
  };
}

/** The agent's environment without what is the agent's alone, then what is given. */
export function instanceEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  spec: Pick<StartSpec, 'environment' | 'address'>,
): Record<string, string> {
  const inherited = Object.entries(own).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('HOLDFAST_'),
  );
  return { ...Object.fromEntries(inherited), ...spec.environment, PORT: String(spec.address.port) };
}

interface ShellAtGate {
  readonly pid: number;
  readonly readers: readonly OutputReader[];
  /** What `wait` said of the shell, or of the command that it became. */
  readonly leaderExit: Promise<ExitReason>;
  openGate(): void;
}

async function startAtGate(options: ProcessPlatformOptions, spec: StartSpec): Promise<ShellAtGate> {
  const [program = '/bin/sh', ...before] = [...(await parentDeathSignalPrefix()), '/bin/sh'];
  const pipes = await openOutputPipes(['stdout', 'stderr']).catch((cause) => {
    throw cannotStart(options, cause);
  });
  const child = spawn(program, [...before, '-c', gateScript, 'sh', options.command], {
    cwd: options.directory,
    env: instanceEnvironment(process.env, spec),
    detached: true,
    stdio: ['ignore', pipes.stdout.writeEnd, pipes.stderr.writeEnd, 'pipe'],
  });
  const leaderExit = new Promise<ExitReason>((resolve) => {
    child.once('exit', (code, signal) => resolve(exitReason(code, signal)));
  });
  try {
    await spawned(child);
  } catch (cause) {
    Object.values(pipes).forEach(discardPipe);
    throw cannotStart(options, cause);
  }
  closeSync(pipes.stdout.writeEnd);
  closeSync(pipes.stderr.writeEnd);
  const gate = child.stdio[gateDescriptor] as NodeJS.WritableStream;
  // A shell that is gone cannot be let through; its exit tells of it.
  gate.on('error', () => undefined);
  return {
    pid: child.pid as number,
    readers: [
      readLines('stdout', pipes.stdout.readable, spec.onOutput),
      readLines('stderr', pipes.stderr.readable, spec.onOutput),
    ],
    leaderExit,
    openGate: () => gate.end('go\n'),
  };
}

class ProcessInstance implements RunningInstance {
  readonly pid: number;
  readonly address: StartSpec['address'];
  readonly exited: Promise<ExitReason>;
  #stopping = false;
  #gone = false;

  constructor(shell: ShellAtGate, handle: DeadMansHandle, spec: StartSpec) {
    this.pid = shell.pid;
    this.address = spec.address;
    this.exited = this.#watch(shell, handle);
  }

  async stop({ killAfterMs }: { killAfterMs: number }): Promise<ExitReason> {
    this.#stopping = true;
    this.#signal('SIGTERM');
    // A frozen process does not see SIGTERM before it is thawed.
    this.#signal('SIGCONT');
    const limit = setTimeout(() => this.kill(), killAfterMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(limit);
    }
  }

  kill(): void {
    this.#signal('SIGKILL');
  }

  async #watch(shell: ShellAtGate, handle: DeadMansHandle): Promise<ExitReason> {
    const reason = await shell.leaderExit;
    // A leader that ended by itself leaves nobody who answers for the others. One that was asked to stop may be
    // only the shell around an application that is still finishing its work: that has until the limit.
    if (!this.#stopping) this.kill();
    await groupGone(this.pid);
    this.#gone = true;
    handle.release();
    await finishAll(shell.readers);
    return reason;
  }

  /** Never once the group is gone: its number may be another's by then. */
  #signal(signal: NodeJS.Signals): void {
    if (!this.#gone) signalGroup(this.pid, signal);
  }
}

async function finishAll(readers: readonly OutputReader[]): Promise<void> {
  await Promise.all(readers.map((reader) => reader.finish()));
}

function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
}

function cannotStart(options: ProcessPlatformOptions, cause: unknown): HoldfastError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError('COMMAND_FAILED', `No process can be started in ${options.directory}: ${why}`, {
    cause,
    remedy: 'See that the directory exists, that this user may enter it, and that /bin/sh is there.',
  });
}
