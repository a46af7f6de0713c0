/**
 * A shell in a session and process group of its own, with standard input closed, that does not yet run its
 * command: it waits at a gate, a pipe from this process, and ends if this end of the pipe closes. Once the gate
 * opens it becomes `sh -c <command>` in the same process.
 *
 * The environment is the agent's own (PATH, HOME, LANG, proxies, what the service manager set), without any
 * HOLDFAST_ variable, because those are the agent's: the arbiter's address with its password, for one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { HoldfastError } from '../support/errors.ts';
import { exitReason } from './exit-reason.ts';
import { discardPipe, openOutputPipes } from './output-pipe.ts';
import { parentDeathSignalPrefix } from './parent-death-signal.ts';
import type { ExitReason } from './platform.ts';

export interface ShellCommand {
  /** For `/bin/sh -c`. */
  readonly command: string;
  readonly directory: string;
  /** Whole: nothing is inherited beside it. */
  readonly environment: Readonly<Record<string, string>>;
  /** A pipe for each stream, or one for both: only then is the order of what is written to both kept. */
  readonly output: 'separate' | 'merged';
}

export interface ShellAtGate {
  readonly pid: number;
  /** The same one twice where the output is merged. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** What `wait` said of the shell, or of the command that it became. */
  readonly leaderExit: Promise<ExitReason>;
  openGate(): void;
}

const gateScript = 'read -r go <&3 || exit 125; exec 3<&-; exec /bin/sh -c "$1"';
const gateDescriptor = 3;

/** The agent's environment without what is the agent's alone. */
export function inheritedEnvironment(
  own: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const inherited = Object.entries(own).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('HOLDFAST_'),
  );
  return Object.fromEntries(inherited);
}

export async function startAtGate(options: ShellCommand): Promise<ShellAtGate> {
  const [program = '/bin/sh', ...before] = [...(await parentDeathSignalPrefix()), '/bin/sh'];
  const pipes = await openOutputPipes(options.output === 'merged' ? ['stdout'] : ['stdout', 'stderr']).catch(
    (cause) => {
      throw cannotStart(options, cause);
    },
  );
  const { stdout, stderr = stdout } = pipes;
  const child = spawn(program, [...before, '-c', gateScript, 'sh', options.command], {
    cwd: options.directory,
    env: options.environment,
    detached: true,
    stdio: ['ignore', stdout.writeEnd, stderr.writeEnd, 'pipe'],
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
  for (const { writeEnd } of Object.values(pipes)) closeSync(writeEnd);
  const gate = child.stdio[gateDescriptor] as NodeJS.WritableStream;
  // A shell that is gone cannot be let through; its exit tells of it.
  gate.on('error', () => undefined);
  return {
    pid: child.pid as number,
    stdout: stdout.readable,
    stderr: stderr.readable,
    leaderExit,
    openGate: () => gate.end('go\n'),
  };
}

function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
}

function cannotStart(options: ShellCommand, cause: unknown): HoldfastError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError('COMMAND_FAILED', `No process can be started in ${options.directory}: ${why}`, {
    cause,
    remedy: 'See that the directory exists, that this user may enter it, and that /bin/sh is there.',
  });
}
