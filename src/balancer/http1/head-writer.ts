/**
 * Puts a message together as bytes: runs of what came in, blocks that are known, short texts. One writer serves all
 * messages of a direction, one after the other; what it wrote is taken as one buffer, for one write.
 */
export class HeadWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(64 * 1024);
  length = 0;

  clear(): void {
    this.length = 0;
  }

  /** Appends bytes as they are. */
  run(source: Buffer, from: number, to: number): void {
    this.#reserve(to - from);
    source.copy(this.#bytes, this.length, from, to);
    this.length += to - from;
  }

  block(bytes: Buffer): void {
    this.run(bytes, 0, bytes.length);
  }

  /** Appends a latin1 text. */
  text(text: string): void {
    this.#reserve(text.length);
    this.length += this.#bytes.write(text, this.length, 'latin1');
  }

  /** CR LF. */
  lineEnd(): void {
    this.#reserve(2);
    this.#bytes[this.length] = 13;
    this.#bytes[this.length + 1] = 10;
    this.length += 2;
  }

  /** What is written so far, to be changed in place. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** All of it, in a buffer that stays as it is. */
  take(): Buffer {
    const taken = Buffer.allocUnsafe(this.length);
    this.#bytes.copy(taken, 0, 0, this.length);
    this.length = 0;
    return taken;
  }

  #reserve(more: number): void {
    if (this.length + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.length + more));
    this.#bytes.copy(larger, 0, 0, this.length);
    this.#bytes = larger;
  }
}
