/**
 * Time for a simulation: one queue of events, ordered by their moment and then by when they were planned. Time
 * passes only between events, so a run takes as long as its events take, and the same plan gives the same order.
 *
 * Code under test runs in promises. After each event the queue waits until every promise that can go on has gone
 * on (a macrotask comes after all microtasks); an event that does real work (a database in this process) returns
 * its promise and is waited for. Hence nothing of one event is left over when the next begins.
 */
import { setImmediate as macrotask } from 'node:timers/promises';

interface PlannedEvent {
  readonly atMs: number;
  readonly order: number;
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
  const heap: PlannedEvent[] = [];
  let now = 0;
  let planned = 0;
  return {
    nowMs: () => now,
    at(moment, run) {
      const event: PlannedEvent = { atMs: Math.max(now, moment), order: planned++, run };
      push(heap, event);
      return () => {
        event.run = undefined;
      };
    },
    async runUntil(endMs, afterEach) {
      await macrotask();
      for (let next = heap[0]; next && next.atMs <= endMs; next = heap[0]) {
        pop(heap);
        if (!next.run) continue;
        now = next.atMs;
        await next.run();
        await macrotask();
        afterEach?.();
      }
      now = endMs;
    },
  };
}

const isBefore = (one: PlannedEvent, other: PlannedEvent): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);

function push(heap: PlannedEvent[], event: PlannedEvent): void {
  let index = heap.length;
  heap.push(event);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent];
    if (!above || !isBefore(event, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = event;
}

function pop(heap: PlannedEvent[]): void {
  const last = heap.pop();
  if (!last || heap.length === 0) return;
  let index = 0;
  for (;;) {
    const left = heap[2 * index + 1];
    const right = heap[2 * index + 2];
    const smaller = right && left && isBefore(right, left) ? right : left;
    if (!smaller || !isBefore(smaller, last)) break;
    heap[index] = smaller;
    index = smaller === left ? 2 * index + 1 : 2 * index + 2;
  }
  heap[index] = last;
}
