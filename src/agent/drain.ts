/**
 * How an instance is taken out of service without anybody noticing: new users go elsewhere, requests and runs finish,
 * what outlasts the limit is handed over. Before its agent stops, and while there is a reason for maintenance.
 */
import type { Query } from '../database/arbiter.ts';
import { type DrainProgress, drainProgress } from '../members/balancers.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import type { AgentEvents } from './events.ts';
import type { Intentions } from './state-of-agent.ts';

/** Where users cannot be told apart, a drained instance has had no request for so long. */
const quietMs = 2_000;
const askEveryMs = 250;
const tellEveryMs = 3_000;

export interface DrainOptions {
  readonly query: Query;
  readonly instance: string;
  readonly limitMs: number;
  readonly events: AgentEvents;
  readonly clock: Clock;
  /** Cuts every drain short. */
  readonly cut: AbortSignal;
  /** Is told how far a drain has come while it lasts. */
  readonly log: Log;
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
async function untilUnused(options: DrainOptions): Promise<void> {
  const { query, instance, limitMs, clock, cut, log } = options;
  const deadlineMs = clock.monotonicMs() + limitMs;
  let tellMs = clock.monotonicMs() + tellEveryMs;
  while (!cut.aborted && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(askEveryMs, cut);
    const progress = await drainProgress(query, instance, quietMs).catch(() => undefined);
    if (progress?.isDrained) return;
    const nowMs = clock.monotonicMs();
    if (nowMs < tellMs || cut.aborted) continue;
    tellMs = nowMs + tellEveryMs;
    const leftMs = Math.max(0, deadlineMs - nowMs);
    log.info({ notice: true, instance, ...progress, leftMs }, describe(instance, progress, leftMs));
  }
}

/** `shop-1 drains: 3 users and 1 request left, at most 12 s more`. */
function describe(instance: string, progress: DrainProgress | undefined, leftMs: number): string {
  const limit = `at most ${Math.ceil(leftMs / 1000)} s more`;
  if (!progress) return `${instance} drains: the arbiter is away, so nobody can say who is left; ${limit}`;
  const { users, inFlight } = progress;
  const requests = inFlight === 1 ? '1 request' : `${inFlight} requests`;
  const people = users === null ? '' : `${users === 1 ? '1 user' : `${users} users`} and `;
  return `${instance} drains: ${people}${requests} left, ${limit}`;
}
