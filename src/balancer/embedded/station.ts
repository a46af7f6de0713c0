import { openAccessLog } from '../access-log.ts';
import { openCertificates } from '../certificates.ts';
import type { Address, ClientTraffic, InstanceTraffic } from '../engine.ts';
import type { EngineSettings } from '../options.ts';
import { loadPages } from '../pages.ts';
import type { InstanceView } from './backend.ts';
import { DataPath } from './data-path.ts';
import { IdempotencyDesk } from './idempotency-desk.ts';
import { type ListeningSocket, openListener } from './listener.ts';

/**
 * What carries traffic in one process: a door, a data path, and what both need. A balancer has one in its own process,
 * or one in each of several that share the port. It is told how the instances are and says what it saw.
 */
export interface Station {
  readonly address: Address;
  /** For a process that takes over. */
  readonly socket: ListeningSocket;
  see(views: readonly InstanceView[]): void;
  traffic(): StationTraffic;
  /** Takes no more connections, lets what is under way finish for so long, then cuts what is left. */
  close(graceMs: number): Promise<void>;
}

export interface StationTraffic {
  readonly instances: readonly InstanceTraffic[];
  readonly clients: ClientTraffic;
}

export interface StationOptions {
  readonly settings: EngineSettings;
  /** Traffic saw something odd at this instance. */
  readonly suspect: (instance: string) => void;
  readonly sharesPort: boolean;
  readonly inherited: ListeningSocket | undefined;
  /** The same for all processes of one balancer, so that any of them resumes a session of TLS. */
  readonly ticketKeys: Buffer | undefined;
}

/** Rejects with LISTEN_FAILED, or with what is wrong with certificates, pages or the access log. */
export async function openStation(options: StationOptions): Promise<Station> {
  const { settings, ticketKeys } = options;
  const { log, random } = settings;
  const pages = await loadPages(settings.pages);
  const accessLog =
    settings.accessLog && openAccessLog(settings.accessLog, { random, wallMs: () => Date.now(), log });
  const certificates =
    settings.tls && (await openCertificates(settings.tls, log, ticketKeys && { ticketKeys }));
  const path = new DataPath({
    settings,
    pages,
    suspect: options.suspect,
    idempotency: settings.idempotency && new IdempotencyDesk(settings.idempotency, log),
    accessLog,
  });
  const close = async (graceMs: number) => {
    await path.close(graceMs);
    await certificates?.close();
  };
  try {
    const { sharesPort, inherited } = options;
    const listener = await openListener({ path, certificates, sharesPort, inherited });
    return {
      address: listener.address,
      socket: listener.socket,
      see: (views) => path.see(views),
      traffic: () => path.traffic(),
      async close(graceMs) {
        listener.stop();
        await close(graceMs);
      },
    };
  } catch (error) {
    await close(0);
    throw error;
  }
}
