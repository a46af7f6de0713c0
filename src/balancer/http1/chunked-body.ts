import { ChunkReader } from './chunks.ts';
import { readTrailers } from './trailers.ts';

/** Who takes a chunked body: the framing as it came, or the payload alone; and the trailers that may pass. */
export interface ChunkSink {
  /** Framing and payload as they came, the line of the last chunk included. */
  chunkWire(bytes: Buffer, from: number, to: number, owned: boolean): void;
  chunkPayload(bytes: Buffer, from: number, to: number, owned: boolean): void;
  /** The body is complete. Each line has its CR LF. */
  chunksEnded(trailerLines: string): void;
}

/** A chunked body from its first byte to the empty line behind its trailers. One object serves one body at a time. */
export class ChunkedBody {
  readonly #chunks = new ChunkReader();
  #isInTrailers = false;
  #trailers: Buffer | undefined;

  reset(): void {
    this.#chunks.reset();
    this.#isInTrailers = false;
    this.#trailers = undefined;
  }

  /**
   * Takes bytes. Returns the place behind the body; `to` while it is not complete (or exactly complete: the sink was
   * told); -1 when it is not validly framed.
   */
  feed(bytes: Buffer, from: number, to: number, owned: boolean, sink: ChunkSink): number {
    if (this.#isInTrailers) return this.#feedTrailers(bytes, from, to, sink);
    let at = from;
    while (at < to) {
      const step = this.#chunks.step(bytes, at, to);
      if (step === 'invalid') return -1;
      const next = this.#chunks.at;
      if (step === 'payload') sink.chunkPayload(bytes, at, next, owned);
      at = next;
      if (step !== 'end') continue;
      this.#isInTrailers = true;
      break;
    }
    sink.chunkWire(bytes, from, at, owned);
    return this.#isInTrailers ? this.#feedTrailers(bytes, at, to, sink) : to;
  }

  #feedTrailers(bytes: Buffer, from: number, to: number, sink: ChunkSink): number {
    const before = this.#trailers;
    const whole = before === undefined ? bytes : Buffer.concat([before, bytes.subarray(from, to)]);
    const start = before === undefined ? from : 0;
    const end = before === undefined ? to : whole.length;
    const trailers = readTrailers(whole, start, end);
    if (trailers === 'invalid') return -1;
    if (trailers === undefined) {
      this.#trailers = Buffer.from(whole.subarray(start, end));
      return to;
    }
    this.#trailers = undefined;
    sink.chunksEnded(trailers.lines);
    return from + (trailers.end - start) - (before?.length ?? 0);
  }
}
