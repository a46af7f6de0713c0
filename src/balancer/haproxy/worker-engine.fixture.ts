import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';
import { HoldfastError } from '../../support/errors.ts';
import type { Address, Engine, EngineOptions, EngineStatus } from '../engine.ts';
import { startHaproxyEngine } from './engine.ts';
import type { HaproxyPlace } from './place.ts';

/**
 * The engine in a thread of its own, for tests that tell it something and look at once what came of it. HAProxy takes
 * a change some milliseconds after it is told, and our numbers are as old as the last look at its; so here a call
 * returns only when HAProxy has taken the table, and the status is a new one.
 */
interface ThreadData {
  readonly options: EngineOptions;
  readonly where: HaproxyPlace;
  readonly port: MessagePort;
  readonly bell: Int32Array;
}

type Call =
  | { readonly kind: 'apply'; readonly table: Parameters<Engine['apply']>[0] }
  | { readonly kind: 'status' }
  | { readonly kind: 'close'; readonly graceMs: number | undefined };

/** Longer than a change takes, and than it takes until a status that was asked for is read. */
const settleMs = 30;

export async function startInThread(options: EngineOptions, where: HaproxyPlace): Promise<Engine> {
  const { onInstanceHealth, random, clock, log, idempotency, ...plain } = options;
  if (idempotency !== undefined) return startHaproxyEngine(options, where);
  const { port1: port, port2 } = new MessageChannel();
  const bell = new Int32Array(new SharedArrayBuffer(4));
  const data: ThreadData = { options: plain, where, port: port2, bell };
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: data, transferList: [port2] });
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
  });
  const listen = await new Promise<Address>((resolve, reject) => {
    worker.once('error', reject);
    worker.on('message', (message) => {
      if (message.kind === 'started') resolve(message.listen);
      if (message.kind === 'health') onInstanceHealth?.(message.instance, message.healthy);
      if (message.kind === 'failed') reject(revived(message));
    });
  });
  const call = (what: Call): unknown => {
    Atomics.store(bell, 0, 0);
    port.postMessage(what);
    Atomics.wait(bell, 0, 0);
    return receiveMessageOnPort(port)?.message;
  };
  return {
    apply: (table) => void call({ kind: 'apply', table }),
    // Where it listens never changes; only who looks at the numbers has to wait for them.
    status: () => ({
      listen,
      get instances() {
        return (call({ kind: 'status' }) as EngineStatus).instances;
      },
      get clients() {
        return (call({ kind: 'status' }) as EngineStatus).clients;
      },
    }),
    async close({ graceMs } = {}) {
      port.postMessage({ kind: 'close', graceMs } satisfies Call);
      await ended;
    },
  };
}

interface Failure {
  readonly code: ConstructorParameters<typeof HoldfastError>[0] | undefined;
  readonly message: string;
}

const revived = ({ code, message }: Failure): Error =>
  code === undefined ? new Error(message) : new HoldfastError(code, message);

async function serve({ options, where, port, bell }: ThreadData): Promise<void> {
  const { parentPort } = await import('node:worker_threads');
  const tell = (message: object) => parentPort?.postMessage(message);
  let engine: Engine;
  try {
    const onInstanceHealth = (instance: string, healthy: boolean) =>
      tell({ kind: 'health', instance, healthy });
    engine = await startHaproxyEngine({ ...options, onInstanceHealth }, where);
  } catch (error) {
    const { message } = error as Error;
    tell({ kind: 'failed', message, code: error instanceof HoldfastError ? error.code : undefined });
    port.close();
    return;
  }
  port.on('message', async (what: Call) => {
    if (what.kind === 'close') {
      await engine.close(what.graceMs === undefined ? {} : { graceMs: what.graceMs });
      port.close();
      return;
    }
    if (what.kind === 'apply') engine.apply(what.table);
    else engine.status();
    await sleep(settleMs);
    port.postMessage(engine.status());
    Atomics.store(bell, 0, 1);
    Atomics.notify(bell, 0);
  });
  tell({ kind: 'started', listen: engine.status().listen });
}

const data = workerData as Partial<ThreadData> | null;
if (data?.bell !== undefined) await serve(data as ThreadData);
