/**
 * One balancer process: the members that the arbiter knows become a routing table, and the engine carries traffic
 * by it. While the arbiter is away the engine goes on with the last table (P9), which is also kept on disk, so that
 * a balancer started meanwhile can serve too. A notification only saves waiting for the next exchange.
 *
 * What the engine counts is looked at all the time, whether or not there is an arbiter, so that the death of an
 * instance is written down with its cost.
 */
import type { CertificateLife } from '../balancer/certificates.ts';
import type { Address, Engine, InstanceTraffic, SocketShelf } from '../balancer/engine.ts';
import { createKillLedger, describeLoss, type Loss } from '../balancer/kill-ledger.ts';
import type { TableFile } from '../balancer/table-file.ts';
import type { Arbiter } from '../database/arbiter.ts';
import {
  type BalancerFacts,
  balancerHeartbeat,
  balancerLeave,
  type ReportedTraffic,
} from '../members/balancers.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { withoutUndefined } from '../support/without-undefined.ts';
import { type Admin, openAdmin } from './admin.ts';

export interface GatewayOptions {
  /** Unique among the balancers. It may change: one that was replaced gives its name to its successor. */
  readonly name: () => string;
  readonly arbiter: Arbiter;
  readonly engine: Engine;
  readonly engineName: string;
  readonly tableFile: TableFile;
  readonly host: string;
  /** Where the admin page is to be; left out: nowhere. */
  readonly admin?: Address;
  /** Where the socket of the admin page outlives this process. */
  readonly sockets?: SocketShelf;
  /** Aborted when another process takes over: the page is the successor's from then on. */
  readonly replaced?: AbortSignal;
  /** How long the certificates that the engine serves are good for. */
  readonly certificates?: () => readonly CertificateLife[];
  readonly clock: Clock;
  readonly log: Log;
}

const exchangeEveryMs = 1_000;
/** Changes that come together are read together. */
const gatherMs = 20;
const lookEveryMs = 500;
/** How many of the latest losses everybody is told. */
const reportedLosses = 5;

export interface Gateway {
  /**
   * Resolves after the first table was applied, from the arbiter or from disk, and the admin page is open. Rejects with
   * LISTEN_FAILED where that cannot be.
   */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

export function startGateway(options: GatewayOptions): Gateway {
  const { arbiter, engine, clock, log } = options;
  const stop = new AbortController();
  let table: RoutingTable | undefined;
  let admin: Admin | undefined;
  let wake: () => void = () => undefined;
  let away = false;

  const states = (): ReadonlyMap<string, InstanceState> =>
    new Map(table?.instances.map((routed) => [routed.instance, routed.state]));
  const losses = lossWatch(options, states);

  function apply(next: RoutingTable): void {
    losses.look(); // the last one at an instance that the new table does not name
    table = next;
    engine.apply(next);
  }

  async function exchange(): Promise<void> {
    try {
      const facts = factsOf(options, states(), losses.recent(), admin);
      const news = await balancerHeartbeat(arbiter.query, options.name(), facts);
      if (away) log.info({ notice: true }, 'the arbiter is back');
      away = false;
      if (JSON.stringify(news) === JSON.stringify(table)) return;
      apply(news);
      await options.tableFile.save(news);
    } catch (error) {
      if (!away) {
        log.warn(
          { notice: true, error: (error as Error).message },
          'the arbiter is away; traffic goes on with the last routing table',
        );
      }
      away = true;
    }
  }

  const listener = arbiter.listen(['holdfast_members'], { onNotify: () => wake(), onConnect: () => wake() });

  async function run(firstTable: () => void): Promise<void> {
    const onDisk = await options.tableFile.load();
    if (onDisk) {
      apply(onDisk);
      firstTable();
    }
    while (!stop.signal.aborted) {
      await exchange();
      if (table) firstTable();
      const hint = new AbortController();
      wake = () => hint.abort();
      await clock.sleep(exchangeEveryMs, AbortSignal.any([hint.signal, stop.signal]));
      if (hint.signal.aborted) await clock.sleep(gatherMs, stop.signal);
    }
  }

  const firstTable = Promise.withResolvers<void>();
  const running = [run(firstTable.resolve), losses.run(stop.signal)];
  const page = openPage(options, losses.recent, () => table).then((opened) => {
    admin = opened;
    options.replaced?.addEventListener('abort', () => void opened?.close(), { once: true });
  });
  return {
    ready: page.then(() => firstTable.promise),
    async close() {
      stop.abort();
      await Promise.all(running);
      await page.catch(() => undefined); // told by `ready`
      await admin?.close();
      await listener.close();
      await balancerLeave(arbiter.query, options.name()).catch((error) =>
        log.debug({ error: String(error) }, 'could not say goodbye to the arbiter'),
      );
    },
  };
}

/** Shows the kill ledger the counters again and again, and says what each death has cost. */
function lossWatch({ engine, clock, log }: GatewayOptions, states: () => ReadonlyMap<string, InstanceState>) {
  const ledger = createKillLedger();
  const look = () => {
    for (const loss of ledger.observe(clock.monotonicMs(), clock.wallMs(), engine.status(), states())) {
      log[loss.failed > 0 ? 'warn' : 'info']({ notice: true, ...loss }, describeLoss(loss));
    }
  };
  return {
    look,
    recent: () => ledger.recent(),
    async run(stop: AbortSignal): Promise<void> {
      while (!stop.aborted) {
        await clock.sleep(lookEveryMs, stop);
        look();
      }
    },
  };
}

async function openPage(
  { name, admin, engine, certificates = () => [], sockets, log }: GatewayOptions,
  losses: () => readonly Loss[],
  table: () => RoutingTable | undefined,
): Promise<Admin | undefined> {
  if (!admin) return undefined;
  const cluster = () => table()?.cluster;
  const opened = await openAdmin(
    admin,
    {
      status: () => engine.status(),
      losses,
      certificates,
      labels: () => withoutUndefined({ cluster: cluster(), balancer: name() }),
    },
    sockets,
  );
  log.info({ admin: opened.url }, `the balancer's admin page is at ${opened.url}`);
  return opened;
}

function factsOf(
  { engine, engineName, host, certificates = () => [] }: GatewayOptions,
  states: ReadonlyMap<string, InstanceState>,
  losses: readonly Loss[],
  admin: Admin | undefined,
): BalancerFacts {
  const { listen, instances, clients } = engine.status();
  return {
    listen: `${listen.host}:${listen.port}`,
    engine: engineName,
    pid: process.pid,
    host,
    admin: admin?.url ?? null,
    traffic: Object.fromEntries(
      instances.map((seen) => [seen.instance, reported(seen, states.get(seen.instance) ?? 'down')]),
    ),
    clients,
    losses: losses.slice(-reportedLosses),
    certificates: certificates(),
  };
}

/** Latencies stay on the admin page: they are much, and nobody routes by them. */
function reported(seen: InstanceTraffic, state: InstanceState): ReportedTraffic {
  const { healthy, inFlight, users, requests, responses, replayed, failed, unknown } = seen;
  const idleMs = Math.round(seen.idleMs);
  return { state, healthy, inFlight, idleMs, users, requests, responses, replayed, failed, unknown };
}
