import type { Server } from 'node:http';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { openAccessLog } from '../access-log.ts';
import { type Certificates, openCertificates } from '../certificates.ts';
import type { Engine, EngineOptions, EngineStatus } from '../engine.ts';
import { type EngineSettings, resolveOptions } from '../options.ts';
import { loadPages } from '../pages.ts';
import { Control } from './control.ts';
import { DataPath } from './data-path.ts';
import { IdempotencyDesk } from './idempotency-desk.ts';
import { type Listener, openListener, openRedirect } from './listener.ts';

/**
 * The embedded engine: sockets, a parser and rules of our own, because what a proxy on Node's HTTP server costs is the
 * objects that it makes for each message (docs/performance.md).
 */
export async function startEmbeddedEngine(options: EngineOptions): Promise<Engine> {
  const settings = resolveOptions(options);
  const releases: (() => Promise<void> | void)[] = [];
  try {
    return await openEngine(settings, releases);
  } catch (error) {
    for (const release of releases.toReversed()) await release();
    throw error;
  }
}

async function openEngine(
  settings: EngineSettings,
  releases: (() => Promise<void> | void)[],
): Promise<Engine> {
  const pages = await loadPages(settings.pages);
  const certificates = settings.tls && (await openCertificates(settings.tls, settings.log));
  if (certificates) releases.push(() => certificates.close());
  const accessLog =
    settings.accessLog &&
    openAccessLog(settings.accessLog, {
      random: settings.random,
      wallMs: () => Date.now(),
      log: settings.log,
    });
  const control: Control = new Control(settings, (views) => path.see(views));
  const path: DataPath = new DataPath({
    settings,
    pages,
    suspect: (instance) => control.suspect(instance),
    idempotency: settings.idempotency && new IdempotencyDesk(settings.idempotency, settings.log),
    accessLog,
  });
  releases.push(() => path.close(0));
  const listener = await openListener({ path, certificates, sharesPort: false });
  releases.push(() => listener.stop());
  const redirectFrom = settings.tls?.redirectFrom;
  const redirect = redirectFrom && (await openRedirect(redirectFrom, listener.address.port));
  return new EmbeddedEngine({ control, path, listener, certificates, redirect });
}

interface Parts {
  readonly control: Control;
  readonly path: DataPath;
  readonly listener: Listener;
  readonly certificates: Certificates | undefined;
  readonly redirect: Server | undefined;
}

class EmbeddedEngine implements Engine {
  readonly #parts: Parts;
  #closed: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  apply(table: RoutingTable): void {
    if (this.#closed === undefined) this.#parts.control.apply(table);
  }

  status(): EngineStatus {
    const { path, listener } = this.#parts;
    return { listen: listener.address, ...path.traffic() };
  }

  close({ graceMs = 10_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(graceMs);
    return this.#closed;
  }

  async #close(graceMs: number): Promise<void> {
    const { control, path, listener, certificates, redirect } = this.#parts;
    listener.stop();
    redirect?.close();
    redirect?.closeAllConnections();
    await path.close(graceMs);
    control.close();
    await certificates?.close();
  }
}
