import { ChunkedBody, type ChunkSink } from '../http1/chunked-body.ts';
import { parseResponseHead, ResponseHead } from '../http1/response-head.ts';
import type { Exchange } from './exchange.ts';

/**
 * What an instance answers, from its first byte to the end of the body: it reads heads, finds the end of each body, and
 * hands the pieces to the client's side. It knows nothing of replay; it only says how far the response came.
 */

/** Of all exchanges of this process, one after the other: a head is used up before the next bytes are looked at. */
const head = new ResponseHead();

export class ResponseRelay implements ChunkSink {
  readonly #exchange: Exchange;
  #method = '';
  status = 0;
  bodyBytes = 0;
  lastByteMs = 0;
  #phase: 'head' | 'length' | 'chunked' | 'untilClose' | 'tunnel' = 'head';
  #remaining = 0;
  #keepAliveMs = 0;
  #pending: Buffer | undefined;
  #chunks: ChunkedBody | undefined;
  #isComplete = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  reset(method: string): void {
    this.#method = method;
    this.#phase = 'head';
    this.status = 0;
    this.bodyBytes = 0;
    if (this.#pending !== undefined) this.#pending = undefined;
  }

  /** The end of the connection is the end of the body, and nothing is wrong with that. */
  get endsWithConnection(): boolean {
    return this.#phase === 'untilClose' && this.#exchange.state === 'responding';
  }

  take(bytes: Buffer, from: number, to: number, owned: boolean): void {
    this.lastByteMs = this.#exchange.path.clock.nowMs;
    if (this.#phase !== 'head') {
      this.#takeBody(bytes, from, to, owned);
      return;
    }
    const before = this.#pending;
    if (before === undefined) this.#takeHead(bytes, from, to, owned);
    else {
      this.#pending = undefined;
      const whole = Buffer.concat([before, bytes.subarray(from, to)]);
      this.#takeHead(whole, 0, whole.length, true);
    }
  }

  #takeHead(bytes: Buffer, from: number, to: number, owned: boolean): void {
    const exchange = this.#exchange;
    let at = from;
    for (;;) {
      const end = parseResponseHead(bytes, at, to, this.#method, head);
      if (end < 0) {
        exchange.onInvalidResponse();
        return;
      }
      if (end === 0) {
        if (at < to) this.#pending = Buffer.from(bytes.subarray(at, to));
        return;
      }
      at = end;
      if (head.status === 101) {
        this.#upgrade(bytes, at, to, owned);
        return;
      }
      if (head.status >= 200) break;
      if (head.status === 100) exchange.onContinue();
      else exchange.onInterim(head, bytes);
      if (exchange.state !== 'sent') return;
    }
    this.#begin(bytes, at, to, owned);
  }

  #upgrade(bytes: Buffer, from: number, to: number, owned: boolean): void {
    this.status = 101;
    if (!this.#exchange.onUpgrade(head, bytes)) {
      this.#exchange.onInvalidResponse();
      return;
    }
    this.#phase = 'tunnel';
    if (from < to) this.#exchange.front.body(bytes, from, to, owned);
  }

  #begin(bytes: Buffer, from: number, to: number, owned: boolean): void {
    const { body, contentLength, keepAlive, keepAliveMs } = head;
    this.status = head.status;
    this.#keepAliveMs = keepAlive ? keepAliveMs : -1;
    this.#exchange.onResponse(head, bytes);
    if (body === 'none') {
      // Bytes behind a response that has no body belong to nothing; the connection is not to be trusted.
      if (from < to) this.#keepAliveMs = -1;
      this.#exchange.onResponseEnd(this.#keepAliveMs);
      return;
    }
    this.#phase = body;
    this.#remaining = contentLength;
    if (body === 'chunked') {
      this.#chunks ??= new ChunkedBody();
      this.#chunks.reset();
      this.#isComplete = false;
    }
    if (from < to) this.#takeBody(bytes, from, to, owned);
    if (this.#exchange.state === 'responding') this.#exchange.expectsMore();
  }

  #takeBody(bytes: Buffer, from: number, to: number, owned: boolean): void {
    const exchange = this.#exchange;
    switch (this.#phase) {
      case 'length': {
        const end = Math.min(to, from + this.#remaining);
        this.#remaining -= end - from;
        this.bodyBytes += end - from;
        exchange.recorder?.take(bytes, from, end);
        exchange.front.body(bytes, from, end, owned);
        if (this.#remaining > 0) return;
        if (end < to) this.#keepAliveMs = -1;
        exchange.onResponseEnd(this.#keepAliveMs);
        break;
      }
      case 'chunked': {
        const end = this.#chunks?.feed(bytes, from, to, owned, this) ?? -1;
        if (end < 0) exchange.onInvalidResponse();
        else if (this.#isComplete) exchange.onResponseEnd(end < to ? -1 : this.#keepAliveMs);
        break;
      }
      default:
        this.bodyBytes += to - from;
        exchange.recorder?.take(bytes, from, to);
        exchange.front.body(bytes, from, to, owned);
    }
  }

  chunkWire(bytes: Buffer, from: number, to: number, owned: boolean): void {
    if (this.#exchange.front.passesChunks && from < to) this.#exchange.front.body(bytes, from, to, owned);
  }

  chunkPayload(bytes: Buffer, from: number, to: number, owned: boolean): void {
    this.bodyBytes += to - from;
    this.#exchange.recorder?.take(bytes, from, to);
    if (!this.#exchange.front.passesChunks) this.#exchange.front.body(bytes, from, to, owned);
  }

  chunksEnded(trailerLines: string): void {
    this.#isComplete = true;
    this.#exchange.front.trailers(trailerLines);
  }
}
