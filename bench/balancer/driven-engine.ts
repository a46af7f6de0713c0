/**
 * The embedded engine in a process of its own, driven from here: what it costs and what it leaks is then its own, and
 * a crash of it is seen and not shared.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { EngineOptions, EngineStatus } from '../../src/balancer/engine.ts';
import type { RoutingTable } from '../../src/protocol/routing-table.ts';

export interface DrivenEngine {
  readonly port: number;
  apply(table: RoutingTable): Promise<void>;
  status(): Promise<EngineStatus>;
}

export interface DrivenEngines {
  readonly pid: number;
  start(options: EngineOptions, table: RoutingTable): Promise<DrivenEngine>;
  /** Collects garbage there, several times, and tells what is left. */
  memory(): Promise<NodeJS.MemoryUsage>;
  /** Errors and warnings that the engines wrote to their log, counted by sentence. */
  complaints(): Promise<Record<string, number>>;
  /** Why it ended; undefined while it lives. */
  lastWords(): string | undefined;
  /** Closes every engine and ends the process. */
  end(): Promise<void>;
}

/** What the process is asked; the answers are functions of the same names in driven-engine-process.ts. */
export interface Questions {
  start(asked: { options: EngineOptions; table: RoutingTable }): Promise<{ id: number; port: number }>;
  apply(asked: { id: number; table: RoutingTable }): void;
  status(asked: { id: number }): EngineStatus;
  memory(): Promise<NodeJS.MemoryUsage>;
  complaints(): Record<string, number>;
  close(): Promise<void>;
}

interface Exchange {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

const endWithinMs = 5_000;

export function startDrivenEngines(): DrivenEngines {
  const program = new URL('driven-engine-process.ts', import.meta.url);
  const child: ChildProcess = fork(program, [], {
    execArgv: ['--expose-gc'],
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4_000);
  });
  const open = new Map<number, Exchange>();
  let asked = 0;
  child.on('message', ({ id, answer, error }: { id: number; answer: unknown; error?: string }) => {
    const exchange = open.get(id);
    open.delete(id);
    if (error === undefined) exchange?.resolve(answer);
    else exchange?.reject(new Error(error));
  });
  const ended = once(child, 'exit').then(() => {
    for (const { reject } of open.values()) reject(new Error(`the engine's process ended: ${said}`));
  });

  const ask = <Name extends keyof Questions>(question: Name, ...argument: Parameters<Questions[Name]>) =>
    new Promise<Awaited<ReturnType<Questions[Name]>>>((resolve, reject) => {
      const id = asked++;
      open.set(id, { resolve: resolve as Exchange['resolve'], reject });
      child.send({ id, question, argument: argument[0] }, (error) => error && reject(error));
    });

  return {
    pid: child.pid ?? 0,
    async start(options, table) {
      const { id, port } = await ask('start', { options, table });
      return {
        port,
        apply: (next) => ask('apply', { id, table: next }),
        status: () => ask('status', { id }),
      };
    },
    memory: () => ask('memory'),
    complaints: () => ask('complaints'),
    lastWords: () => (child.exitCode !== null || child.signalCode !== null ? said : undefined),
    async end() {
      const late = setTimeout(() => child.kill('SIGKILL'), endWithinMs);
      await ask('close').catch(() => undefined); // it has ended already
      if (child.connected) child.disconnect(); // it exits then
      await ended;
      clearTimeout(late);
    },
  };
}
