import type { RoutingTable } from '../../protocol/routing-table.ts';
import type { DrainOptions } from '../engine.ts';

/**
 * How long an instance may drain. HAProxy lets its own users come to it for ever; so here the time is kept, and when it
 * is over the instance is taken out. Tunnels are ended at moments spread over the last part of it, because their users
 * come back at once, all of them.
 */
export interface DrainEvents {
  /** Nobody may come to these any more. */
  onDeadline(): void;
  /** Its tunnels should end within so long. */
  onLastCall(instance: string, withinMs: number): void;
}

export class Drains {
  readonly over = new Set<string>();
  readonly #options: DrainOptions;
  readonly #events: DrainEvents;
  readonly #timers = new Map<string, NodeJS.Timeout[]>();

  constructor(options: DrainOptions, events: DrainEvents) {
    this.#options = options;
    this.#events = events;
  }

  see({ instances }: RoutingTable): void {
    const draining = new Set(
      instances.flatMap(({ instance, state }) => (state === 'draining' ? [instance] : [])),
    );
    for (const instance of [...this.#timers.keys()]) if (!draining.has(instance)) this.#forget(instance);
    for (const instance of draining) if (!this.#timers.has(instance)) this.#begin(instance);
  }

  isDraining(instance: string): boolean {
    return this.#timers.has(instance);
  }

  close(): void {
    for (const instance of [...this.#timers.keys()]) this.#forget(instance);
  }

  #begin(instance: string): void {
    const { deadlineMs, jitterMs } = this.#options;
    const lastMs = Math.min(jitterMs, deadlineMs);
    const lastCall = setTimeout(() => this.#events.onLastCall(instance, lastMs), deadlineMs - lastMs);
    const deadline = setTimeout(() => {
      this.over.add(instance);
      this.#events.onDeadline();
    }, deadlineMs);
    this.#timers.set(instance, [lastCall.unref(), deadline.unref()]);
  }

  #forget(instance: string): void {
    for (const timer of this.#timers.get(instance) ?? []) clearTimeout(timer);
    this.#timers.delete(instance);
    this.over.delete(instance);
  }
}
