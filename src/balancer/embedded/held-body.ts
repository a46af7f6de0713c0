import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';

/**
 * The body of a request on its way to an instance. Nothing is taken from the client before there is a connection to
 * give it to. What was taken is also kept, up to a limit, so that another instance can be given the same; past the
 * limit it only streams, and the request can no longer be repeated.
 */
export interface HeldBodyOptions {
  /** How much to keep; 0 for a request that is never repeated anyway. */
  readonly holdBytes: number;
  readonly maxBytes: number;
  readonly nowMs: () => number;
  readonly onTooLarge: () => void;
}

export class HeldBody {
  readonly #source: IncomingMessage;
  readonly #options: HeldBodyOptions;
  #held: Buffer[] = [];
  #takenBytes = 0;
  #isHeld = true;
  #isListening = false;
  #isComplete = false;
  #sink: Writable | undefined;
  #isBlocked = false;
  #progressMs: number;

  constructor(source: IncomingMessage, options: HeldBodyOptions) {
    this.#source = source;
    this.#options = options;
    this.#progressMs = options.nowMs();
  }

  /** Every byte that was taken from the client. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Is every byte taken so far still here? */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  get hasBegun(): boolean {
    return this.#isListening;
  }

  /** When the last piece moved, or the end was reached. */
  get progressMs(): number {
    return this.#progressMs;
  }

  /** Is it the instance that must move next, not the client? */
  get awaitsInstance(): boolean {
    return this.#isComplete || this.#isBlocked;
  }

  /** Gives the sink what is held, then whatever comes. Only legal while `isHeld`. */
  attach(sink: Writable): void {
    this.#sink = sink;
    this.#isBlocked = false;
    this.#progressMs = this.#options.nowMs();
    for (const chunk of this.#held) this.#write(chunk);
    if (this.#isComplete) {
      sink.end();
      return;
    }
    if (!this.#isListening) {
      this.#isListening = true;
      this.#source.on('data', (chunk: Buffer) => this.#take(chunk));
      this.#source.on('end', () => this.#complete());
    }
    // A listener alone does not start a source that an earlier attempt has paused.
    if (!this.#isBlocked) this.#source.resume();
  }

  /** The sink failed; the client waits until there is another one. */
  detach(): void {
    this.#sink = undefined;
    this.#isBlocked = false;
    if (!this.#isComplete) this.#source.pause();
  }

  /** The response has begun: nothing needs to be kept any more. */
  release(): void {
    this.#held = [];
    this.#isHeld = false;
  }

  /** The request was answered; what still comes of it goes nowhere, so that the connection can be used again. */
  discard(): void {
    this.#sink = undefined;
    this.release();
    this.#source.resume();
  }

  #take(chunk: Buffer): void {
    this.#takenBytes += chunk.length;
    this.#progressMs = this.#options.nowMs();
    if (this.#takenBytes > this.#options.maxBytes) {
      this.#options.onTooLarge();
      return;
    }
    if (this.#isHeld && this.#takenBytes <= this.#options.holdBytes) this.#held.push(chunk);
    else this.release();
    this.#write(chunk);
  }

  #write(chunk: Buffer): void {
    const sink = this.#sink;
    if (sink === undefined || sink.write(chunk) || this.#isBlocked) return;
    this.#isBlocked = true;
    this.#source.pause();
    sink.once('drain', () => {
      if (this.#sink !== sink) return;
      this.#isBlocked = false;
      this.#progressMs = this.#options.nowMs();
      if (!this.#isComplete) this.#source.resume();
    });
  }

  #complete(): void {
    this.#isComplete = true;
    this.#progressMs = this.#options.nowMs();
    this.#sink?.end();
  }
}
