/**
 * Processes that are bound to one core, and what they cost. The proxy that is measured has a core of its own;
 * everything else (load, instances, this program) shares the other one, so that nothing of it counts as the proxy's.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export const proxyCore = 0;
export const loadCore = 1;

export interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Resolves when somebody listens on the port; rejects with its last words if the process ends before. */
  listening(port: number): Promise<void>;
  /** The next message of a program that was given a channel; rejects if it ends before. */
  said(): Promise<unknown>;
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();
const stopWithinMs = 3_000;
const listenWithinMs = 10_000;
const lastWordsLength = 2_000;

/** Whatever ends this program ends what it has started: in order (nginx has children), even what is frozen. */
process.once('exit', () => {
  for (const child of running) {
    child.kill('SIGTERM');
    child.kill('SIGCONT');
  }
});

/** This program, and all that it starts without a core of its own, goes to the load's core. */
export function bindSelf(): void {
  execFileSync('taskset', ['-a', '-c', '-p', String(loadCore), String(process.pid)], { stdio: 'ignore' });
}

/** Of these programs, those that this machine has not. */
export const missing = (...programs: readonly string[]): string[] =>
  programs.filter((program) => spawnSync('which', [program], { stdio: 'ignore' }).status !== 0);

/** Starts a command on a core. With `channel`, a Node.js program that can be sent messages. */
export function startOnCore(
  core: number,
  command: string,
  args: readonly string[],
  { channel = false }: { channel?: boolean } = {},
): Started {
  const child = spawn('taskset', ['-c', String(core), command, ...args], {
    stdio: channel ? ['ignore', 'ignore', 'pipe', 'ipc'] : ['ignore', 'ignore', 'pipe'],
  });
  running.add(child);
  let lastWords = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-lastWordsLength);
  });
  const ended = once(child, 'close').then(() => void running.delete(child));
  return {
    child,
    pid: child.pid ?? 0,
    async listening(port) {
      const untilMs = performance.now() + listenWithinMs;
      while (!(await canConnect(port))) {
        if (child.exitCode !== null || child.signalCode !== null || performance.now() > untilMs)
          throw new Error(`${command} ${args.join(' ')} does not listen on port ${port}. ${lastWords}`);
        await delay(20);
      }
    },
    said: () =>
      Promise.race([
        once(child, 'message').then(([message]) => message as unknown),
        ended.then(() => Promise.reject(new Error(`${command} ${args.join(' ')} has ended. ${lastWords}`))),
      ]),
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), stopWithinMs);
      await ended;
      clearTimeout(late);
    },
  };
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => answer(true)).once('error', () => answer(false));
  });
}

const msPerTick = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time so far, by the kernel: of the process with all its threads, and of its living children. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0] = fields.slice(11, 13).map(Number);
  return childrenOf(pid).reduce((sum, child) => sum + processorMs(child), msPerTick * (user + system));
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}
