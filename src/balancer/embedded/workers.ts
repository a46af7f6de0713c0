import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, HoldfastError } from '../../support/errors.ts';
import type { Address, EngineOptions, SocketShelf } from '../engine.ts';
import type { EngineSettings } from '../options.ts';
import type { InstanceView } from './backend.ts';
import type { ListeningSocket } from './listener.ts';
import type { StationTraffic } from './station.ts';
import { noTraffic, sumOfTraffic } from './traffic-sum.ts';
import type { FromWorker, LedgerQuestion, PlainOptions, ToWorker } from './worker-messages.ts';

/**
 * Several processes behind one port: each has a listening socket of its own in the kernel's group for that port
 * (SO_REUSEPORT), which spreads connections over them evenly. The sockets are also kept here, outside of the workers:
 * what the kernel has queued for a worker that crashed waits for the one that takes its place. A crash so loses the
 * connections that the worker had, and nothing else.
 */
export interface Workers {
  readonly address: Address;
  /** The processes, for whoever wants to look at them. */
  readonly pids: readonly number[];
  see(views: readonly InstanceView[]): void;
  traffic(): StationTraffic;
  close(graceMs: number): Promise<void>;
}

interface WorkersOptions {
  readonly settings: EngineSettings;
  readonly options: EngineOptions;
  readonly suspect: (instance: string) => void;
  readonly shelf: SocketShelf;
}

const program = fileURLToPath(
  new URL(`./worker-process${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);
/** Between the end of a worker and its successor, doubled with each crash in a row. */
const firstPauseMs = 50;
const longestPauseMs = 5_000;
/** Whoever lived for so long did not crash in a row. */
const settledMs = 10_000;
const overtimeMs = 2_000;

/** Under which the listening socket of a worker is kept. */
export const socketName = (index: number, { host, port }: Address): string =>
  `worker ${index + 1} on ${host}:${port}`;

export async function startWorkers(options: WorkersOptions): Promise<Workers> {
  const crew = new Crew(options);
  await crew.start();
  return crew;
}

class Crew implements Workers {
  address: Address;
  readonly #slots: Slot[];
  #views: readonly InstanceView[] = [];

  constructor(options: WorkersOptions) {
    this.address = options.settings.listen;
    const ticketKeys = options.settings.tls && randomBytes(48);
    const { workers } = options.settings;
    this.#slots = Array.from({ length: workers }, (_, index) => {
      return new Slot(index, { ...options, ticketKeys, views: () => this.#views });
    });
  }

  /** One after the other: port 0 is chosen by the first, and taken by the rest. */
  async start(): Promise<void> {
    try {
      for (const slot of this.#slots) {
        this.address = await slot.start(this.address);
      }
    } catch (error) {
      await this.close(0);
      throw error;
    }
  }

  get pids(): number[] {
    return this.#slots.flatMap(({ pid }) => pid ?? []);
  }

  see(views: readonly InstanceView[]): void {
    this.#views = views;
    for (const slot of this.#slots) slot.tell({ kind: 'see', views });
  }

  traffic(): StationTraffic {
    const { instances, clients } = this.#slots
      .map((slot) => slot.traffic)
      .reduce(sumOfTraffic, noTraffic(this.#views));
    // Workers tell a moment later than the table, and those that are gone tell no more, of whom they no longer know.
    const listed = new Set(this.#views.map(({ instance }) => instance));
    return { instances: instances.filter(({ instance }) => listed.has(instance)), clients };
  }

  async close(graceMs: number): Promise<void> {
    await Promise.all(this.#slots.map((slot) => slot.stop(graceMs)));
  }
}

interface SlotOptions extends WorkersOptions {
  readonly ticketKeys: Buffer | undefined;
  readonly views: () => readonly InstanceView[];
}

/** The place of one worker, filled again whenever the worker ends. */
class Slot {
  readonly #index: number;
  readonly #options: SlotOptions;
  #address: Address | undefined;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #hasListened = false;
  #pauseMs = firstPauseMs;
  #startedMs = 0;
  /** What workers that are gone have counted. */
  #past: StationTraffic = noTraffic([]);
  #present: StationTraffic = noTraffic([]);
  #ended: Promise<void> = Promise.resolve();

  constructor(index: number, options: SlotOptions) {
    this.#index = index;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get traffic(): StationTraffic {
    return sumOfTraffic(this.#past, this.#present);
  }

  /** Rejects with what the worker was refused. */
  start(listen: Address): Promise<Address> {
    const listening = Promise.withResolvers<Address>();
    this.#address = listen;
    this.#startedMs = performance.now();
    const child = fork(program, {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        listening.reject(
          new Error(`a worker of the balancer ended with ${signal ?? code} before it listened`),
        );
        this.#lost(signal ?? `code ${code}`);
        resolve();
      });
    });
    child.on('error', () => undefined); // 'exit' follows, or the next message fails, which is the same
    child.on('message', (message: FromWorker, socket: ListeningSocket | undefined) => {
      if (message.kind === 'listening') {
        this.#address = message.address;
        this.#hasListened = true;
        if (socket) this.#options.shelf.keep(this.#name, socket);
        this.tell({ kind: 'see', views: this.#options.views() });
        listening.resolve(message.address);
      } else if (message.kind === 'refused') {
        const { remedy } = message;
        const options = remedy === undefined ? {} : { remedy };
        // The first one says what is wrong with the configuration; to a later one it may be right again in a while.
        if (!this.#hasListened) this.#isStopping = true;
        listening.reject(new HoldfastError(message.code as ErrorCode, message.message, options));
        child.kill('SIGKILL');
      } else this.#hear(child, message);
    });
    const { ticketKeys, shelf } = this.#options;
    const start: ToWorker = { kind: 'start', options: this.#plainOptions(listen), ticketKeys };
    child.send(start, shelf.take(this.#name) as never, () => undefined); // an error is an exit
    return listening.promise;
  }

  tell(message: ToWorker, child = this.#child): void {
    if (child?.connected) child.send(message, () => undefined); // as above
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    const child = this.#child;
    // Nobody would take from our copy of the socket any more, while the kernel goes on to queue for it.
    (this.#options.shelf.take(this.#name) as ListeningSocket | undefined)?.close();
    this.tell({ kind: 'stop', graceMs });
    const late = setTimeout(() => child?.kill('SIGKILL'), graceMs + overtimeMs);
    if (child !== undefined) await this.#ended;
    clearTimeout(late);
  }

  get #name(): string {
    return socketName(this.#index, this.#options.settings.listen);
  }

  #plainOptions(listen: Address): PlainOptions {
    const { options, settings } = this.#options;
    const {
      clock: _c,
      random: _r,
      log: _l,
      onInstanceHealth: _h,
      idempotency,
      sockets: _s,
      ...plain
    } = options;
    const part = (limit: number) => Math.ceil(limit / settings.workers);
    const { connections, connectionsPerAddress, requestsPerInstance, heldRequests } = settings.limits;
    return {
      ...plain,
      listen,
      hasLedger: idempotency !== undefined,
      // Each worker counts for itself: what holds for the balancer is shared out.
      limits: {
        ...plain.limits,
        connections: part(connections),
        connectionsPerAddress: part(connectionsPerAddress),
        requestsPerInstance: part(requestsPerInstance),
        heldRequests: part(heldRequests),
      },
    };
  }

  #hear(child: ChildProcess, message: FromWorker): void {
    const { settings, suspect } = this.#options;
    switch (message.kind) {
      case 'traffic':
        if (child === this.#child) this.#present = message.traffic; // else it is in the past already
        break;
      case 'suspect':
        suspect(message.instance);
        break;
      case 'log':
        settings.log[message.level](message.fields, message.message);
        break;
      case 'ask':
        void this.#answer(child, message.id, message.question);
        break;
    }
  }

  /** To whoever asked: a successor counts its questions by the same numbers. */
  async #answer(child: ChildProcess, id: number, { method, values }: LedgerQuestion): Promise<void> {
    const ledger = this.#options.settings.idempotency;
    try {
      const call = ledger?.[method] as ((...given: unknown[]) => Promise<never>) | undefined;
      this.tell({ kind: 'answer', id, answer: await call?.apply(ledger, values) }, child);
    } catch (error) {
      this.tell({ kind: 'failed', id, reason: (error as Error).message }, child);
    }
  }

  /** The worker has ended: another one takes its place, and its socket. */
  #lost(how: string): void {
    const { instances, clients } = this.#present;
    this.#past = sumOfTraffic(this.#past, {
      // Its counts remain; what it saw last does not stand for what is.
      instances: instances.map((seen) => {
        const users = seen.users && 0;
        return {
          ...seen,
          inFlight: 0,
          connections: 0,
          users,
          idleMs: Number.POSITIVE_INFINITY,
          warmth: 1,
        };
      }),
      clients: { ...clients, connections: 0, waiting: 0 },
    });
    this.#present = noTraffic([]);
    this.#child = undefined;
    if (this.#isStopping || this.#address === undefined) return;
    const livedMs = performance.now() - this.#startedMs;
    this.#pauseMs = livedMs > settledMs ? firstPauseMs : Math.min(this.#pauseMs * 2, longestPauseMs);
    const { log } = this.#options.settings;
    log.error({ notice: true, how }, `a worker of the balancer ended (${how}); another one takes its place`);
    const address = this.#address;
    setTimeout(() => {
      if (this.#isStopping) return;
      this.start(address).catch((error: Error) => {
        log.error({ reason: error.message }, 'a worker of the balancer could not be replaced');
      });
    }, this.#pauseMs);
  }
}
