/**
 * The agent's part in scheduled events: it brings the event manager together with the instance, the lease and the
 * application that asks. What runs, where and how often is decided below; here is only who is asked for what.
 */

import type { Arbiter } from '../database/arbiter.ts';
import { deliverAlarms } from '../events/alarms.ts';
import { Appointments } from '../events/appointments.ts';
import { defineEvent } from '../events/definition.ts';
import { EventManager } from '../events/event-manager.ts';
import { fenceLost } from '../members/fencing.ts';
import type { LeaseKeeper } from '../members/lease-keeper.ts';
import type { HeartbeatResult } from '../members/membership.ts';
import type { Configuration } from '../settings/index.ts';
import type { Log } from '../support/log.ts';
import { builtinEvents } from './builtin-events.ts';
import { type ExecutorFacts, executors } from './executors.ts';
import type { LoopbackApi } from './loopback.ts';

export interface AgentEventsOptions extends ExecutorFacts {
  readonly arbiter: Arbiter;
  readonly configuration: Configuration;
  readonly revision: number;
  /** The secret of the alarm's address, resolved. */
  readonly alarmSecret: string | undefined;
  readonly lease: LeaseKeeper;
  readonly isEligible: () => boolean;
  readonly stopInstance: (why: string) => Promise<void>;
}

export interface AgentEvents {
  /** What the application may ask its agent. */
  readonly api: LoopbackApi;
  renewed(result: Extract<HeartbeatResult, { outcome: 'renewed' }>): void;
  expired(why: string): void;
  /** The instance is up, or no longer. */
  changed(): void;
  /**
   * Lets what runs here finish until the signal is aborted, then hands over what others can take. Appointments are
   * given back first.
   */
  leave(until: AbortSignal): Promise<void>;
  /** Takes on work again. */
  resume(): void;
  /** Gives back the appointments and stops what runs; it is over when it has ended, or its instance has. */
  abort(): Promise<void>;
  /** Reports how everything ended. */
  close(): Promise<void>;
}

const hintProbeMs = 15_000;
/** A handler that was told to end may take ten seconds before nobody waits for it any more. */
const handOverMs = 11_000;

export function startEvents(options: AgentEventsOptions): AgentEvents {
  const { arbiter, configuration, instance, lease, clock, log } = options;
  const { query } = arbiter;
  const builtin = builtinEvents(arbiter, { ledgerKeepMs: configuration.ledger.keepMs });
  const definitions = [...configuration.events, ...builtin.map(({ settings }) => settings)].map((settings) =>
    defineEvent(settings, instance),
  );
  const run = executors(options, builtin);
  const appointments = new Appointments({
    query,
    clock,
    log,
    instance,
    lease,
    definitions: definitions.filter(({ settings }) => settings.on.kind === 'designated'),
    isEligible: options.isEligible,
    tell: run.tell,
    instanceDied: options.instanceDied,
    stopWorkMs: options.stopWorkMs,
    stopInstance: options.stopInstance,
    onAppointed: ({ name }) => manager.appointed(name),
  });
  const manager: EventManager = new EventManager({
    query,
    clock,
    log,
    instance,
    revision: options.revision,
    definitions,
    alarm: configuration.alarm?.on ?? [],
    lease,
    isEligible: options.isEligible,
    isAppointed: (definition) => appointments.holds(definition),
    executorOf: run.executorOf,
  });
  const listener = arbiter.listen(
    ['holdfast_events'],
    { onNotify: () => manager.notified(), onConnect: () => manager.notified() },
    { probeMs: hintProbeMs },
  );
  const running = [manager.run(), appointments.run()];
  const { alarm, fence, cluster } = configuration;
  const { directory } = options;
  const tellAlarms = oneAtATime(log, async () => {
    if (alarm) await deliverAlarms({ query, alarm, cluster, secret: options.alarmSecret, log, directory });
  });
  const fencePending = oneAtATime(log, async () => {
    await fenceLost({ query, fence, clock, log, directory });
  });

  return {
    api: {
      renew: (token) => {
        const remainingMs = lease.remainingMs();
        if (remainingMs <= 0 || !manager.running.has(token)) return undefined;
        return run.handlers.renewed(token) ? remainingMs : undefined;
      },
      finish: (token, result) => options.gate.finish(token, result),
      ended: (token) => run.handlers.ended(token),
      ask: (event) => manager.ask(event),
      order: (token) => manager.running.orderOf(token),
    },
    renewed(result) {
      manager.renewed(result);
      appointments.renewed({ timeline: result.timeline, change: result.events.change });
      if (result.events.alarms) tellAlarms();
      if (result.events.fences) fencePending();
    },
    expired(why) {
      manager.expired(why);
      appointments.expired(why);
    },
    changed: () => manager.hint(),
    async leave(until) {
      await appointments.resign('the instance takes on no more work');
      await manager.settled(until);
      if (manager.running.size === 0) return;
      await manager.handOver().catch((error: Error) => {
        log.warn({ instance, error: error.message }, 'what runs here cannot be handed over now');
      });
      const limit = new AbortController();
      void clock.sleep(handOverMs, limit.signal).then(() => limit.abort());
      await manager.settled(limit.signal);
      limit.abort();
    },
    resume: () => appointments.resume(),
    async abort() {
      manager.abort();
      await appointments.close();
    },
    async close() {
      await manager.close();
      await listener.close();
      await Promise.all(running);
    },
  };
}

/** Calls that come while one is under way are that one. What fails is tried again when a heartbeat says so. */
function oneAtATime(log: Log, work: () => Promise<void>): () => void {
  let isBusy = false;
  return () => {
    if (isBusy) return;
    isBusy = true;
    void work()
      .catch((error: Error) => log.warn({ error: error.message }, 'not done now; it is tried again'))
      .finally(() => {
        isBusy = false;
      });
  };
}
