/**
 * The way back of an instance that was lost: a fence around its predecessor goes before the instance comes. One that
 * is still to be put up is waited for, unless it is for an agent that is proved dead and needs none.
 */
import type { Query } from '../database/arbiter.ts';
import { abandonFence, type Fence } from '../members/fencing.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';

const askEveryMs = 500;

/** Resolves when the instance may be started, or the signal is aborted. */
export async function passFence(
  options: {
    readonly query: Query;
    readonly instance: string;
    readonly fence: Fence | undefined;
    /** Ids of former agents that are proved dead. */
    readonly dead: readonly string[];
    readonly clock: Clock;
    readonly log: Log;
  },
  signal: AbortSignal,
): Promise<void> {
  const { query, instance, fence, dead, clock, log } = options;
  for (let isTold = false; !signal.aborted; isTold = true) {
    const result = await abandonFence({ query, instance, fence, dead }).catch((error: Error) => {
      log.warn({ instance, error: error.message }, 'it is not known yet whether the instance is fenced');
      return 'pending' as const;
    });
    if (result !== 'pending') return;
    if (!isTold) log.warn({ notice: true, instance }, `${instance} waits until its predecessor is fenced`);
    await clock.sleep(askEveryMs, signal);
  }
}
