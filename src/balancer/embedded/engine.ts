import type { Server } from 'node:http';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import type { Engine, EngineOptions, EngineStatus } from '../engine.ts';
import { type EngineSettings, resolveOptions } from '../options.ts';
import { Control } from './control.ts';
import { type ListeningSocket, openRedirect } from './listener.ts';
import { openStation, type Station } from './station.ts';
import { socketName, startWorkers, type Workers } from './workers.ts';

/**
 * The embedded engine: sockets, a parser and rules of our own, because what a proxy on Node's HTTP server costs is the
 * objects that it makes for each message (docs/performance.md). One control knows how the instances are; the traffic is
 * carried in this process, or by several that share the port.
 */
export async function startEmbeddedEngine(options: EngineOptions): Promise<EmbeddedEngine> {
  const settings = resolveOptions(options);
  const control: Control = new Control(settings, (views) => carrier.see(views));
  const suspect = (instance: string) => control.suspect(instance);
  const carrier =
    settings.workers > 1
      ? await startWorkers({ settings, options, suspect, shelf: settings.sockets })
      : await openOwnStation(settings, suspect);
  try {
    const redirectFrom = settings.tls?.redirectFrom;
    const redirect =
      redirectFrom && (await openRedirect(redirectFrom, carrier.address.port, settings.sockets));
    return new OneEngine(control, carrier, redirect);
  } catch (error) {
    await carrier.close(0);
    throw error;
  }
}

export interface EmbeddedEngine extends Engine {
  /** The processes that carry the traffic, where that is not this one. */
  readonly workerPids: readonly number[];
}

async function openOwnStation(
  settings: EngineSettings,
  suspect: (instance: string) => void,
): Promise<Station> {
  const { sockets, listen } = settings;
  // The same as that of a first worker, so that the two can follow each other.
  const name = socketName(0, listen);
  const inherited = sockets.take(name) as ListeningSocket | undefined;
  const station = await openStation({
    settings,
    suspect,
    sharesPort: false,
    inherited,
    ticketKeys: undefined,
  });
  sockets.keep(name, station.socket);
  return station;
}

class OneEngine implements EmbeddedEngine {
  readonly #control: Control;
  readonly #carrier: Station | Workers;
  readonly #redirect: Server | undefined;
  #closed: Promise<void> | undefined;

  constructor(control: Control, carrier: Station | Workers, redirect: Server | undefined) {
    this.#control = control;
    this.#carrier = carrier;
    this.#redirect = redirect;
  }

  get workerPids(): readonly number[] {
    return 'pids' in this.#carrier ? this.#carrier.pids : [];
  }

  apply(table: RoutingTable): void {
    if (this.#closed === undefined) this.#control.apply(table);
  }

  status(): EngineStatus {
    return { listen: this.#carrier.address, ...this.#carrier.traffic() };
  }

  close({ graceMs = 10_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(graceMs);
    return this.#closed;
  }

  async #close(graceMs: number): Promise<void> {
    this.#redirect?.close();
    this.#redirect?.closeAllConnections();
    await this.#carrier.close(graceMs);
    this.#control.close();
  }
}
