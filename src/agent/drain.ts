import type { Query } from '../database/arbiter.ts';
import { isDrained } from '../members/balancers.ts';
import type { Clock } from '../support/clock.ts';

/** A drained instance has had no request for so long. */
const quietMs = 2_000;
const askEveryMs = 250;

/**
 * Waits until no balancer has a request or a recent user at the instance, or the limit has passed, or the signal is
 * aborted. While the arbiter is away nobody can say, so the limit decides.
 */
export async function untilDrained(
  { query, instance, limitMs, clock }: { query: Query; instance: string; limitMs: number; clock: Clock },
  cut: AbortSignal,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + limitMs;
  while (!cut.aborted && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(askEveryMs, cut);
    if (await isDrained(query, instance, quietMs).catch(() => false)) return;
  }
}
