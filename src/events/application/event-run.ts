/**
 * One run as the application sees it: what it is, whether it may go on, and how it commits. It may go on until its
 * time-out, as long as its lease is proved (lease-watch.ts), and while whoever asked for it listens.
 */
import type { Arbiter } from '../../database/arbiter.ts';
import { elapsedMs } from '../../protocol/lease.ts';
import type { Clock } from '../../support/clock.ts';
import { formatDuration } from '../../support/duration.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { AgentClient } from './agent-client.ts';
import { type LeaseWatch, leaseLost, momentOf, watchLease } from './lease-watch.ts';
import { RunAbortedError } from './run-errors.ts';
import { commitWithRun, type TransactionClient } from './run-transaction.ts';

export interface EventRun {
  readonly event: string;
  /** The moment at which it was due, which may be a while ago. */
  readonly due: Date;
  /** 1 for the first. */
  readonly attempt: number;
  /** Rises with every run: for whatever can refuse a lower one. */
  readonly token: bigint;
  readonly cause: 'schedule' | 'manual';
  /** From the configuration, or from whoever triggered it. */
  readonly payload: unknown;
  /** The same for every attempt: for services that do a thing once for each key. */
  readonly idempotencyKey: string;
  /**
   * Only for an event with `on: designated` whose hooks post to its handler: from now on this instance is, or is no
   * longer, the one that does the work. Nothing is committed then, and there is no lease to prove: answer, and go on.
   */
  readonly appointment: 'appointed' | 'dismissed' | undefined;
  /** Aborted when this run must stop: hand it on to whatever takes a signal. The reason is an `Error`. */
  readonly signal: AbortSignal;
  /** Until its time-out; 0 when it must stop. */
  remainingMs(): number;
  /**
   * Commits what `work` does and the success of this run together, or neither. What it returns is kept as result.
   * Rejects with StaleRunError, and nothing is changed, when the run counts no more. At most one commits.
   */
  transaction<T>(work: (client: TransactionClient) => Promise<T>): Promise<T>;
}

export interface RunFacts extends Omit<EventRun, 'signal' | 'remainingMs' | 'transaction'> {
  readonly timeoutMs: number;
}

export interface RunSurroundings {
  readonly clock: Clock;
  readonly agent: AgentClient;
  /** Throws CONFIGURATION_MISSING where no database is known. */
  arbiter(): Arbiter;
  /** For how long the lease is said to be proved: the first proof of our own may take no longer. */
  readonly leaseMs: number;
}

export interface RunControl {
  readonly run: EventRun;
  abort(reason: Error): void;
  /** The run's success is in the ledger already. */
  committed(): boolean;
  /** Asked for at the end: aborted, and why. */
  abortedBecause(): Error | undefined;
  end(): void;
}

const nothingToProve: LeaseWatch = {
  remainingMs: () => Number.POSITIVE_INFINITY,
  lastFailure: () => undefined,
};

/** A machine that was suspended finds out this soon after it woke: timers count on the monotonic clock only. */
const lookEveryMs = 100;

/** Rejects with StaleRunError or RunAbortedError when it must not even begin. */
export async function beginRun(
  { timeoutMs, ...facts }: RunFacts,
  { clock, agent, arbiter, leaseMs }: RunSurroundings,
): Promise<RunControl> {
  const startedAt = momentOf(clock);
  const stop = new AbortController();
  const ended = new AbortController();
  const abort = (reason: Error) => stop.abort(reason);
  const lease = facts.appointment
    ? nothingToProve
    : await watchLease({
        clock,
        agent,
        token: facts.token,
        withinMs: Math.min(leaseMs, timeoutMs),
        ended: AbortSignal.any([stop.signal, ended.signal]),
        onFenced: abort,
      });

  const leftMs = () => timeoutMs - elapsedMs(startedAt, momentOf(clock));

  /** Aborts if it is time; in how many ms to look again. */
  function look(): number {
    if (ended.signal.aborted) return lookEveryMs;
    const timeoutInMs = leftMs();
    const leaseInMs = lease.remainingMs();
    if (timeoutInMs <= 0) {
      abort(
        new RunAbortedError(
          'timeout',
          `The run took longer than its time-out of ${formatDuration(timeoutMs)}.`,
        ),
      );
    } else if (leaseInMs <= 0) {
      abort(leaseLost(lease.lastFailure()));
    }
    return Math.min(lookEveryMs, timeoutInMs, leaseInMs);
  }

  async function keepLooking(): Promise<void> {
    const over = AbortSignal.any([stop.signal, ended.signal]);
    while (!over.aborted) await clock.sleep(Math.max(1, Math.ceil(look())), over);
  }

  let transaction: 'none' | 'open' | 'committed' = 'none';
  const run: EventRun = {
    ...facts,
    get signal() {
      look(); // a process that was frozen may read this before any timer of its has fired
      return stop.signal;
    },
    remainingMs() {
      look();
      return stop.signal.aborted ? 0 : Math.max(0, leftMs());
    },
    async transaction(work) {
      if (transaction !== 'none') throw secondTransaction(facts.event, transaction);
      look();
      transaction = 'open';
      let committed = false;
      try {
        const value = await commitWithRun(
          arbiter(),
          { token: facts.token, signal: stop.signal, remainingMs: leftMs },
          work,
        );
        committed = true;
        return value;
      } finally {
        transaction = committed ? 'committed' : 'none';
      }
    },
  };
  void keepLooking();
  return {
    run,
    abort,
    committed: () => transaction === 'committed',
    abortedBecause() {
      look();
      return stop.signal.aborted ? (stop.signal.reason as Error) : undefined;
    },
    end: () => ended.abort(),
  };
}

function secondTransaction(event: string, first: 'open' | 'committed'): HoldfastError {
  const why =
    first === 'open'
      ? 'is open already: one at a time'
      : 'has committed already, and with it the success of the run';
  return new HoldfastError('USAGE', `A transaction of this run of ${event} ${why}.`, {
    remedy: 'Do everything that belongs together in one run.transaction.',
  });
}
