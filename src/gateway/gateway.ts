/**
 * One balancer process: the members that the arbiter knows become a routing table, and the engine carries traffic
 * by it. While the arbiter is away the engine goes on with the last table (P9), which is also kept on disk, so that
 * a balancer started meanwhile can serve too. A notification only saves waiting for the next exchange.
 */
import type { Engine } from '../balancer/engine.ts';
import type { TableFile } from '../balancer/table-file.ts';
import type { Arbiter } from '../database/arbiter.ts';
import { type BalancerFacts, balancerHeartbeat, balancerLeave } from '../members/balancers.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';

export interface GatewayOptions {
  readonly name: string;
  readonly arbiter: Arbiter;
  readonly engine: Engine;
  readonly engineName: string;
  readonly tableFile: TableFile;
  readonly host: string;
  readonly clock: Clock;
  readonly log: Log;
}

const exchangeEveryMs = 1_000;
/** Changes that come together are read together. */
const gatherMs = 20;

export interface Gateway {
  /** Resolves after the first table was applied, from the arbiter or from disk. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

export function startGateway(options: GatewayOptions): Gateway {
  const { arbiter, engine, clock, log } = options;
  const stop = new AbortController();
  let table: RoutingTable | undefined;
  let wake: () => void = () => undefined;
  let away = false;

  const facts = (): BalancerFacts => {
    const { listen, instances } = engine.status();
    const states = new Map(table?.instances.map((routed) => [routed.instance, routed.state]));
    return {
      listen: `${listen.host}:${listen.port}`,
      engine: options.engineName,
      pid: process.pid,
      host: options.host,
      traffic: Object.fromEntries(
        instances.map((seen) => [
          seen.instance,
          {
            inFlight: seen.inFlight,
            idleMs: Math.round(seen.idleMs),
            state: states.get(seen.instance) ?? ('down' satisfies InstanceState),
            healthy: seen.healthy,
            requests: seen.requests,
            replayed: seen.replayed,
            failed: seen.failed,
          },
        ]),
      ),
    };
  };

  async function exchange(): Promise<void> {
    try {
      const news = await balancerHeartbeat(arbiter.query, options.name, facts());
      if (away) log.info({ notice: true }, 'the arbiter is back');
      away = false;
      if (JSON.stringify(news) === JSON.stringify(table)) return;
      table = news;
      engine.apply(news);
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
      table = onDisk;
      engine.apply(onDisk);
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

  const ready = Promise.withResolvers<void>();
  const running = run(ready.resolve);
  return {
    ready: ready.promise,
    async close() {
      stop.abort();
      await running;
      await listener.close();
      await balancerLeave(arbiter.query, options.name).catch((error) =>
        log.debug({ error: String(error) }, 'could not say goodbye to the arbiter'),
      );
    },
  };
}
