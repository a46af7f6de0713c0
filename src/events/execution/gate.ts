/**
 * Runs that the application does by itself after its agent said yes. The agent cannot see them; it knows what the
 * application says. One that is silent is ended by its time-out, and all end with the instance.
 */
import type { RunOrder, Work, WorkResult } from './execution.ts';
import { onInstanceDeath } from './instance-death.ts';

export interface GateResult {
  /** `lost`: nobody works on it, because nobody was told that it may. */
  readonly outcome: 'succeeded' | 'failed' | 'lost';
  readonly reason: string | null;
  readonly result: string | null;
}

export class Gate {
  readonly #instanceDied: () => Promise<void>;
  readonly #open = new Map<string, (result: WorkResult) => void>();

  constructor(options: { instanceDied: () => Promise<void> }) {
    this.#instanceDied = options.instanceDied;
  }

  open(order: RunOrder): Work {
    const token = String(order.token);
    const { promise, resolve } = Promise.withResolvers<WorkResult>();
    const leave = onInstanceDeath(this.#instanceDied, () =>
      end({ outcome: 'lost', reason: 'its instance died', result: null }),
    );
    const end = (result: WorkResult): void => {
      if (this.#open.get(token) === end) this.#open.delete(token);
      leave();
      resolve(result);
    };
    this.#open.set(token, end);
    return {
      finished: promise,
      abort: (why) => end({ outcome: 'failed', reason: why, result: null }),
    };
  }

  /** False when there is no such run (any more): its result counts for nothing. */
  finish(token: string, result: GateResult): boolean {
    const end = this.#open.get(token);
    end?.(result);
    return end !== undefined;
  }
}
