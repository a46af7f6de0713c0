/**
 * Puts a message together as bytes: runs of what came in, blocks that are known, short texts. One writer serves all
 * messages of a direction, one after the other. It writes into a slab, and what is taken is a piece of it, for one
 * write; nothing is copied twice. A slab lives as long as any of its pieces does, so it is small, and pieces are not kept.
 */
const slabBytes = 32 * 1024;
const fewBytes = 40;

export class HeadWriter {
  #slab: Buffer = Buffer.allocUnsafeSlow(slabBytes);
  /** Where the message that is being written begins and ends. */
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  clear(): void {
    this.#end = this.#start;
  }

  /** Appends bytes as they are. */
  run(source: Buffer, from: number, to: number): void {
    this.#reserve(to - from);
    // A call into the runtime costs as much as some dozens of bytes.
    if (to - from > fewBytes) {
      source.copy(this.#slab, this.#end, from, to);
      this.#end += to - from;
      return;
    }
    const slab = this.#slab;
    let end = this.#end;
    for (let at = from; at < to; at++) slab[end++] = source[at] as number;
    this.#end = end;
  }

  block(bytes: Buffer): void {
    this.run(bytes, 0, bytes.length);
  }

  /** Appends a latin1 text. */
  text(text: string): void {
    this.#reserve(text.length);
    this.#end += this.#slab.write(text, this.#end, 'latin1');
  }

  /** CR LF. */
  lineEnd(): void {
    this.#reserve(2);
    this.#slab[this.#end] = 13;
    this.#slab[this.#end + 1] = 10;
    this.#end += 2;
  }

  /** The slab, to change in place what was just written; it ends at `end`. */
  get slab(): Uint8Array {
    return this.#slab;
  }

  get end(): number {
    return this.#end;
  }

  /** All of it, in a buffer that stays as it is. */
  take(): Buffer {
    const taken = this.#slab.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return taken;
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#slab.length) return;
    const { length } = this;
    const next = Buffer.allocUnsafeSlow(Math.max(slabBytes, 2 * (length + more)));
    this.#slab.copy(next, 0, this.#start, this.#end);
    this.#slab = next;
    this.#start = 0;
    this.#end = length;
  }
}
