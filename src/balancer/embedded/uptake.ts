/**
 * Whether somebody takes what is written for them. What waits to be sent says so: as long as it changes, bytes move,
 * however slowly.
 */
export class Uptake {
  #unsentBytes = 0;
  #movedMs = 0;

  /** For how long nothing has moved, as of this look. */
  stalledMs(unsentBytes: number, nowMs: number): number {
    if (unsentBytes === 0 || unsentBytes !== this.#unsentBytes) this.#movedMs = nowMs;
    this.#unsentBytes = unsentBytes;
    return nowMs - this.#movedMs;
  }
}
