/** A little work under a named lease, as a restart slot or an appointment is used. */
import type { Query } from '../../database/arbiter.ts';
import { acquireLease, releaseLease } from '../../leases/named-lease.ts';
import type { LeaseKeeper } from '../../members/lease-keeper.ts';
import type { Membership } from '../../members/membership.ts';
import { tokenParts } from '../../protocol/token.ts';
import type { Clock } from '../../support/clock.ts';
import type { LeaseTiming } from './agent.ts';
import type { Random } from './random.ts';

export const slot = 'restart-slot';

export interface NamedWork {
  /** Takes it and gives it back, again and again. */
  use(lease: LeaseTiming): void;
  /** The token of the named lease that it believes to hold now. */
  token(): bigint | undefined;
  renewed(timeline: number): void;
}

export function namedWork({
  query,
  clock,
  random,
  keeper,
  onEvent,
  isOver,
}: {
  query: Query;
  clock: Clock;
  random: Random;
  keeper: LeaseKeeper;
  onEvent(kind: string): void;
  isOver(): boolean;
}): NamedWork {
  let held: { token: bigint; memberToken: bigint; confirmed: boolean } | undefined;

  async function take(member: Membership): Promise<void> {
    const before = held;
    const answer = await acquireLease(query, slot, member);
    if (answer.outcome === 'granted') {
      held = { token: answer.token, memberToken: member.token, confirmed: true };
      onEvent('named lease granted');
      return;
    }
    const stillMine =
      answer.outcome === 'held' && answer.holder === member.instance && before?.memberToken === member.token;
    if (stillMine && held) held.confirmed = true;
    else held = undefined;
  }

  async function step(): Promise<void> {
    const member = keeper.membership;
    if (held && (held.memberToken !== member?.token || !held.confirmed)) {
      if (held.memberToken !== member?.token) held = undefined;
      else await take(member);
    } else if (held && random.chance(0.6)) {
      const { token } = held;
      held = undefined; // before it is said: nobody may be granted what we still believe in
      if (random.chance(0.9)) await releaseLease(query, slot, token);
    } else if (!held && member && keeper.mayAct()) {
      await take(member);
    }
  }

  async function work({ ttlMs }: LeaseTiming): Promise<void> {
    while (!isOver()) {
      await clock.sleep(random.between(0.05, 0.8) * ttlMs);
      if (isOver()) return;
      // The arbiter is away: what we held is ours until the membership ends; what we asked for is not.
      await step().catch(() => undefined);
    }
  }

  return {
    use: (lease) => void work(lease),
    token: () =>
      held?.confirmed && held.memberToken === keeper.membership?.token && keeper.mayAct()
        ? held.token
        : undefined,
    renewed(timeline) {
      if (held && tokenParts(held.token).timeline !== timeline) held.confirmed = false;
    },
  };
}
