/**
 * What this instance may do and no other one at the same time: being the leader, changing the application's database. A
 * named lease, so it ends when the membership does (P4). A leader that is started again stays the leader, so that its
 * restart is not followed by another one's; one that cannot be started gives it back.
 */
import type { Query } from '../database/arbiter.ts';
import { acquireLease, releaseLease } from '../leases/named-lease.ts';
import type { Membership } from '../members/membership.ts';
import type { Duty, Tenure } from '../platform/index.ts';
import type { Log } from '../support/log.ts';

export interface DutyOptions {
  readonly query: Query;
  /** Of the lease. */
  readonly name: string;
  /** What the instance does once it has it, to be said after its name. */
  readonly words: string;
  readonly instance: string;
  readonly lease: { readonly membership: Membership | undefined; remainingMs(): number };
  readonly log: Log;
}

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

export class InstanceDuty implements Duty {
  readonly #options: DutyOptions;
  #held: Held | undefined;
  #timeline: number | undefined;
  #isDoubtful = false;
  /** Set while the instance is not to have it: it is not asked for, and what is held is given back at the next end. */
  abstains = false;

  constructor(options: DutyOptions) {
    this.#options = options;
  }

  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  async claim(): Promise<Tenure | undefined> {
    const { instance, name, words, lease, log } = this.#options;
    if (this.#held) return this.#held;
    if (this.abstains) return undefined;
    const token = await this.#acquire().catch((error: Error) => {
      log.debug({ instance, duty: name, error: error.message }, 'who has a duty is not known now');
      return undefined;
    });
    // The lease may have run out while the arbiter answered.
    if (token === undefined || lease.remainingMs() <= 0) return undefined;
    this.#held = new Held(token, () => lease.remainingMs());
    log.info({ notice: true, instance, duty: name }, `${instance} ${words}`);
    return this.#held;
  }

  async release({ isKept }: { readonly isKept: boolean }): Promise<void> {
    const held = this.#held;
    if (!held || (isKept && !this.abstains)) return;
    this.#held = undefined;
    held.end.abort();
    const { query, name } = this.#options;
    await releaseLease(query, name, held.token);
  }

  /** The right to act is over. */
  expired(): void {
    this.#held?.end.abort();
    this.#held = undefined;
  }

  /** A heartbeat has succeeded. After a failover the arbiter may not know who has it: it is asked again. */
  renewed({ timeline }: { readonly timeline: number }): void {
    this.#held?.proved();
    this.#isDoubtful ||= this.#timeline !== undefined && timeline !== this.#timeline;
    this.#timeline = timeline;
    if (this.#isDoubtful && this.#held) void this.#confirm(this.#held);
    else this.#isDoubtful = false;
  }

  async #confirm(held: Held): Promise<void> {
    const { query, name, instance, lease, log } = this.#options;
    const member = lease.membership;
    if (!member) return;
    try {
      const answer = await acquireLease(query, name, member);
      if (answer.outcome === 'granted') held.token = answer.token;
      // While nothing is granted, nobody else has it either; the next heartbeat asks again.
      if (answer.outcome === 'held' && answer.holder === '') return;
      this.#isDoubtful = false;
      if (answer.outcome === 'granted' || (answer.outcome === 'held' && answer.holder === instance)) return;
      log.warn({ instance, duty: name }, 'the arbiter failed over and knows another one who has the duty');
      this.expired();
    } catch (error) {
      log.debug({ instance, duty: name, error: (error as Error).message }, 'who has a duty is not known now');
    }
  }

  async #acquire(): Promise<bigint | undefined> {
    const { query, name, lease } = this.#options;
    const member = lease.membership;
    if (!member || lease.remainingMs() <= 0) return undefined;
    const answer = await acquireLease(query, name, member);
    return answer.outcome === 'granted' ? answer.token : undefined;
  }
}
