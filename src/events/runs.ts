/**
 * The runs that this agent works on. Each ends with exactly one result, whoever ends it: the work itself, its
 * time-out, the lease (P4), or the drain.
 */
import { retryPauseMs } from '../protocol/retry.ts';
import { tokenParts } from '../protocol/token.ts';
import type { Clock } from '../support/clock.ts';
import { formatDuration } from '../support/duration.ts';
import type { Log } from '../support/log.ts';
import type { EventDefinition } from './definition.ts';
import type { Executor, Proof, RunOrder, Work, WorkResult } from './execution/execution.ts';
import type { Grant, RunResult } from './ledger.ts';

/** Why the agent ended a run that did not end by itself. */
export type AbortCause =
  | { readonly kind: 'timeout' }
  /** It is no longer this agent's to work on. */
  | { readonly kind: 'lost'; readonly why: string }
  | { readonly kind: 'handed over'; readonly to: string };

interface Running {
  readonly definition: EventDefinition;
  readonly order: RunOrder;
  readonly failures: number;
  readonly work: Work;
  readonly startedAtMs: number;
  aborted: AbortCause | undefined;
}

export interface RunsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly instance: string;
  readonly proof: Proof;
  executorOf(definition: EventDefinition): Executor;
  /** To be reported; called once for each run. */
  onResult(result: RunResult, definition: EventDefinition): void;
}

export class Runs {
  readonly #options: RunsOptions;
  readonly #running = new Map<string, Running>();

  constructor(options: RunsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#running.size;
  }

  countOf(event: string): number {
    let count = 0;
    for (const { order } of this.#running.values()) if (order.event === event) count++;
    return count;
  }

  has(token: string): boolean {
    return this.#running.has(token);
  }

  orderOf(token: string): RunOrder | undefined {
    return this.#running.get(token)?.order;
  }

  list(): readonly { readonly definition: EventDefinition; readonly order: RunOrder }[] {
    return [...this.#running.values()];
  }

  /** `failures`: how many attempts before this one failed; they are what uses up the retries. */
  start(definition: EventDefinition, order: RunOrder, failures: number): void {
    const { clock, log, instance } = this.#options;
    const token = String(order.token);
    const ended = new AbortController();
    const work = this.#begin(definition, order);
    const running: Running = {
      definition,
      order,
      failures,
      work,
      startedAtMs: clock.monotonicMs(),
      aborted: undefined,
    };
    this.#running.set(token, running);
    log.info(
      { instance, event: order.event, due: order.dueMs, attempt: order.attempt, token },
      'run started',
    );
    void clock.sleep(order.timeoutMs, ended.signal).then(() => {
      if (!ended.signal.aborted) this.#abort(running, { kind: 'timeout' });
    });
    void work.finished.then((result) => {
      ended.abort();
      this.#running.delete(token);
      const reported = resultOf(running, result);
      const tookMs = clock.monotonicMs() - running.startedAtMs;
      const level = reported.outcome === 'succeeded' ? 'info' : 'warn';
      log[level](
        { instance, event: order.event, due: order.dueMs, attempt: order.attempt, token, tookMs },
        `run of ${order.event} ${reported.outcome}${reported.reason ? `: ${reported.reason}` : ''}`,
      );
      this.#options.onResult(reported, definition);
    });
  }

  /** A definition that cannot be executed must not end the agent, and every instance after it. */
  #begin(definition: EventDefinition, order: RunOrder): Work {
    try {
      return this.#options.executorOf(definition)(order, this.#options.proof);
    } catch (error) {
      const reason = `it could not be begun: ${(error as Error).message}`;
      const finished = Promise.resolve({ outcome: 'failed', reason, result: null, isFinal: true } as const);
      return { finished, abort: () => undefined };
    }
  }

  renewed(remainingMs: number): void {
    for (const { work } of this.#running.values()) work.renewed?.(remainingMs);
  }

  abort(token: string, cause: AbortCause): void {
    const running = this.#running.get(token);
    if (running) this.#abort(running, cause);
  }

  abortAll(why: string): void {
    for (const running of this.#running.values()) this.#abort(running, { kind: 'lost', why });
  }

  /** After a failover: those that were granted before it and are unknown to the new primary. */
  abortUnknown(known: readonly string[], timeline: number): void {
    for (const [token, running] of this.#running) {
      if (tokenParts(running.order.token).timeline === timeline || known.includes(token)) continue;
      const why = 'the arbiter failed over and has no record of it';
      this.#abort(running, { kind: 'lost', why });
    }
  }

  #abort(running: Running, cause: AbortCause): void {
    if (running.aborted) return;
    running.aborted = cause;
    running.work.abort(inWords(running, cause));
  }
}

/** What whoever does the work is told of a run that was granted. */
export function orderOf({ name, place, settings }: EventDefinition, grant: Grant): RunOrder {
  const { occurrence, dueMs, attempt, token, cause, payload } = grant;
  return {
    ...{ event: name, place, occurrence, dueMs, attempt, token: BigInt(token), cause },
    payload: payload ?? settings.payload ?? null,
    timeoutMs: settings.timeoutMs,
  };
}

function inWords({ order }: Running, cause: AbortCause): string {
  switch (cause.kind) {
    case 'timeout':
      return `timed out after ${formatDuration(order.timeoutMs)}`;
    case 'lost':
      return cause.why;
    case 'handed over':
      return `handed over to ${cause.to}`;
  }
}

/** A run that succeeded has succeeded, even if somebody wanted to end it: the token decides whether that counts. */
function resultOf(running: Running, { outcome, reason, result, isFinal }: WorkResult): RunResult {
  const { order, failures, definition, aborted } = running;
  const base = { token: String(order.token), result, retryMs: null, prefer: null };
  if (outcome === 'succeeded') return { ...base, outcome, reason };
  // Whoever did the work may know more of how it ended than that it was to end.
  const words = reason ?? (aborted ? inWords(running, aborted) : null);
  if (aborted?.kind === 'handed over')
    return { ...base, outcome: 'handed over', reason: words, prefer: aborted.to };
  if (aborted?.kind === 'lost') return { ...base, outcome: 'lost', reason: words };
  if (outcome === 'lost') return { ...base, outcome, reason };
  const retryMs = isFinal ? null : retryPauseMs(failures + 1, definition.settings.retry);
  return { ...base, outcome: 'failed', retryMs, reason: words };
}
