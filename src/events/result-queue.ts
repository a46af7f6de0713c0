/**
 * Results on their way to the ledger. One is sent until it is answered, whatever becomes of the lease: the token
 * decides whether it counts. What was sent is remembered for a while, because a failover may forget it and the
 * arbiter then believes that the run goes on.
 */
import type { Query } from '../database/arbiter.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { excerptOf } from './execution/excerpt.ts';
import { type FinishAnswer, finish, type RunResult } from './ledger.ts';

const resultsAtOnce = 500;
const rememberedResults = 1_000;
const retryMs = 250;

export interface ResultQueueOptions {
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  /** There may be more to send. */
  onIdle(): void;
}

export class ResultQueue {
  readonly #options: ResultQueueOptions;
  readonly #sent = new Map<string, RunResult>();
  #pending: RunResult[] = [];
  #isBusy = false;

  constructor(options: ResultQueueOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0 && !this.#isBusy;
  }

  add(result: RunResult): void {
    const { reason, result: text } = result;
    this.#pending.push({
      ...result,
      reason: reason === null ? null : excerptOf(reason),
      result: text === null ? null : excerptOf(text),
    });
  }

  /** The run was never begun here, so it is nobody's loss. */
  giveBack(token: string, reason: string): void {
    this.add({ token, outcome: 'returned', reason, result: null, retryMs: null, prefer: null });
  }

  /** The arbiter believes that this run goes on here, and it does not. */
  sendAgain(token: string): void {
    if (this.#pending.some((one) => one.token === token)) return;
    const known = this.#sent.get(token);
    if (known) this.add(known);
    else this.giveBack(token, 'the answer to its claim did not arrive');
  }

  send(): void {
    if (this.#isBusy || this.#pending.length === 0) return;
    this.#isBusy = true;
    const results = this.#pending.splice(0, resultsAtOnce);
    void this.#exchange(results).finally(() => {
      this.#isBusy = false;
      this.#options.onIdle();
    });
  }

  async #exchange(results: readonly RunResult[]): Promise<void> {
    const { query, clock, log } = this.#options;
    for (const result of results) this.#remember(result);
    let answers: readonly FinishAnswer[];
    try {
      answers = await finish(query, results);
    } catch (error) {
      log.debug({ error: String(error) }, 'no answer to a result; sending it again');
      this.#pending.unshift(...(isRefusal(error) ? results.map(withoutText) : results));
      await clock.sleep(retryMs);
      return;
    }
    for (const [index, result] of results.entries()) this.#answered(result, answers[index]);
  }

  #answered(result: RunResult, answer: FinishAnswer | undefined): void {
    if (answer?.outcome === 'nobody') this.giveBack(result.token, result.reason ?? '');
    if (answer?.outcome !== 'ended' && answer?.outcome !== 'unknown') return;
    const why = answer.outcome === 'ended' ? `${answer.was}: ${answer.reason}` : 'unknown to the arbiter';
    this.#options.log.warn(
      { token: result.token, outcome: result.outcome },
      `the result of a run came too late and counts for nothing (${why})`,
    );
  }

  #remember(result: RunResult): void {
    this.#sent.set(result.token, result);
    for (const token of this.#sent.keys()) {
      if (this.#sent.size <= rememberedResults) break;
      this.#sent.delete(token);
    }
  }
}

/** SQLSTATE class 22: the data itself. */
const isRefusal = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && String(error.code).startsWith('22');

/** The arbiter refused what was sent, and only its text can be at fault: one text must not hold up the others for ever. */
const withoutText = (result: RunResult): RunResult => ({
  ...result,
  reason: result.outcome === 'succeeded' ? null : 'its reason could not be stored',
  result: null,
});
