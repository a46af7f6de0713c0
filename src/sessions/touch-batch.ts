/**
 * "Last seen" is kept in memory and written for all users in one statement, every few seconds. A session is written
 * at once only when the arbiter would otherwise believe, before the next batch, that it ran out.
 */
import type { Clock } from '../support/clock.ts';
import type { Touch } from './session-statements.ts';

const shortestIntervalMs = 100;
const longestIntervalMs = 10_000;
const touchesPerStatement = 5_000;

/** How long a touch of a session with this idle time may wait. */
export function touchIntervalMs(idleMs: number): number {
  return Math.min(longestIntervalMs, Math.max(shortestIntervalMs, idleMs / 6));
}

export interface TouchBatch {
  add(idHash: string, idleMs: number): void;
  forget(idHash: string): void;
  /** Everything that waits, now. Rejects, and keeps what was not written, when the arbiter is away. */
  flush(): Promise<void>;
  /** Writes what waits and stops the timer. */
  close(): Promise<void>;
  readonly size: number;
}

interface Waiting {
  readonly firstAtMs: number;
  readonly atMs: number;
  readonly idleMs: number;
}

export function openTouchBatch(
  clock: Clock,
  write: (touches: readonly Touch[]) => Promise<void>,
): TouchBatch {
  const waiting = new Map<string, Waiting>();
  let timer: NodeJS.Timeout | undefined;
  let dueMs = Number.POSITIVE_INFINITY;
  let closed = false;

  function schedule(afterMs: number): void {
    const atMs = clock.monotonicMs() + afterMs;
    if (closed || atMs >= dueMs) return;
    clearTimeout(timer);
    dueMs = atMs;
    timer = setTimeout(() => {
      flush().catch(() => schedule(shortestIntervalMs * 10)); // kept, and tried again
    }, afterMs);
    timer.unref();
  }

  async function flush(): Promise<void> {
    clearTimeout(timer);
    dueMs = Number.POSITIVE_INFINITY;
    const batch = [...waiting];
    waiting.clear();
    for (let start = 0; start < batch.length; start += touchesPerStatement) {
      const part = batch.slice(start, start + touchesPerStatement);
      const nowMs = clock.monotonicMs();
      try {
        await write(
          part.map(([idHash, { firstAtMs, atMs, idleMs }]) => ({
            idHash,
            firstAgeMs: nowMs - firstAtMs,
            ageMs: nowMs - atMs,
            idleMs,
          })),
        );
      } catch (error) {
        for (const [idHash, touch] of batch.slice(start)) {
          const newer = waiting.get(idHash);
          waiting.set(idHash, newer ? { ...newer, firstAtMs: touch.firstAtMs } : touch);
        }
        schedule(shortestIntervalMs * 10);
        throw error;
      }
    }
  }

  return {
    add(idHash, idleMs) {
      const atMs = clock.monotonicMs();
      waiting.set(idHash, {
        firstAtMs: waiting.get(idHash)?.firstAtMs ?? atMs,
        atMs,
        idleMs: Math.round(idleMs),
      });
      schedule(touchIntervalMs(idleMs));
    },
    forget: (idHash) => void waiting.delete(idHash),
    flush,
    async close() {
      closed = true;
      await flush();
    },
    get size() {
      return waiting.size;
    },
  };
}
