/**
 * What goes out after all events of one turn of the loop were looked at. A write that wakes the process at the other end
 * is dear while that process sleeps, and cheap while it works: written one right after the other, messages for the same
 * instance find it awake. And reading and writing in turns takes the processor's caches from each other.
 */
export interface Sender {
  /** Writes what it put aside, if it still may. */
  sendNow(): void;
}

export class Outbox {
  #waiting: Sender[] = [];
  #next: Sender[] = [];

  /** The sender is called once, before the loop waits for events again. */
  add(sender: Sender): void {
    if (this.#waiting.length === 0) setImmediate(this.#empty);
    this.#waiting.push(sender);
  }

  readonly #empty = (): void => {
    const senders = this.#waiting;
    this.#waiting = this.#next;
    this.#next = senders;
    for (const sender of senders) sender.sendNow();
    senders.length = 0;
  };
}
