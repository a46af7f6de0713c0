/**
 * Knows whether the arbiter is away, so that users do not each wait for a deadline to find out. The first question
 * that gets no answer settles it; from then on one question of our own, asked again and again, finds out when the
 * arbiter is back.
 *
 * Every question may be asked twice: reads by nature, saves because they carry an id. It is asked again where the
 * failure says more about the connection (lost at once: a restart, a failover) or about this process (a deadline
 * that passed long ago: it was suspended or busy) than about the arbiter.
 */
import type { Arbiter } from '../database/arbiter.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';

const askAgainMs = 300;
const answerWithinMs = 1_000;
const lostAtOnceMs = 800;
const noticedLateMs = 1_600;

export interface ArbiterWatch {
  isAway(): boolean;
  /** Runs a question. Rejects at once with ARBITER_UNAVAILABLE while the arbiter is known to be away. */
  ask<T>(question: () => Promise<T>): Promise<T>;
  close(): void;
}

export function isUnavailable(error: unknown): boolean {
  return error instanceof HoldfastError && error.code.startsWith('ARBITER_');
}

export function watchArbiter(arbiter: Arbiter, clock: Clock, log: Log, onReturn: () => void): ArbiterWatch {
  let away: HoldfastError | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function askAgain(): void {
    if (closed) return;
    timer = setTimeout(() => {
      arbiter.query('select 1', [], { deadlineMs: answerWithinMs }).then(() => {
        away = undefined;
        log.info({}, 'The arbiter is back: sessions are read and saved again.');
        onReturn();
      }, askAgain);
    }, askAgainMs);
    timer.unref();
  }

  return {
    isAway: () => away !== undefined,
    async ask(question) {
      if (away) throw away;
      const startMs = clock.monotonicMs();
      try {
        return await question().catch((error) => {
          const tookMs = clock.monotonicMs() - startMs;
          if (!isUnavailable(error) || away || (tookMs > lostAtOnceMs && tookMs < noticedLateMs)) throw error;
          return question();
        });
      } catch (error) {
        if (isUnavailable(error) && !away && !closed) {
          away = error as HoldfastError;
          log.warn({ reason: away.message }, 'The arbiter is away: sessions follow the policy for that.');
          askAgain();
        }
        throw error;
      }
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
