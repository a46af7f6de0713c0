/**
 * How an instance is taken out of service without anybody noticing: new users go elsewhere, requests and runs finish,
 * what outlasts the limit is handed over. Before its agent stops, and while there is a reason for maintenance.
 */
import type { Query } from '../database/arbiter.ts';
import { isDrained } from '../members/balancers.ts';
import type { Clock } from '../support/clock.ts';
import type { AgentEvents } from './events.ts';
import type { Intentions } from './state-of-agent.ts';

/** A drained instance has had no request for so long. */
const quietMs = 2_000;
const askEveryMs = 250;

export interface DrainOptions {
  readonly query: Query;
  readonly instance: string;
  readonly limitMs: number;
  readonly events: AgentEvents;
  readonly clock: Clock;
  /** Cuts every drain short. */
  readonly cut: AbortSignal;
  /** The state has changed: say so. */
  announce(): void;
}

export async function drain(options: DrainOptions): Promise<void> {
  const { limitMs, events, clock, cut, announce } = options;
  announce();
  const limit = new AbortController();
  void clock.sleep(limitMs, cut).then(() => limit.abort());
  await Promise.all([untilUnused(options), events.leave(limit.signal)]);
}

/** Drains whenever there is a new reason for maintenance, until the signal is aborted. */
export async function drainForMaintenance(
  intentions: { -readonly [Key in keyof Intentions]: Intentions[Key] },
  options: DrainOptions,
  end: AbortSignal,
): Promise<void> {
  while (!end.aborted) {
    await options.clock.sleep(askEveryMs, end);
    if (intentions.maintenance.length === 0 || intentions.drained || intentions.stopping) continue;
    await drain(options);
    intentions.drained = intentions.maintenance.length > 0;
    options.announce();
  }
}

/**
 * Waits until no balancer has a request or a recent user at the instance, or the limit has passed, or the drain is
 * cut short. While the arbiter is away nobody can say, so the limit decides.
 */
async function untilUnused({ query, instance, limitMs, clock, cut }: DrainOptions): Promise<void> {
  const deadlineMs = clock.monotonicMs() + limitMs;
  while (!cut.aborted && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(askEveryMs, cut);
    if (await isDrained(query, instance, quietMs).catch(() => false)) return;
  }
}
