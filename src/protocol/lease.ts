/**
 * Lease arithmetic: until when may an agent act?
 *
 * The arbiter grants until `now + ttl` on its clock, where `now` is some moment after the renewal was *sent*. So an
 * agent that counts its ttl from just before it sent is never later than the arbiter, whatever the network did,
 * and no clock is ever compared with another. Elapsed time is the larger of monotonic and wall time: the monotonic
 * clock of a suspended machine stands still, and the wall clock can be set back; neither alone is safe.
 * (The argument is that of Gray and Cheriton, "Leases", 1989, with clock *rates* assumed close, offsets not at all.)
 */

/** One moment on both clocks of a machine. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** The largest time that can have passed since then, as far as this machine can know. */
export function elapsedMs(since: Moment, now: Moment): number {
  return Math.max(now.monotonicMs - since.monotonicMs, now.wallMs - since.wallMs);
}

export interface LeaseTerms {
  readonly ttlMs: number;
  /** What the agent needs to stop its work: it must have *stopped* before the lease can be given away. */
  readonly stopWorkMs: number;
}

/** Two clocks that count the same seconds differ by less than this fraction. */
export const clockRateTolerance = 0.01;

/** How long after sending a renewal its agent may go on acting. */
export function actingForMs({ ttlMs, stopWorkMs }: LeaseTerms): number {
  return Math.max(0, ttlMs * (1 - clockRateTolerance) - stopWorkMs);
}

/** What remains of the right to act, in ms; zero or less: stop (P4). `sentAt` is the renewal that succeeded. */
export function remainingMs(sentAt: Moment, now: Moment, terms: LeaseTerms): number {
  return actingForMs(terms) - elapsedMs(sentAt, now);
}

/** A fifth of the ttl, at most a second, is kept back for killing what runs. */
export const stopWorkMs = (ttlMs: number): number => Math.min(1_000, ttlMs / 5);

/**
 * The longest time between the last sign of life of a member whose death nobody saw and the moment at which its
 * work may be taken over: its lease runs out (ttl), a witness's next heartbeat finds it (heartbeat), and both that
 * heartbeat and the declaration may take as long as a query may (deadline).
 */
export function takeoverWorstCaseMs(
  lease: { ttlMs: number; heartbeatMs: number },
  queryDeadlineMs: number,
): number {
  return lease.ttlMs + lease.heartbeatMs + 2 * queryDeadlineMs;
}
