/**
 * What the arbiter's clock shows, as far as an agent can know: never later than it does.
 *
 * An answer that says "it was T when your statement began" arrived after that moment. So at its arrival the arbiter's
 * clock showed at least T, and every answer gives a lower bound; the greatest of the last few is the answer that
 * travelled fastest. An agent that acts when the bound reaches a due moment is late by that travel time and never
 * early. (The argument is the client's half of F. Cristian, "Probabilistic clock synchronization", 1989.)
 */
const keptSamples = 8;

export class ArbiterTime {
  #offsetsMs: number[] = [];

  /** An answer that says `nowMs` has arrived at `monotonicMs`. */
  observe(nowMs: number, monotonicMs: number): void {
    this.#offsetsMs.push(nowMs - monotonicMs);
    if (this.#offsetsMs.length > keptSamples) this.#offsetsMs.shift();
  }

  /** What was known is wrong: another server, or a clock that was set back. */
  forget(): void {
    this.#offsetsMs = [];
  }

  /** Undefined until something was observed. */
  nowMs(monotonicMs: number): number | undefined {
    if (this.#offsetsMs.length === 0) return undefined;
    return monotonicMs + Math.max(...this.#offsetsMs);
  }
}
