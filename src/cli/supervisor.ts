/**
 * `up` as a supervisor: keeps a part of Holdfast (an agent, the balancer) running as a process of its own, passes on
 * what it says, and starts it again when it ends. A part dies with its supervisor.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../database/clock.ts';
import { holdGroup, parentDeathSignalPrefix } from '../platform/index.ts';
import { decideRestart, noExits } from '../protocol/restart.ts';
import { silentLog } from '../support/log.ts';

export interface PartOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly directory: string;
  readonly logFile: string;
  /** A line that a person wants to see. */
  readonly notice: (text: string, level: 'info' | 'warn' | 'error') => void;
}

export interface Part {
  /** Asks it to end without a drain, kills it after the limit. */
  stop(limitMs: number): Promise<void>;
  kill(): void;
}

const program = fileURLToPath(
  new URL(`./main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

export function startPart(options: PartOptions): Part {
  const stopping = new AbortController();
  const logFile = createWriteStream(options.logFile, { flags: 'a', mode: 0o600 });
  let child: ChildProcess | undefined;
  let ended: Promise<string> = Promise.resolve('');

  async function start(): Promise<void> {
    const [command = '', ...args] = [
      ...(await parentDeathSignalPrefix()),
      process.execPath,
      program,
      ...options.args,
    ];
    // A process group of its own: Ctrl-C in the terminal is for `up`, which stops its parts in order.
    const started = spawn(command, args, {
      cwd: options.directory,
      env: options.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    child = started;
    let firstErrorLine = '';
    createInterface({ input: started.stdout }).on('line', (line) => {
      logFile.write(`${line}\n`);
      passOn(line, options.notice);
    });
    createInterface({ input: started.stderr }).on('line', (line) => {
      logFile.write(`${line}\n`);
      if (line.trim()) firstErrorLine ||= line.replace(/^error /, '').replace(/\.$/, '');
    });
    ended = new Promise((resolve) => {
      started.once('error', (error) => resolve(`could not be started: ${error.message}`));
      started.once('close', (code, signal) =>
        resolve(
          `${signal ? `was killed by ${signal}` : `ended with code ${code}`}${firstErrorLine ? `: ${firstErrorLine}` : ''}`,
        ),
      );
    });
    if (started.pid === undefined) return;
    const handle = await holdGroup(started.pid, silentLog);
    void ended.then(() => handle.release());
  }

  async function keepRunning(): Promise<void> {
    let history = noExits;
    while (!stopping.signal.aborted) {
      const startedAtMs = systemClock.monotonicMs();
      await start();
      const how = await ended;
      if (stopping.signal.aborted) return;
      const atMs = systemClock.monotonicMs();
      const decision = decideRestart(history, {
        atMs,
        healthyForMs: atMs - startedAtMs,
        description: how,
        lastLines: [],
      });
      history = decision.history;
      options.notice(`${options.name} ${how}; starting it again`, 'warn');
      await systemClock.sleep(decision.pauseMs, stopping.signal);
    }
  }

  const running = keepRunning();
  return {
    async stop(limitMs) {
      stopping.abort();
      child?.kill('SIGINT');
      const late = setTimeout(() => child?.kill('SIGKILL'), limitMs);
      await running;
      clearTimeout(late);
      await new Promise<void>((resolve) => logFile.end(resolve));
    },
    kill: () => child?.kill('SIGKILL'),
  };
}

/** A part's log is JSON lines; those marked as a notice are for people. */
function passOn(line: string, notice: PartOptions['notice']): void {
  if (!line.startsWith('{')) return;
  let entry: { notice?: boolean; level?: number; msg?: string };
  try {
    entry = JSON.parse(line);
  } catch {
    return; // cut off by a kill; it is in the log file
  }
  if (!entry.notice || !entry.msg) return;
  const level = entry.level ?? 30;
  notice(entry.msg, level >= 50 ? 'error' : level >= 40 ? 'warn' : 'info');
}
