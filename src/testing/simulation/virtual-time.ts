/**
 * Time for a simulation: one queue of events, ordered by their moment and then by when they were planned. Time
 * passes only between events, so a run takes as long as its events take, and the same plan gives the same order.
 *
 * Code under test runs in promises. After each event the queue waits until every promise that can go on has gone
 * on (a macrotask comes after all microtasks); an event that does real work (a database in this process) returns
 * its promise and is waited for. Hence nothing of one event is left over when the next begins.
 */
import { setImmediate as macrotask } from 'node:timers/promises';
import { DueQueue } from '../../support/due-queue.ts';

interface PlannedEvent {
  run: (() => void | Promise<void>) | undefined;
}

export interface VirtualTime {
  nowMs(): number;
  /** Plans an event and returns how to cancel it. The past is now. */
  at(moment: number, run: () => void | Promise<void>): () => void;
  /** Runs all events up to that moment, and calls `afterEach` when each has settled. */
  runUntil(endMs: number, afterEach?: () => void): Promise<void>;
}

export function virtualTime(): VirtualTime {
  const queue = new DueQueue<PlannedEvent>();
  let now = 0;
  return {
    nowMs: () => now,
    at(moment, run) {
      const event: PlannedEvent = { run };
      queue.push(Math.max(now, moment), event);
      return () => {
        event.run = undefined;
      };
    },
    async runUntil(endMs, afterEach) {
      await macrotask();
      for (let next = queue.pop(endMs); next; next = queue.pop(endMs)) {
        if (!next.item.run) continue;
        now = next.atMs;
        await next.item.run();
        await macrotask();
        afterEach?.();
      }
      now = endMs;
    },
  };
}
