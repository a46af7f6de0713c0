import type { SlotState } from './wanted-state.ts';

/**
 * A moment between "nobody comes to this instance any more" and "it is closed". HAProxy ends what waits for a server
 * that is closed and sends it elsewhere, but what is just connecting to it is lost without a word; so those few
 * milliseconds are waited for.
 */
const farewellMs = 100;

export class Farewell {
  readonly #onOver: () => void;
  readonly #leaving = new Map<number, SlotState>();
  readonly #timers = new Map<number, NodeJS.Timeout>();

  /** `onOver`: something that was leaving is to be closed now. */
  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  get leaving(): ReadonlyMap<number, SlotState> {
    return this.#leaving;
  }

  /** These slots are in use from now on; those were, as far as HAProxy was told. */
  see(used: ReadonlySet<number>, before: ReadonlyMap<number, SlotState> | undefined): void {
    for (const slot of used) this.#end(slot);
    for (const [slot, state] of before ?? []) {
      if (used.has(slot) || this.#leaving.has(slot)) continue;
      this.#leaving.set(slot, state);
      const over = () => {
        this.#end(slot);
        this.#onOver();
      };
      this.#timers.set(slot, setTimeout(over, farewellMs).unref());
    }
  }

  close(): void {
    for (const slot of [...this.#leaving.keys()]) this.#end(slot);
  }

  #end(slot: number): void {
    clearTimeout(this.#timers.get(slot));
    this.#timers.delete(slot);
    this.#leaving.delete(slot);
  }
}
