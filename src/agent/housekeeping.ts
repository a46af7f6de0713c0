/**
 * Housekeeping: what one member does for all. Whoever holds the named lease does it; the lease moves by itself when
 * its holder goes, so nobody is appointed.
 */
import type { Arbiter } from '../database/arbiter.ts';
import { acquireLease } from '../leases/named-lease.ts';
import type { LeaseKeeper } from '../members/lease-keeper.ts';
import { pruneSessions } from '../sessions/index.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';

const everyMs = 60_000;
const sessionsAtOnce = 1_000;

/** Runs until the signal is aborted. */
export async function keepHouse(
  { arbiter, lease, clock, log }: { arbiter: Arbiter; lease: LeaseKeeper; clock: Clock; log: Log },
  end: AbortSignal,
): Promise<void> {
  while (!end.aborted) {
    await clock.sleep(everyMs, end);
    const member = lease.membership;
    if (end.aborted || !member || !lease.mayAct()) continue;
    try {
      const held = await acquireLease(arbiter.query, 'housekeeping', member);
      if (held.outcome === 'granted') await pruneSessions(arbiter, sessionsAtOnce);
    } catch (error) {
      log.debug({ error: String(error) }, 'housekeeping waits for the arbiter');
    }
  }
}
