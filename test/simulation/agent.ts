/** One agent of a simulation: the real LeaseKeeper on a simulated machine, and a little work under a named lease. */
import type { Query } from '../../src/database/arbiter.ts';
import { acquireLease, releaseLease } from '../../src/leases/named-lease.ts';
import type { LeaseKeeper, LeaseKeeperOptions } from '../../src/members/lease-keeper.ts';
import type { Membership } from '../../src/members/membership.ts';
import { tokenParts } from '../../src/protocol/token.ts';
import { silentLog } from '../../src/support/log.ts';
import type { Machine } from '../../src/testing/simulation/machine.ts';
import type { Random } from '../../src/testing/simulation/random.ts';
import type { Caller } from './arbiter.ts';

export const lease = { ttlMs: 5_000, heartbeatMs: 1_000 };
export const slot = 'restart-slot';

export type KeeperFactory = (options: LeaseKeeperOptions) => LeaseKeeper;

export interface SimulatedAgent extends Caller {
  readonly instance: string;
  readonly provedDead: readonly string[];
  readonly keeper: LeaseKeeper;
  /** `refused`: another live agent has the name. `left`: it was closed. */
  ended: 'no' | 'refused' | 'left';
  /** Believes that it may act and has not been told otherwise. */
  working: boolean;
  /** Until when a fault that hit this very agent may explain that it did not renew. */
  troubledUntilMs: number;
  lastActedMs: number;
  idleSinceMs: number | undefined;
  /** The token of the named lease that it believes to hold now. */
  slotToken(): bigint | undefined;
}

export function startAgent(options: {
  instance: string;
  agentId: string;
  provedDead: readonly string[];
  machine: Machine;
  random: Random;
  queryFor(caller: Caller): Query;
  keeper: KeeperFactory;
  onEvent(kind: string): void;
}): SimulatedAgent {
  const { instance, agentId, machine, random, onEvent } = options;
  let held: { token: bigint; memberToken: bigint; confirmed: boolean } | undefined;

  const agent: SimulatedAgent = {
    instance,
    agentId,
    machine,
    provedDead: options.provedDead,
    partitioned: false,
    ended: 'no',
    working: false,
    troubledUntilMs: Number.NEGATIVE_INFINITY,
    lastActedMs: Number.NEGATIVE_INFINITY,
    idleSinceMs: undefined,
    slotToken: () =>
      held?.confirmed && held.memberToken === agent.keeper.membership?.token && agent.keeper.mayAct()
        ? held.token
        : undefined,
    keeper: undefined as unknown as LeaseKeeper, // the query needs the agent, and the keeper the query
  };
  const query = options.queryFor(agent);
  (agent as { keeper: LeaseKeeper }).keeper = options.keeper({
    query,
    clock: machine.clock,
    random: random.next,
    log: silentLog,
    instance,
    agentId,
    provedDead: options.provedDead,
    lease,
    report: () => ({
      state: 'up',
      facts: {
        host: agentId,
        agentPid: 1,
        address: null,
        pid: null,
        revision: 1,
        healthPage: null,
        reason: null,
      },
    }),
    on: {
      joined: () => onEvent('joined'),
      renewed: ({ timeline }) => {
        if (held && tokenParts(held.token).timeline !== timeline) held.confirmed = false;
      },
      expired: (why) => {
        agent.working = false;
        onEvent(why.includes('failed over') ? 'failed over while the lease was out' : 'expired');
      },
    },
  });

  async function useSlot(member: Membership): Promise<void> {
    const before = held;
    const answer = await acquireLease(query, slot, member);
    if (answer.outcome === 'granted') {
      held = { token: answer.token, memberToken: member.token, confirmed: true };
      onEvent('named lease granted');
      return;
    }
    const stillMine =
      answer.outcome === 'held' && answer.holder === instance && before?.memberToken === member.token;
    if (stillMine && held) held.confirmed = true;
    else held = undefined;
  }

  async function work(): Promise<void> {
    for (;;) {
      await machine.clock.sleep(random.between(300, 1_500));
      if (agent.ended !== 'no') return;
      const member = agent.keeper.membership;
      try {
        if (held && (held.memberToken !== member?.token || !held.confirmed)) {
          if (held.memberToken !== member?.token) held = undefined;
          else await useSlot(member);
        } else if (held && random.chance(0.6)) {
          const { token } = held;
          held = undefined; // before it is said: nobody may be granted what we still believe in
          if (random.chance(0.9)) await releaseLease(query, slot, token);
        } else if (!held && member && agent.keeper.mayAct()) {
          await useSlot(member);
        }
      } catch {
        // The arbiter is away: what we held is ours until the membership ends; what we asked for is not.
      }
    }
  }

  void agent.keeper.run().then(
    () => undefined,
    (error) => {
      agent.ended = 'refused';
      onEvent(error.code === 'INSTANCE_HELD' ? 'refused: held by a live agent' : `ended: ${error}`);
    },
  );
  void work();
  return agent;
}
