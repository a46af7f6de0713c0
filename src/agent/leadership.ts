/**
 * Whether this instance is the leader of its cluster: the one that changes the database before the others start, and
 * that does what only one may do. A named lease, so it ends when the membership does (P4), and it is given back as soon
 * as the instance's process has ended, which is a death that was seen (P5).
 */
import type { Query } from '../database/arbiter.ts';
import { acquireLease, releaseLease } from '../leases/named-lease.ts';
import type { Membership } from '../members/membership.ts';
import type { Leadership } from '../platform/index.ts';
import type { Log } from '../support/log.ts';

export interface LeadershipOptions {
  readonly query: Query;
  readonly instance: string;
  readonly lease: { readonly membership: Membership | undefined; mayAct(): boolean };
  readonly log: Log;
}

const leaseName = 'leader';

export class InstanceLeadership implements Leadership {
  readonly #options: LeadershipOptions;
  #held: { token: bigint; readonly end: AbortController } | undefined;
  #timeline: number | undefined;
  #isDoubtful = false;

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  async claim(): Promise<AbortSignal | undefined> {
    const { instance, log } = this.#options;
    if (this.#held) return this.#held.end.signal;
    const token = await this.#acquire().catch((error: Error) => {
      log.debug({ instance, error: error.message }, 'who leads is not known now');
      return undefined;
    });
    // The lease may have run out while the arbiter answered.
    if (token === undefined || !this.#options.lease.mayAct()) return undefined;
    this.#held = { token, end: new AbortController() };
    log.info({ notice: true, instance }, `${instance} is the leader`);
    return this.#held.end.signal;
  }

  async release(): Promise<void> {
    const { query } = this.#options;
    const held = this.#held;
    this.#held = undefined;
    held?.end.abort();
    if (held) await releaseLease(query, leaseName, held.token);
  }

  /** The right to act is over. */
  expired(): void {
    this.#held?.end.abort();
    this.#held = undefined;
  }

  /** A heartbeat has succeeded. After a failover the arbiter may not know who leads: it is asked again. */
  renewed({ timeline }: { readonly timeline: number }): void {
    this.#isDoubtful ||= this.#timeline !== undefined && timeline !== this.#timeline;
    this.#timeline = timeline;
    if (this.#isDoubtful && this.#held) void this.#confirm(this.#held);
    else this.#isDoubtful = false;
  }

  async #confirm(held: { token: bigint }): Promise<void> {
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
    if (!member || !lease.mayAct()) return undefined;
    const answer = await acquireLease(query, leaseName, member);
    return answer.outcome === 'granted' ? answer.token : undefined;
  }
}
