/** Large bodies that both sides can make and check without keeping them. */
const blockBytes = 16_384;

/** A block that depends on a text; a body repeats it. */
export function patternOf(text: string): Buffer {
  const line = `${text} `.repeat(Math.ceil(blockBytes / (text.length + 1)));
  return Buffer.from(line.slice(0, blockBytes), 'latin1');
}

/** Checks a body as it comes, whatever the pieces. */
export class PatternCheck {
  readonly #pattern: Buffer;
  bytes = 0;
  isRight = true;

  constructor(text: string) {
    this.#pattern = patternOf(text);
  }

  take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.isRight; ) {
      const place = this.bytes % blockBytes;
      const length = Math.min(blockBytes - place, chunk.length - at);
      const isSame = this.#pattern.compare(chunk, at, at + length, place, place + length) === 0;
      this.isRight = isSame;
      at += length;
      this.bytes += length;
    }
  }
}
