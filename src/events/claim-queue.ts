/**
 * Claims on their way to the arbiter: those that gather while one statement is under way go together in the next.
 * So a thousand occurrences a second cost a few dozen statements, and one at rest costs one.
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import { clockRateTolerance } from '../protocol/lease.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { type Claim, type ClaimAnswer, claim } from './ledger.ts';

export interface PendingClaim {
  readonly claim: Claim;
  answered(answer: ClaimAnswer, member: Membership): void;
  /** It is not known whether it was executed, or it was not. */
  unanswered(): void;
}

export interface ClaimQueueOptions {
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  /** The arbiter's clock, read in an answer that has just arrived; `isBehind`: it is not as far as was thought. */
  onArbiterTime(nowMs: number, isBehind: boolean): void;
  /** Claims of these events are no longer under way: there may be room for others of them. */
  onAnswered(events: ReadonlySet<string>): void;
  /** There may be more to send. */
  onIdle(): void;
}

/**
 * The statement holds the lock of the own member, so the heartbeat must not wait long for it: so many claims at once,
 * with so many due moments in all, and fewer after a statement that got no answer.
 */
const claimsAtOnce = 100;
const momentsAtOnce = 500;
const retryMs = 250;

const momentsOf = ({ claim: one }: PendingClaim): number => ('dueMs' in one ? one.dueMs.length : 1);

export class ClaimQueue {
  readonly #options: ClaimQueueOptions;
  readonly #pending: PendingClaim[] = [];
  #sent: readonly PendingClaim[] = [];
  #atOnce = claimsAtOnce;
  #isClosed = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(options: ClaimQueueOptions) {
    this.#options = options;
  }

  get isBusy(): boolean {
    return this.#sent.length > 0;
  }

  get isFull(): boolean {
    return this.#pending.length >= claimsAtOnce;
  }

  /** How many claims of this event are on their way or about to be. */
  countOf(event: string): number {
    const isOfEvent = (one: PendingClaim): boolean => one.claim.event === event;
    return this.#pending.filter(isOfEvent).length + this.#sent.filter(isOfEvent).length;
  }

  /** Monotonic: nothing is asked before then, because the arbiter was away or grants nothing. */
  get notBeforeMs(): number {
    return this.#notBeforeMs;
  }

  add(pending: PendingClaim): void {
    if (this.#isClosed) pending.unanswered();
    else this.#pending.push(pending);
  }

  /** Undefined: it is not known whether it was executed, or it was not. */
  ask(wanted: Claim): Promise<{ answer: ClaimAnswer; member: Membership } | undefined> {
    return new Promise((resolve) => {
      this.add({
        claim: wanted,
        answered: (answer, member) => resolve({ answer, member }),
        unanswered: () => resolve(undefined),
      });
    });
  }

  /** Nothing is asked any more; an answer that is on its way is still waited for. */
  close(): void {
    this.#isClosed = true;
    for (const pending of this.#pending.splice(0)) pending.unanswered();
  }

  send(member: Membership): void {
    const { clock } = this.#options;
    if (this.isBusy || this.#pending.length === 0 || clock.monotonicMs() < this.#notBeforeMs) return;
    this.#sent = this.#take();
    const events = new Set(this.#sent.map((one) => one.claim.event));
    void this.#exchange(member, this.#sent).finally(() => {
      this.#options.onAnswered(events);
      this.#options.onIdle();
    });
  }

  /** As many as one statement may hold; always one. */
  #take(): PendingClaim[] {
    let moments = 0;
    const end = this.#pending.findIndex((one, index) => {
      moments += momentsOf(one);
      return index > 0 && (index >= this.#atOnce || moments > momentsAtOnce);
    });
    return this.#pending.splice(0, end < 0 ? this.#pending.length : end);
  }

  async #exchange(member: Membership, sent: readonly PendingClaim[]): Promise<void> {
    const { query, clock, log } = this.#options;
    const claims = sent.map((one) => one.claim);
    const answer = await claim(query, member, claims).catch((error: Error) => {
      log.debug({ error: error.message }, 'no answer to a claim');
      return undefined;
    });
    this.#sent = [];
    this.#atOnce = answer
      ? Math.min(claimsAtOnce, this.#atOnce * 2)
      : Math.max(1, Math.floor(this.#atOnce / 2));
    if (answer?.outcome !== 'answered') {
      const waitMs = answer?.outcome === 'grace' ? answer.waitMs * (1 + clockRateTolerance) : retryMs;
      this.#notBeforeMs = clock.monotonicMs() + waitMs;
      for (const one of sent) one.unanswered();
      return;
    }
    const isBehind = answer.answers.some(({ outcome }) => outcome === 'early');
    this.#options.onArbiterTime(answer.nowMs, isBehind);
    for (const [index, one] of sent.entries()) {
      const own = answer.answers[index];
      if (own) one.answered(own, member);
      else one.unanswered();
    }
  }
}
