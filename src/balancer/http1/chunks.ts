import { carriageReturn, lineFeed } from './characters.ts';

/**
 * Follows a chunked body (RFC 9112, section 7.1) without copying it. The framing that was checked can be passed on as
 * it came; where the other side knows no chunks, the payload alone is. Strict: hexadecimal sizes of at most 13
 * digits, CR LF after each, and no chunk extensions, which nobody uses but those who look for a disagreement.
 */
export type ChunkStep = 'framing' | 'payload' | 'end' | 'invalid';

const sizeState = 0;
const sizeLineFeedState = 1;
const payloadState = 2;
const payloadReturnState = 3;
const payloadLineFeedState = 4;
const endState = 5;

/** So many hexadecimal digits are an exact number in JavaScript, and four petabytes. */
const mostSizeDigits = 13;

export class ChunkReader {
  #state = sizeState;
  #size = 0;
  #digits = 0;
  #isLast = false;

  reset(): void {
    this.#state = sizeState;
    this.#size = 0;
    this.#digits = 0;
    this.#isLast = false;
  }

  /** Where the latest `step` stopped. */
  at = 0;

  /**
   * One step: either bytes of framing or a piece of payload, from `from` up to `at`. `end`: `at` is behind the line of
   * the last chunk, where the trailers begin. Never consumes nothing unless `from` is `to`.
   */
  step(bytes: Uint8Array, from: number, to: number): ChunkStep {
    if (this.#state === payloadState) {
      const taken = Math.min(this.#size, to - from);
      this.#size -= taken;
      this.at = from + taken;
      if (this.#size === 0) this.#state = payloadReturnState;
      return 'payload';
    }
    return this.#framing(bytes, from, to);
  }

  #framing(bytes: Uint8Array, from: number, to: number): ChunkStep {
    for (let at = from; at < to; at++) {
      const byte = bytes[at] as number;
      switch (this.#state) {
        case sizeState: {
          const digit = hexadecimal(byte);
          if (digit >= 0) {
            if (++this.#digits > mostSizeDigits) return 'invalid';
            this.#size = this.#size * 16 + digit;
          } else if (byte === carriageReturn && this.#digits > 0) this.#state = sizeLineFeedState;
          else return 'invalid';
          break;
        }
        case sizeLineFeedState:
          if (byte !== lineFeed) return 'invalid';
          this.#isLast = this.#size === 0;
          this.#digits = 0;
          this.#state = this.#isLast ? endState : payloadState;
          this.at = at + 1;
          return this.#isLast ? 'end' : 'framing';
        case payloadReturnState:
          if (byte !== carriageReturn) return 'invalid';
          this.#state = payloadLineFeedState;
          break;
        case payloadLineFeedState:
          if (byte !== lineFeed) return 'invalid';
          this.#state = sizeState;
          break;
        default:
          return 'invalid';
      }
    }
    this.at = to;
    return 'framing';
  }
}

function hexadecimal(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 0x20;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** The framing around a piece of payload, for a body that came without. */
export const chunkHead = (length: number): string => `${length.toString(16)}\r\n`;
