/**
 * Knows whether the arbiter is away, so that users do not each wait for a deadline to find out. It is away when a
 * connection fails, or when a question has waited for a second and the listener has not heard it for two. From then
 * on one question of our own, asked again and again, finds out when it is back. An arbiter that the listener still
 * hears is only *slow*: a question that it does not answer in time fails, because the policies for an arbiter that
 * is away would let an instance go on alone while all the others do not.
 *
 * Every question may be asked twice: reads by nature, saves because they carry an id. It is asked again where the
 * failure says more about the connection (lost at once: a restart, a failover) or about this process (a deadline
 * that passed long ago: it was suspended or busy) than about the arbiter.
 */
import type { Arbiter } from '../database/arbiter.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import { userDeadlineMs } from './session-statements.ts';

const askAgainMs = 300;
const answerWithinMs = 1_000;
const lostAtOnceMs = 800;
const patienceMs = 1_000;
const silenceMs = 2_000;

export interface ArbiterWatch {
  isAway(): boolean;
  /** Runs a question. Rejects at once with ARBITER_UNAVAILABLE while the arbiter is known to be away. */
  ask<T>(question: () => Promise<T>): Promise<T>;
  /** Forgets that it is away: the next question is asked for real. */
  hope(): void;
  close(): void;
}

export function isUnavailable(error: unknown): boolean {
  return error instanceof HoldfastError && error.code.startsWith('ARBITER_');
}

export function watchArbiter(options: {
  readonly arbiter: Arbiter;
  readonly clock: Clock;
  readonly log: Log;
  /** When the listener last heard the arbiter, on the monotonic clock. */
  readonly lastHeardMs: () => number;
  readonly onReturn: () => void;
}): ArbiterWatch {
  const { arbiter, clock, log, onReturn } = options;
  const isHeard = () => clock.monotonicMs() - options.lastHeardMs() < silenceMs;
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

  /** The answer, or ARBITER_UNAVAILABLE as soon as it is clear that none will come. */
  async function unlessSilent<T>(question: () => Promise<T>): Promise<T> {
    const startMs = clock.monotonicMs();
    const answer = question();
    let look: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      look = setInterval(() => {
        if (clock.monotonicMs() - startMs < patienceMs || isHeard()) return;
        reject(new HoldfastError('ARBITER_UNAVAILABLE', 'The arbiter has been silent.'));
      }, 100);
    });
    try {
      return await Promise.race([answer, silence]);
    } finally {
      clearInterval(look);
      answer.catch(() => undefined); // told already
    }
  }

  return {
    isAway: () => away !== undefined,
    async ask(question) {
      if (away) throw away;
      const startMs = clock.monotonicMs();
      try {
        return await unlessSilent(question).catch((error) => {
          if (!isUnavailable(error) || away || clock.monotonicMs() - startMs > lostAtOnceMs) throw error;
          return unlessSilent(question);
        });
      } catch (error) {
        if (!isUnavailable(error) || away || closed) throw error;
        if (clock.monotonicMs() - startMs >= userDeadlineMs && isHeard()) {
          throw new HoldfastError('SESSION_UNAVAILABLE', 'The arbiter is too slow to answer.', {
            cause: error,
          });
        }
        away = error as HoldfastError;
        log.warn({ reason: away.message }, 'The arbiter is away: sessions follow the policy for that.');
        askAgain();
        throw error;
      }
    },
    hope() {
      away = undefined;
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
