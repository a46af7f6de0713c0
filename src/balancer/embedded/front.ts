import type { ResponseHead } from '../http1/response-head.ts';
import type { Refusal } from './refusal.ts';

/**
 * The client's side of one exchange: one request on an HTTP/1.1 connection, or one stream of HTTP/2. The exchange tells
 * it what to answer; it tells the exchange what comes (`begin`, `takeBody`, `bodyEnded`, `clientGone`).
 */
export interface Front {
  /** Does this client understand chunks, so that they are passed on as they come? */
  readonly passesChunks: boolean;
  /** An interim response: 100, 103 and the like. */
  interim(status: number, head: ResponseHead | undefined, bytes: Buffer | undefined): void;
  /** The head of the response. `added`: header lines of ours, each with CR LF. */
  respond(head: ResponseHead, bytes: Buffer, added: string): void;
  /** A piece of the response's body; `owned` bytes may be kept until they are written. */
  body(bytes: Buffer, from: number, to: number, owned: boolean): void;
  /** The end of a chunked body. */
  trailers(lines: string): void;
  /** The response is complete. */
  end(): void;
  /** Everything that was said goes out now. Returns false when the client is slow and the instance should wait. */
  flush(): boolean;
  /** An answer of our own; `ends`: and the connection with it. */
  refuse(refusal: Refusal, ends: boolean): void;
  /** What the ledger of idempotency keys remembers. */
  replay(status: number, headers: readonly string[], body: Uint8Array): void;
  /** The response breaks off. */
  cut(): void;
  /** The client is to wait with its body, or to go on. */
  pauseBody(): void;
  resumeBody(): void;
  /** 101: from now on bytes go both ways as they come. */
  tunnel(head: ResponseHead, bytes: Buffer, added: string): void;
}
