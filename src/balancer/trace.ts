/**
 * One name for a request across everything that it touches: `traceparent` of W3C Trace Context. What a client or a
 * proxy before us sends is passed on as it is when it is valid; an invalid one is worth nothing to anybody and is
 * replaced, and its `tracestate` goes with it. The trace id is also the request id that logs and error pages show.
 *
 * Random bytes cost a call into the system each time they are drawn, so they are drawn in blocks and cut up.
 */
export interface TraceSource {
  /** 32 lower-case hexadecimal digits, never all zero. */
  nextTraceId(): string;
  /**
   * The header of a new trace. It is marked as sampled: tracers in the application follow the mark of the caller, and
   * the opposite one would silence those that record everything by themselves.
   */
  nextTraceparent(): string;
  /** Writes so many digits (an even number, at most 32) as ASCII, without making a text of them. */
  writeDigits(target: Uint8Array, at: number, count: number): void;
}

/** Whoever keeps an id for long should copy it: it is a slice of the block's text and keeps all of it in memory. */
const blockBytes = 8 * 1024;

const noTrace = '0'.repeat(32);
const noParent = '0'.repeat(16);

/** `drawBlock` returns so many random bytes. */
export function traceSource(drawBlock: (bytes: number) => Buffer): TraceSource {
  let digits = '';
  let at = 0;
  let bytes: Uint8Array = new Uint8Array(0);
  let used = 0;

  const next = (count: number, forbidden: string): string => {
    for (;;) {
      if (at + count > digits.length) {
        digits = drawBlock(blockBytes).toString('hex');
        at = 0;
      }
      const id = digits.slice(at, at + count);
      at += count;
      if (id !== forbidden) return id;
    }
  };
  return {
    nextTraceId: () => next(32, noTrace),
    nextTraceparent: () => `00-${next(32, noTrace)}-${next(16, noParent)}-01`,
    writeDigits(target, start, count) {
      if (used + count / 2 > bytes.length) {
        bytes = drawBlock(blockBytes);
        used = 0;
      }
      for (let index = 0; index < count; index += 2) {
        const byte = bytes[used++] as number;
        target[start + index] = digitOf[byte >> 4] as number;
        target[start + index + 1] = digitOf[byte & 15] as number;
      }
      // All zero is no id. The chance is nil; a rule is a rule.
      if (count > 0 && isZero(target, start, count)) target[start + count - 1] = digitOf[1] as number;
    },
  };
}

const digitOf = Buffer.from('0123456789abcdef', 'latin1');

function isZero(target: Uint8Array, start: number, count: number): boolean {
  let at = start;
  while (at < start + count && target[at] === digitOf[0]) at++;
  return at === start + count;
}

/** Versions after 00 may append fields, each after a dash; 00 has none. */
const traceparentPattern =
  /^(?:00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{0,200})?)$/;

/** Is the text a valid `traceparent`, of this version or of a later one that can be read like it? */
export function isTraceparent(text: string): boolean {
  return traceparentPattern.test(text) && !text.startsWith(noTrace, 3) && !text.startsWith(noParent, 36);
}

/** The trace id in a valid `traceparent`. */
export const traceIdOf = (traceparent: string): string => traceparent.slice(3, 35);
