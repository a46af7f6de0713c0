/**
 * Whether this instance is the leader of its cluster: the one that changes the database before the others start, and
 * that does what only one may do. A named lease, so it ends when the membership does (P4). A leader that is started again
 * stays the leader, so that its restart is not followed by another one's; one that cannot be started gives it back.
 */
import type { Query } from '../database/arbiter.ts';
import { acquireLease, releaseLease } from '../leases/named-lease.ts';
import type { Membership } from '../members/membership.ts';
import type { Leadership, Tenure } from '../platform/index.ts';
import type { Log } from '../support/log.ts';

export interface LeadershipOptions {
  readonly query: Query;
  readonly instance: string;
  readonly lease: { readonly membership: Membership | undefined; remainingMs(): number };
  readonly log: Log;
}

const leaseName = 'leader';

class Held implements Tenure {
  token: bigint;
  readonly end = new AbortController();
  readonly over = this.end.signal;
  readonly remainingMs: () => number;
  /** Of the present life only: an earlier one has nothing left to be proved. */
  #listener: (remainingMs: number) => void = () => undefined;

  constructor(token: bigint, remainingMs: () => number) {
    this.token = token;
    this.remainingMs = remainingMs;
  }

  onProof(listener: (remainingMs: number) => void): void {
    this.#listener = listener;
  }

  proved(): void {
    this.#listener(this.remainingMs());
  }
}

export class InstanceLeadership implements Leadership {
  readonly #options: LeadershipOptions;
  #held: Held | undefined;
  #timeline: number | undefined;
  #isDoubtful = false;
  /** Set while the instance is not to lead: a claim is not made, and what is held is given back at the next end. */
  abstains = false;

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  get isLeader(): boolean {
    return this.#held !== undefined;
  }

  async claim(): Promise<Tenure | undefined> {
    const { instance, lease, log } = this.#options;
    if (this.#held) return this.#held;
    if (this.abstains) return undefined;
    const token = await this.#acquire().catch((error: Error) => {
      log.debug({ instance, error: error.message }, 'who leads is not known now');
      return undefined;
    });
    // The lease may have run out while the arbiter answered.
    if (token === undefined || lease.remainingMs() <= 0) return undefined;
    this.#held = new Held(token, () => lease.remainingMs());
    log.info({ notice: true, instance }, `${instance} is the leader`);
    return this.#held;
  }

  async release({ isKept }: { readonly isKept: boolean }): Promise<void> {
    const held = this.#held;
    if (!held || (isKept && !this.abstains)) return;
    this.#held = undefined;
    held.end.abort();
    await releaseLease(this.#options.query, leaseName, held.token);
  }

  /** The right to act is over. */
  expired(): void {
    this.#held?.end.abort();
    this.#held = undefined;
  }

  /** A heartbeat has succeeded. After a failover the arbiter may not know who leads: it is asked again. */
  renewed({ timeline }: { readonly timeline: number }): void {
    this.#held?.proved();
    this.#isDoubtful ||= this.#timeline !== undefined && timeline !== this.#timeline;
    this.#timeline = timeline;
    if (this.#isDoubtful && this.#held) void this.#confirm(this.#held);
    else this.#isDoubtful = false;
  }

  async #confirm(held: Held): Promise<void> {
    const { query, instance, lease, log } = this.#options;
    const member = lease.membership;
    if (!member) return;
    try {
      const answer = await acquireLease(query, leaseName, member);
      if (answer.outcome === 'granted') held.token = answer.token;
      // While nothing is granted, nobody else is the leader either; the next heartbeat asks again.
      if (answer.outcome === 'held' && answer.holder === '') return;
      this.#isDoubtful = false;
      if (answer.outcome === 'granted' || (answer.outcome === 'held' && answer.holder === instance)) return;
      log.warn({ instance }, 'the arbiter failed over and knows another leader');
      this.expired();
    } catch (error) {
      log.debug({ instance, error: (error as Error).message }, 'who leads is not known now');
    }
  }

  async #acquire(): Promise<bigint | undefined> {
    const { query, lease } = this.#options;
    const member = lease.membership;
    if (!member || lease.remainingMs() <= 0) return undefined;
    const answer = await acquireLease(query, leaseName, member);
    return answer.outcome === 'granted' ? answer.token : undefined;
  }
}
