import type { Limits } from '../engine.ts';
import type { Upstream } from './upstream.ts';

/** Before this much time has passed, the rate of a body says nothing. */
const rateGraceMs = 10_000;

/**
 * The body of a request on its way to an instance, framed as it goes over the wire. What was taken from the client is
 * also kept, up to a limit, so that another instance can be given the same; past the limit it only streams, and the
 * request can no longer be repeated. Until there is a connection to give it to, everything is kept, and the client is
 * asked to wait.
 */
export class RequestBody {
  isComplete = true;
  /** Is every byte taken so far still here? */
  isHeld = true;
  /** Bytes that were taken from the client, framing included. */
  takenBytes = 0;
  payloadBytes = 0;
  /** When the last piece moved, or the end was reached. */
  progressMs = 0;
  /** The instance takes no more at the moment. */
  isBlocked = false;
  #startedMs = 0;
  #held: Buffer[] = [];
  #holdBytes = 0;
  #sink: Upstream | undefined;

  /** `holdBytes`: how much to keep once it flows; 0 for a request that is never repeated anyway. */
  reset(hasBody: boolean, holdBytes: number, nowMs: number): void {
    this.isComplete = !hasBody;
    this.isHeld = true;
    this.takenBytes = 0;
    this.payloadBytes = 0;
    this.#startedMs = nowMs;
    this.progressMs = nowMs;
    this.isBlocked = false;
    if (this.#held.length > 0) this.#held = [];
    this.#holdBytes = holdBytes;
    this.#sink = undefined;
  }

  get pieces(): readonly Buffer[] {
    return this.#held;
  }

  /** Does the body go on to an instance as it comes? */
  get flows(): boolean {
    return this.#sink !== undefined;
  }

  /** Is it the instance that must move next, not the client? */
  get awaitsInstance(): boolean {
    return this.isComplete || this.isBlocked;
  }

  /** Has all that was taken left this process? Else its bytes must stay as they are. */
  get hasLeft(): boolean {
    return !this.isHeld && this.#sink?.socket.writableLength === 0;
  }

  /** Takes a piece. Returns false when the client should wait. */
  take(bytes: Buffer, from: number, to: number, owned: boolean, nowMs: number): boolean {
    this.takenBytes += to - from;
    this.progressMs = nowMs;
    const piece = owned ? bytes.subarray(from, to) : Buffer.from(bytes.subarray(from, to));
    if (this.isHeld) {
      if (this.#sink === undefined || this.takenBytes <= this.#holdBytes) this.#held.push(piece);
      else this.release();
    }
    return this.#write(piece);
  }

  complete(nowMs: number): void {
    this.isComplete = true;
    this.progressMs = nowMs;
  }

  /** Gives the instance what is held, then whatever comes. Only legal while `isHeld`. */
  attach(sink: Upstream, nowMs: number): void {
    this.#sink = sink;
    this.isBlocked = false;
    this.progressMs = nowMs;
    for (const piece of this.#held) this.#write(piece);
    if (this.takenBytes > this.#holdBytes) this.release();
  }

  /** The instance failed; the client waits until there is another one. */
  detach(): void {
    this.#sink = undefined;
    this.isBlocked = false;
  }

  /** Nothing needs to be kept any more. */
  release(): void {
    if (this.takenBytes === 0) return;
    this.#held = [];
    this.isHeld = false;
  }

  /** Does the client take longer than the limits allow? */
  isTooSlow(limits: Limits, nowMs: number): boolean {
    const ageMs = nowMs - this.#startedMs;
    const expectedBytes = (Math.max(0, ageMs - rateGraceMs) / 1_000) * limits.bodyBytesPerSecond;
    return (
      nowMs - this.progressMs >= limits.bodyIdleMs ||
      ageMs >= limits.requestTimeoutMs ||
      this.payloadBytes < expectedBytes
    );
  }

  drained(nowMs: number): void {
    this.isBlocked = false;
    this.progressMs = nowMs;
  }

  #write(piece: Buffer): boolean {
    const sink = this.#sink;
    if (sink === undefined) return false;
    if (!sink.socket.write(piece)) this.isBlocked = true;
    return !this.isBlocked;
  }
}
