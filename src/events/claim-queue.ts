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
  /** There may be more to send. */
  onIdle(): void;
}

/** Their statement holds the lock of the own member, so the heartbeat must not wait long for it. */
const claimsAtOnce = 100;
const retryMs = 250;

export class ClaimQueue {
  readonly #options: ClaimQueueOptions;
  readonly #pending: PendingClaim[] = [];
  #isBusy = false;
  #isClosed = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(options: ClaimQueueOptions) {
    this.#options = options;
  }

  get isBusy(): boolean {
    return this.#isBusy;
  }

  get isFull(): boolean {
    return this.#pending.length >= claimsAtOnce;
  }

  /** Monotonic: nothing is asked before then, because the arbiter was away or grants nothing. */
  get notBeforeMs(): number {
    return this.#notBeforeMs;
  }

  add(pending: PendingClaim): void {
    if (this.#isClosed) pending.unanswered();
    else this.#pending.push(pending);
  }

  /** Nothing is asked any more; an answer that is on its way is still waited for. */
  close(): void {
    this.#isClosed = true;
    for (const pending of this.#pending.splice(0)) pending.unanswered();
  }

  send(member: Membership): void {
    const { clock } = this.#options;
    if (this.#isBusy || this.#pending.length === 0 || clock.monotonicMs() < this.#notBeforeMs) return;
    this.#isBusy = true;
    const sent = this.#pending.splice(0, claimsAtOnce);
    void this.#exchange(member, sent).finally(() => {
      this.#isBusy = false;
      this.#options.onIdle();
    });
  }

  async #exchange(member: Membership, sent: readonly PendingClaim[]): Promise<void> {
    const { query, clock, log } = this.#options;
    const claims = sent.map((one) => one.claim);
    const answer = await claim(query, member, claims).catch((error: Error) => {
      log.debug({ error: error.message }, 'no answer to a claim');
      return undefined;
    });
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
