/**
 * The time of the event that is being handled. A request asks for the time a dozen times within a few microseconds;
 * looking at the clock once for each event costs less and makes the answers agree.
 */
export class LoopClock {
  nowMs: number;
  readonly #read: () => number;

  constructor(read: () => number) {
    this.#read = read;
    this.nowMs = read();
  }

  /** A new event: look again. */
  look(): number {
    this.nowMs = this.#read();
    return this.nowMs;
  }
}
