/**
 * The agent's part in scheduled events: it brings the event manager together with the instance, the lease and the
 * application that asks. What runs, where and how often is decided below; here is only who is asked for what.
 */

import type { Arbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { deliverAlarms } from '../events/alarms.ts';
import { Appointments } from '../events/appointments.ts';
import { defineEvent, type EventDefinition } from '../events/definition.ts';
import { EventManager } from '../events/event-manager.ts';
import { fenceLost } from '../members/fencing.ts';
import type { LeaseKeeper } from '../members/lease-keeper.ts';
import type { HeartbeatResult } from '../members/membership.ts';
import { stopWorkMs } from '../protocol/lease.ts';
import type { AlarmSettings, Configuration } from '../settings/index.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { builtinEvents } from './builtin-events.ts';
import { type ExecutorFacts, executors } from './executors.ts';

export interface AgentEventsOptions extends ExecutorFacts {
  readonly arbiter: Arbiter;
  readonly configuration: Configuration;
  readonly revision: number;
  /** The secret of the alarm's address, resolved. */
  readonly alarmSecret: string | undefined;
  readonly lease: LeaseKeeper;
  readonly isEligible: () => boolean;
  readonly stopInstance: (why: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface AgentEvents {
  readonly manager: EventManager;
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
  close(): Promise<void>;
}

const hintProbeMs = 15_000;

export function startEvents(options: AgentEventsOptions): AgentEvents {
  const { arbiter, configuration, instance, lease, clock, log } = options;
  const { query } = arbiter;
  const builtin = builtinEvents(arbiter, { ledgerKeepMs: configuration.ledger.keepMs });
  const definitions = [...configuration.events, ...builtin.map(({ settings }) => settings)].map((settings) =>
    defineEvent(settings, instance),
  );
  const run = executors(options, builtin);
  const limitMs = stopWorkMs(configuration.lease.ttlMs);
  const appointments = new Appointments({
    query,
    clock,
    log,
    instance,
    lease,
    definitions: definitions.filter(({ settings }) => settings.on.kind === 'designated'),
    isEligible: options.isEligible,
    tell: run.tell,
    stopWorkMs: limitMs,
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
  const alarms = once(log, (alarm: AlarmSettings) =>
    deliverAlarms({ query, alarm, cluster: configuration.cluster, secret: options.alarmSecret, log }),
  );
  const fences = once(log, () =>
    configuration.fence ? fenceLost({ query, fence: configuration.fence, clock, log }) : Promise.resolve(),
  );

  return {
    manager,
    renewed(result) {
      manager.renewed(result);
      appointments.renewed({ timeline: result.timeline, change: result.events.change });
      if (result.events.alarms && configuration.alarm) alarms(configuration.alarm);
      if (result.events.fences && configuration.fence) fences(undefined);
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
      await clock.sleep(limitMs, settledSignal(manager));
    },
    resume: () => appointments.resume(),
    async close() {
      await appointments.close();
      await manager.close();
      await listener.close();
      await Promise.all(running);
    },
  };
}
