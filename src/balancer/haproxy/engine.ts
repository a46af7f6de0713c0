import { keepsItsUsers } from '../../protocol/instance-state.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Engine, EngineOptions, EngineStatus } from '../engine.ts';
import { type EngineSettings, resolveOptions } from '../options.ts';
import { Addresses } from './addresses.ts';
import { type CertificateWatch, watchCertificates } from './certificates.ts';
import { digestIn } from './config.ts';
import { serverName } from './config-names.ts';
import { Drains } from './drains.ts';
import { Farewell } from './farewell.ts';
import { mapsIn, writeState } from './folder.ts';
import { type Occupants, occupyWaitingRooms } from './occupants.ts';
import { defaultSlots, filesIn, type HaproxyPlace } from './place.ts';
import { binaryOf, checkVersion, launchHaproxy, stopHaproxy, trimLog } from './process.ts';
import { Runtime } from './runtime.ts';
import { assignSlots } from './slots.ts';
import { type Started, startOnPort } from './start.ts';
import { StatusReader } from './status-reader.ts';
import { Supervisor } from './supervisor.ts';
import { TrafficBook } from './traffic-book.ts';
import { endTunnels } from './tunnels.ts';
import { emptyState, heldSlots, wantedState } from './wanted-state.ts';

/**
 * The engine for those who want HAProxy: it writes the configuration, starts the process or takes over the one that
 * runs in the folder, and tells it about instances through its runtime socket. Traffic does not depend on us: killed,
 * we leave a HAProxy behind that goes on with the last table and its own checks.
 */
export async function startHaproxyEngine(options: EngineOptions, where: HaproxyPlace): Promise<Engine> {
  const settings = resolveOptions(options);
  if (settings.idempotency !== undefined) throw noLedger();
  const binary = binaryOf(where);
  await checkVersion(binary);
  const started = await startOnPort(options, where, binary);
  const engine = new HaproxyEngine({ ...started, settings, where, binary });
  try {
    await engine.begin();
    return engine;
  } catch (error) {
    await engine.close({ graceMs: 0 });
    throw error;
  }
}

const noLedger = (): HoldfastError =>
  new HoldfastError('CONFIGURATION_INVALID', 'HAProxy cannot keep responses by Idempotency-Key', {
    remedy: 'Switch idempotency keys off, or use the embedded engine.',
  });

interface EngineParts extends Started {
  readonly settings: EngineSettings;
  readonly where: HaproxyPlace;
  readonly binary: string;
}

const routableSlots = (slots: ReadonlyMap<string, number>, routable: ReadonlySet<string>): Set<number> =>
  new Set([...slots].flatMap(([instance, slot]) => (routable.has(instance) ? [slot] : [])));

/** Changes come in crowds. */
const keepMs = 200;
const hourMs = 3_600_000;

class HaproxyEngine implements Engine {
  readonly #parts: EngineParts;
  readonly #runtime: Runtime;
  readonly #book: TrafficBook;
  readonly #reader: StatusReader;
  readonly #supervisor: Supervisor;
  readonly #drains: Drains;
  readonly #farewell: Farewell;
  readonly #addresses: Addresses;
  #occupants: Occupants | undefined;
  #certificates: CertificateWatch | undefined;
  #table: RoutingTable | undefined;
  #isFirst = true;
  #slots: ReadonlyMap<string, number> = new Map();
  #routable: ReadonlySet<string> = new Set();
  #trimming: NodeJS.Timeout | undefined;
  #keepTimer: NodeJS.Timeout | undefined;
  #keeping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    const { settings, where, binary, config, options } = parts;
    const files = filesIn(where.folder);
    this.#runtime = new Runtime(files, mapsIn(config, files), settings.log);
    this.#book = new TrafficBook({
      slowStartMs: settings.slowStartMs,
      nowMs: settings.nowMs,
      onHealth: (instance, healthy) => this.#sawHealth(instance, healthy),
    });
    this.#reader = new StatusReader({
      runtime: this.#runtime,
      book: this.#book,
      slots: () => this.#slots,
      isDraining: (instance) => this.#drains.isDraining(instance),
      hasUsers: settings.sticky.kind === 'cookie' || settings.sticky.kind === 'application',
    });
    this.#supervisor = new Supervisor({
      haproxy: parts.haproxy,
      files,
      log: settings.log,
      start: async () => {
        await this.#keep();
        return launchHaproxy(binary, files, digestIn(config), options.accessLog?.file);
      },
      connect: (onLost) => this.#runtime.connect(onLost),
      onRestart: () => this.#reader.startOver(),
    });
    this.#drains = new Drains(settings.drain, {
      onDeadline: () => this.#tell(),
      onLastCall: (instance, withinMs) => {
        const slot = this.#slots.get(instance);
        if (slot !== undefined) void endTunnels(this.#runtime, slot, withinMs, settings.random);
      },
    });
    this.#farewell = new Farewell(() => this.#tell());
    this.#addresses = new Addresses(settings.log, () => this.#tell());
  }

  async begin(): Promise<void> {
    const { options, where, settings } = this.#parts;
    await this.#supervisor.begin();
    this.#occupants = occupyWaitingRooms(filesIn(where.folder).door);
    this.#reader.begin();
    const trim = () => void trimLog(filesIn(where.folder)).catch(() => undefined); // not ours: there is none
    this.#trimming = setInterval(trim, hourMs).unref();
    if (options.tls) {
      this.#certificates = await watchCertificates(
        options.tls,
        where.folder,
        (command) => this.#runtime.ask(command),
        settings.log,
      );
    }
  }

  apply(table: RoutingTable): void {
    this.#table = table;
    this.#drains.see(table);
    this.#addresses.want(table.instances.map(({ host }) => host));
    const names = table.instances.map(({ instance }) => instance);
    const { slots, without } = assignSlots(
      this.#isFirst ? heldSlots(table, this.#runtime.held, this.#addresses.of) : this.#slots,
      names,
      this.#parts.where.slots ?? defaultSlots,
    );
    this.#isFirst = false;
    this.#slots = slots;
    if (without.length > 0) {
      this.#parts.settings.log.error({ instances: without }, 'HAProxy has no slots left for these instances');
    }
    const routable = new Set(
      table.instances.filter(({ state }) => keepsItsUsers(state)).map(({ instance }) => instance),
    );
    const returned = new Set([...routable].filter((instance) => !this.#routable.has(instance)));
    this.#farewell.see(routableSlots(slots, routable), this.#runtime.wanted?.servers);
    this.#routable = routable;
    this.#book.list(slots, names, returned);
    this.#tell();
  }

  #tell(): void {
    const { settings } = this.#parts;
    if (this.#table === undefined || this.#closing !== undefined) return;
    const { kind } = settings.sticky;
    this.#runtime.want(
      wantedState({
        table: this.#table,
        slots: this.#slots,
        addressOf: this.#addresses.of,
        weights: settings.weights,
        byBuckets: kind === 'header' || kind === 'address',
        drained: this.#drains.over,
        leaving: this.#farewell.leaving,
      }),
    );
    this.#keepTimer ??= setTimeout(() => {
      this.#keepTimer = undefined;
      this.#keeping = this.#keep();
    }, keepMs).unref();
  }

  /** Writes down what is wanted, for whoever starts this HAProxy again. */
  async #keep(): Promise<void> {
    const { options, where, settings } = this.#parts;
    await this.#keeping;
    try {
      await writeState(options, where, this.#runtime.wanted ?? emptyState);
    } catch (error) {
      const reason = (error as Error).message;
      settings.log.warn({ reason }, 'the last table could not be written for HAProxy');
    }
  }

  #sawHealth(instance: string, healthy: boolean): void {
    const { settings } = this.#parts;
    if (healthy) {
      settings.log.info({ instance }, 'the instance answers health checks again');
    } else {
      settings.log.warn({ instance }, 'the instance does not answer health checks');
      this.#abandon(instance);
    }
    settings.onInstanceHealth(instance, healthy);
  }

  /** What waits for an instance that does not answer, and its tunnels, where HAProxy does not end them by itself. */
  #abandon(instance: string): void {
    const slot = this.#slots.get(instance);
    if (slot === undefined) return;
    const servers = [serverName('main', slot), serverName('reserve', slot)];
    const commands = servers.map((server) => `shutdown sessions server app/${server}`);
    this.#runtime.askAll(commands).catch(() => undefined); // HAProxy is gone, and they with it
  }

  status(): EngineStatus {
    this.#reader.hurry();
    return {
      listen: this.#parts.options.listen,
      instances: this.#book.traffic(),
      clients: { ...this.#book.clients(), refusals: this.#reader.refusals },
    };
  }

  close({ graceMs = 10_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  // HAProxy ends when its last connection does, so ours go first.
  async #close(graceMs: number): Promise<void> {
    clearTimeout(this.#keepTimer);
    clearInterval(this.#trimming);
    this.#drains.close();
    this.#farewell.close();
    this.#addresses.close();
    this.#reader.close();
    this.#occupants?.close();
    await this.#certificates?.close();
    await this.#keeping;
    const haproxy = await this.#supervisor.close();
    this.#runtime.close();
    if (haproxy !== undefined) await stopHaproxy(haproxy, graceMs);
  }
}
