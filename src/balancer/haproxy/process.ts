import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile, stat, truncate } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../support/errors.ts';
import { askOnce } from './one-shot.ts';
import type { HaproxyPlace, PlaceFiles } from './place.ts';

/**
 * The HAProxy of one folder: a master, which waits, and its worker, which carries the traffic. It is no part of our
 * process: when we are killed it goes on with what it was told last, and whoever comes next in this folder finds it
 * and takes it over. Only a HAProxy that one of us started is ever stopped or told to load another configuration; who
 * it is we know from its own answers, never from a search.
 */
export interface Haproxy {
  readonly masterPid: number;
  readonly workerPid: number;
  /** Did we, or one of us before, start it? */
  readonly isOurs: boolean;
}

export interface Running extends Haproxy {
  /** Of its configuration. */
  readonly digest: string;
}

const startLimitMs = 10_000;

/** It is where administrators find it, and has nothing to do with what else our environment holds. */
const environment = { PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin` };

/** Rejects where there is no HAProxy, or one that is too old. */
export async function checkVersion(binary: string): Promise<void> {
  const { code, text } = await run(binary, ['-v']);
  const [, major = 0, minor = 0] = (/version (\d+)\.(\d+)/.exec(text) ?? []).map(Number);
  if (code === 0 && (major > 2 || (major === 2 && minor >= 6))) return;
  throw new HoldfastError(
    'CONFIGURATION_INVALID',
    `balancer.engine: ${binary} is no HAProxy of version 2.6 or later`,
    {
      remedy: 'Install HAProxy (on Debian and Ubuntu: `apt install haproxy`), or use the embedded engine.',
    },
  );
}

/** Lets HAProxy read the configuration, and tells what it says about it in its own words. */
export async function checkConfig(binary: string, files: PlaceFiles): Promise<void> {
  const { code, text } = await run(binary, ['-c', '-f', files.config]);
  if (code === 0) return;
  throw new HoldfastError('CONFIGURATION_INVALID', `HAProxy refuses ${files.config}:\n${alertsIn(text)}`, {
    remedy: 'Correct the settings of the balancer that the lines above are made from.',
  });
}

/** The HAProxy that runs in this folder; undefined: none. */
export async function findHaproxy(files: PlaceFiles): Promise<Running | undefined> {
  try {
    const processes = await askOnce(files.master, 'show proc');
    const masterPid = Number(/^(\d+)\s+master\s/m.exec(processes)?.[1]);
    const info = await askOnce(files.runtime, 'show info');
    const workerPid = Number(/^Pid: (\d+)$/m.exec(info)?.[1]);
    const digest = /^description: holdfast-([0-9a-f]+)$/m.exec(info)?.[1] ?? '';
    if (!(masterPid > 0) || !(workerPid > 0)) return undefined;
    const started = Number(await readFile(files.pid, 'utf8').catch(() => ''));
    return { masterPid, workerPid, digest, isOurs: started === masterPid };
  } catch {
    return undefined; // nobody listens there
  }
}

/** Has a HAProxy of ours load its configuration again. The old worker ends with its last connection. */
export async function reloadHaproxy(files: PlaceFiles, digest: string): Promise<Haproxy> {
  await askOnce(files.master, 'reload').catch(() => undefined); // it ends the connection
  return untilReady(files, digest, () => undefined);
}

export async function launchHaproxy(
  binary: string,
  files: PlaceFiles,
  digest: string,
  accessLog: string | undefined,
): Promise<Haproxy> {
  await truncate(files.log).catch(() => undefined); // there is none yet
  const access = accessLog === undefined || accessLog === '-' ? undefined : openAccessLog(accessLog);
  const messages = openSync(files.log, 'a', 0o600);
  const output = accessLog === '-' ? 'inherit' : (access ?? messages);
  const master = `${files.master},mode,600`;
  // In a session of its own: what is typed at our terminal is for us, and we tell HAProxy.
  const child = spawn(binary, ['-W', '-S', master, '-f', files.config, '-p', files.pid], {
    detached: true,
    env: environment,
    stdio: ['ignore', output, messages],
  });
  closeSync(messages);
  if (access !== undefined) closeSync(access);
  let exit: string | undefined;
  child.once('error', (error) => {
    exit = error.message;
  });
  child.once('exit', (code, signal) => {
    exit = `it ended with ${signal ?? `code ${code}`}`;
  });
  child.unref();
  try {
    return await untilReady(files, digest, () => exit);
  } catch (error) {
    child.kill('SIGTERM');
    throw error;
  }
}

function openAccessLog(file: string): number {
  try {
    return openSync(file, 'a', 0o640);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      `balancer.accessLog.file: ${file} cannot be opened: ${reason}`,
      {
        remedy:
          'Name a file in a folder that exists and that the balancer may write to, or - for standard output.',
        cause,
      },
    );
  }
}

async function untilReady(
  files: PlaceFiles,
  digest: string,
  exited: () => string | undefined,
): Promise<Haproxy> {
  const untilMs = performance.now() + startLimitMs;
  while (performance.now() < untilMs) {
    const found = await findHaproxy(files);
    if (found?.digest === digest) return found;
    if (exited() !== undefined) break;
    await sleep(15);
  }
  throw failedStart(exited() ?? 'it does not get ready', await readFile(files.log, 'utf8').catch(() => ''));
}

function failedStart(reason: string, text: string): HoldfastError {
  const taken = /cannot bind (?:socket|UNIX socket)[^[]*\[([^\]]+)\]/i.exec(text);
  if (taken !== null) {
    return new HoldfastError('LISTEN_FAILED', `HAProxy cannot listen on ${taken[1]}:\n${alertsIn(text)}`, {
      remedy: 'Stop what listens there, or set another address (balancer.listen).',
    });
  }
  return new HoldfastError('LISTEN_FAILED', `HAProxy does not start: ${reason}\n${alertsIn(text)}`, {
    remedy: 'Correct what the lines above name.',
  });
}

/** The lines in which HAProxy says what is wrong, without the ones that say who it is. */
function alertsIn(text: string): string {
  const told = text
    .split('\n')
    .filter((line) => /^\[(?:ALERT|WARNING)\]/.test(line))
    .map((line) => line.replace(/\(\d+\) : /, ''));
  return (told.length > 0 ? told : text.split('\n').slice(-5)).slice(0, 20).join('\n');
}

/** Keeps what HAProxy says from growing for ever: it appends, so it goes on at the beginning of an empty file. */
export async function trimLog(files: PlaceFiles): Promise<void> {
  const { size } = await stat(files.log);
  if (size > longestLogBytes) await truncate(files.log);
}

const longestLogBytes = 1024 * 1024;

/** Ends it: at first gently, then not. Resolves when the processes are gone. */
export async function stopHaproxy({ masterPid, workerPid }: Haproxy, graceMs: number): Promise<void> {
  const isGone = () => !isAlive(masterPid) && !isAlive(workerPid);
  if (graceMs > 0) {
    signal(masterPid, 'SIGUSR1');
    if (await within(graceMs, isGone)) return;
  }
  signal(masterPid, 'SIGTERM');
  if (await within(2_000, isGone)) return;
  for (const pid of [masterPid, workerPid]) signal(pid, 'SIGKILL');
  await within(2_000, isGone);
}

async function within(limitMs: number, condition: () => boolean): Promise<boolean> {
  const untilMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > untilMs) return false;
    await sleep(10);
  }
  return true;
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // gone already
  }
}

/** A child of ours that nobody has waited for yet counts as alive for a moment; Node waits for it soon. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function run(binary: string, options: readonly string[]): Promise<{ code: number; text: string }> {
  const child = spawn(binary, options, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (piece) => {
      text += piece;
    });
  }
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code: code ?? 1, text };
  } catch (error) {
    return { code: 1, text: (error as Error).message };
  }
}

export const binaryOf = ({ binary }: HaproxyPlace): string => binary ?? 'haproxy';
