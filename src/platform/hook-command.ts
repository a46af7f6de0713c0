/**
 * A command that somebody configured to be run once, to the end, within a limit: a fence, an alarm. It gets a
 * process group of its own, so that the limit holds for everything it started, and it does not outlive its agent:
 * a limit that nobody watches is none. What it needs to know is in its environment; nothing is ever put into its
 * text, which is the shell's to interpret, or into its arguments, which every user of the machine can read.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../support/duration.ts';
import type { Log } from '../support/log.ts';
import { type DeadMansHandle, holdGroup } from './dead-mans-handle.ts';
import { exitReason } from './exit-reason.ts';
import { groupGone, signalGroup } from './process-group.ts';

export interface HookOptions {
  /** For `/bin/sh -c`. Never logged: it may hold what is not for everybody. */
  readonly command: string;
  readonly directory: string;
  /** In addition to the agent's own, of which everything that begins with HOLDFAST_ is left out. */
  readonly environment: Readonly<Record<string, string>>;
  readonly limitMs: number;
  readonly log: Log;
}

export type HookEnd =
  | { readonly succeeded: true }
  /** Goes on from "the command", as in "exited with 1: no route to host". */
  | { readonly succeeded: false; readonly why: string };

/** Of what it printed, the end is kept: that is where the reason stands. */
const keptOutputBytes = 1_024;

/** A process that left the group may hold its output open for ever: its words are not waited for. */
const lastWordsMs = 500;

/** A process that the kernel keeps in the middle of something (a dead network disk) dies later: that is not waited for. */
const unkillableMs = 5_000;

/** Never rejects. Settles once nothing of its process group is left that can be killed. */
export async function runHook(options: HookOptions): Promise<HookEnd> {
  try {
    return await run(options);
  } catch (error) {
    return {
      succeeded: false,
      why: `could not be run: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

async function run(options: HookOptions): Promise<HookEnd> {
  const child = spawn('/bin/sh', ['-c', options.command], {
    cwd: options.directory,
    env: environmentOf(process.env, options.environment),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = endOf(child);
  const groupId = child.pid;
  if (groupId === undefined) return { succeeded: false, why: (await exited) ?? 'could not be started' };
  const output = readLastWords([child.stdout, child.stderr]);
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    signalGroup(groupId, 'SIGKILL');
  }, options.limitMs);
  let handle: DeadMansHandle | undefined;
  let failure: string | undefined;
  try {
    handle = await holdGroup(groupId, options.log);
    failure = await exited;
  } finally {
    clearTimeout(limit);
    // The leader has answered for the others, or nobody watches over them.
    signalGroup(groupId, 'SIGKILL');
    await groupGone(groupId, unkillableMs);
    handle?.release();
  }
  const words = await output.end();
  if (late)
    return { succeeded: false, why: `did not end within ${formatDuration(options.limitMs)} and was killed` };
  if (failure === undefined) return { succeeded: true };
  return { succeeded: false, why: words === '' ? failure : `${failure}: ${words}` };
}

function environmentOf(
  own: Readonly<Record<string, string | undefined>>,
  given: Readonly<Record<string, string>>,
): Record<string, string | undefined> {
  const inherited = Object.entries(own).filter(([name]) => !name.startsWith('HOLDFAST_'));
  return { ...Object.fromEntries(inherited), ...given };
}

/** Undefined: it exited with 0. */
function endOf(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) =>
      resolve(code === 0 ? undefined : exitReason(code, signal).description),
    );
  });
}

function readLastWords(streams: readonly Readable[]): { end(): Promise<string> } {
  let kept = Buffer.alloc(0);
  const closed = streams.map((stream) => {
    stream.on('data', (bytes: Buffer) => {
      kept = Buffer.concat([kept, bytes]).subarray(-keptOutputBytes);
    });
    // What was read before counts; the exit tells how it ended.
    stream.on('error', () => undefined);
    return new Promise<void>((resolve) => stream.once('close', resolve));
  });
  return {
    async end() {
      const limit = new AbortController();
      const late = sleep(lastWordsMs, undefined, { signal: limit.signal }).catch(() => undefined); // closed in time
      await Promise.race([Promise.all(closed), late]);
      limit.abort();
      for (const stream of streams) stream.destroy();
      return oneLine(kept);
    },
  };
}

/** From the first whole character, without what a log or a text column would choke on. */
const oneLine = (bytes: Buffer): string =>
  bytes
    .toString('utf8')
    .replace(/^\ufffd+/, '')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
