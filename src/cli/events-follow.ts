/** Waits until occurrences have ended and says what happens to them meanwhile. A failover does not end the waiting. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Query } from '../database/arbiter.ts';
import { findOccurrences, type OccurrenceView } from '../events/administration.ts';
import { HoldfastError } from '../support/errors.ts';
import { progressText } from './events-runs-view.ts';

export interface Followed {
  readonly occurrences: readonly OccurrenceView[];
  /** `forgotten`: the ledger no longer has one of them, as after a failover that lost its last commits. */
  readonly ended: 'all' | 'timeout' | 'interrupted' | 'forgotten';
}

export interface FollowOptions {
  say(text: string): void;
  /** Undefined: as long as it takes. */
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal;
  readonly pollMs?: number;
}

export async function followOccurrences(
  query: Query,
  ids: readonly string[],
  { say, timeoutMs, signal, pollMs = 300 }: FollowOptions,
): Promise<Followed> {
  const said = new Map<string, string>();
  const untilMs = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
  let occurrences: readonly OccurrenceView[] = [];
  let isAway = false;
  const sayOnce = (id: string, text: string) => {
    if (said.get(id) === text) return;
    said.set(id, text);
    say(text);
  };
  for (;;) {
    try {
      occurrences = (await findOccurrences(query, ids)).occurrences;
      if (isAway) say('the arbiter is back');
      isAway = false;
      for (const one of occurrences) sayOnce(one.occurrence, progressText(one));
      if (occurrences.length < ids.length) return { occurrences, ended: 'forgotten' };
      if (occurrences.every(({ state }) => state === 'done')) return { occurrences, ended: 'all' };
    } catch (error) {
      if (!(error instanceof HoldfastError && error.code === 'ARBITER_UNAVAILABLE')) throw error;
      if (!isAway) say('the arbiter does not answer; waiting for it');
      isAway = true;
    }
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) return { occurrences, ended: 'timeout' };
    await delay(Math.min(pollMs, leftMs), undefined, { signal }).catch(() => undefined); // an interruption ends it below
    if (signal.aborted) return { occurrences, ended: 'interrupted' };
  }
}
