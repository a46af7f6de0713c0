/**
 * For how long may this process go on with a run? Only its agent can say, and an agent can be frozen, together with
 * its promise to stop the run in time. So the application keeps the proof itself: it asks again every third of what
 * remains, counts from just before each question was *sent*, on the larger of both clocks (protocol/lease.ts), and
 * stops when the time is over, whether or not anybody tells it to.
 *
 * What came with the run proves nothing yet: this process may have been frozen while the request lay in its socket.
 * So the first question is asked before the work begins.
 */
import { elapsedMs, type Moment } from '../../protocol/lease.ts';
import type { Clock } from '../../support/clock.ts';
import type { AgentClient } from './agent-client.ts';
import { RunAbortedError, StaleRunError } from './run-errors.ts';

export interface LeaseWatch {
  /** Zero or less: stop. */
  remainingMs(): number;
  /** What was said when the agent was last asked in vain. */
  lastFailure(): string | undefined;
}

interface WatchOptions {
  readonly clock: Clock;
  readonly agent: AgentClient;
  readonly token: bigint;
  /** How long the first proof may take. */
  readonly withinMs: number;
  /** Ends the watch. */
  readonly ended: AbortSignal;
  onFenced(error: StaleRunError): void;
}

const shortestPauseMs = 20;

export const momentOf = (clock: Clock): Moment => ({
  monotonicMs: clock.monotonicMs(),
  wallMs: clock.wallMs(),
});

/** Rejects with StaleRunError or RunAbortedError when the right to act cannot be proved to begin with. */
export async function watchLease(options: WatchOptions): Promise<LeaseWatch> {
  const { clock, agent, token, ended } = options;
  let sentAt = momentOf(clock);
  let provedMs = 0;
  let lastFailure: string | undefined;
  const remainingMs = () => provedMs - elapsedMs(sentAt, momentOf(clock));

  /** Asks once; false when the run is fenced. */
  async function renew(deadlineMs: number): Promise<boolean> {
    const askedAt = momentOf(clock);
    const answer = await agent.renew(token, deadlineMs);
    if (answer.outcome === 'renewed') {
      sentAt = askedAt;
      provedMs = answer.remainingMs;
      lastFailure = undefined;
    } else if (answer.outcome === 'fenced') {
      lastFailure = answer.reason;
      return false;
    } else {
      lastFailure = answer.reason;
    }
    return true;
  }

  async function prove(): Promise<void> {
    const startedAt = momentOf(clock);
    while (!ended.aborted) {
      const leftMs = options.withinMs - elapsedMs(startedAt, momentOf(clock));
      if (leftMs <= 0) break;
      if (!(await renew(leftMs))) throw new StaleRunError(token, lastFailure ?? 'its agent says so');
      if (remainingMs() > 0) return;
      await clock.sleep(shortestPauseMs, ended);
    }
    throw leaseLost(lastFailure);
  }

  async function keep(): Promise<void> {
    while (!ended.aborted) {
      await clock.sleep(Math.max(shortestPauseMs, remainingMs() / 3), ended);
      const leftMs = remainingMs();
      if (ended.aborted || leftMs <= 0) return;
      if (!(await renew(Math.max(shortestPauseMs, leftMs / 2)))) {
        options.onFenced(new StaleRunError(token, lastFailure ?? 'its agent says so'));
        return;
      }
    }
  }

  await prove();
  void keep();
  return { remainingMs, lastFailure: () => lastFailure };
}

export function leaseLost(lastFailure: string | undefined): RunAbortedError {
  const detail = lastFailure === undefined ? '' : `: ${lastFailure}`;
  return new RunAbortedError('lease', `The lease of this instance is no longer proved${detail}.`);
}
