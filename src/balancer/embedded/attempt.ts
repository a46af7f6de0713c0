import http from 'node:http';
import type { Duplex } from 'node:stream';
import type { RequestPhase } from '../../protocol/replay.ts';
import type { Backend } from './backend.ts';

/**
 * One request sent to one instance, once. It tells how far it came, which is what decides whether there may be
 * another attempt, and it ends in exactly one of three ways: a response, an upgrade, or a failure. After `abandon`
 * it says nothing more.
 */
export interface AttemptRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: string[];
  readonly hasBody: boolean;
  readonly expectsContinue: boolean;
  /** Take a new connection even where a kept one is free. */
  readonly fresh: boolean;
}

export interface AttemptFailure {
  readonly phase: Extract<RequestPhase, 'notConnected' | 'pooledClosed' | 'sent'>;
  readonly code: string;
  /** The instance answered, but not with HTTP. */
  readonly invalidResponse: boolean;
}

export interface AttemptHandlers {
  /** The connection stands and the instance is ready for the body. */
  readyForBody(sink: http.ClientRequest, continued: boolean): void;
  responded(response: http.IncomingMessage): void;
  upgraded(response: http.IncomingMessage, socket: Duplex, head: Buffer): void;
  failed(failure: AttemptFailure): void;
}

/** Many older servers never say 100; after this long the body is sent regardless (RFC 9110, section 10.1.1). */
const continueWaitMs = 1_000;

/** What an application may need for its response head: cookies and security policies grow. */
const responseHeadBytes = 64 * 1024;

export class Attempt {
  readonly backend: Backend;
  readonly startedMs: number;
  readonly #request: http.ClientRequest;
  readonly #handlers: AttemptHandlers;
  readonly #nowMs: () => number;
  #connectedMs: number | undefined;
  #isOver = false;
  #awaitsContinue: boolean;

  /** Throws where the request cannot be written as HTTP; nothing was sent then. */
  constructor(backend: Backend, outgoing: AttemptRequest, handlers: AttemptHandlers, nowMs: () => number) {
    this.backend = backend;
    this.#handlers = handlers;
    this.#nowMs = nowMs;
    this.startedMs = nowMs();
    this.#awaitsContinue = outgoing.expectsContinue;
    this.#request = http.request({
      host: backend.host,
      port: backend.port,
      method: outgoing.method,
      path: outgoing.target,
      headers: outgoing.headers,
      agent: outgoing.fresh ? backend.fresh : backend.pool,
      maxHeaderSize: responseHeadBytes,
    });
    this.#request.maxHeadersCount = 0;
    this.#listen(outgoing);
    if (!outgoing.hasBody) this.#request.end();
  }

  /** Undefined while there is no connection: nothing was sent then. */
  get connectedMs(): number | undefined {
    return this.#connectedMs;
  }

  get phase(): AttemptFailure['phase'] {
    if (this.#connectedMs === undefined) return 'notConnected';
    return this.#request.reusedSocket ? 'pooledClosed' : 'sent';
  }

  /** Called regularly: ends the wait for a `100 Continue` that does not come. */
  tick(nowMs: number): void {
    if (!this.#awaitsContinue || this.#connectedMs === undefined) return;
    if (nowMs - this.#connectedMs >= continueWaitMs) this.#continue();
  }

  /** Cuts the connection; no handler is called any more. */
  abandon(): void {
    this.#isOver = true;
    this.#request.destroy();
  }

  #listen(outgoing: AttemptRequest): void {
    const request = this.#request;
    request.on('socket', (socket) => {
      if (socket.connecting) socket.once('connect', () => this.#connected(outgoing));
      else this.#connected(outgoing);
    });
    request.on('continue', () => this.#continue());
    request.on('response', (response) => {
      if (this.#end()) this.#handlers.responded(response);
      else response.destroy();
    });
    request.on('upgrade', (response, socket, head) => {
      if (this.#end()) this.#handlers.upgraded(response, socket, head);
      else socket.destroy();
    });
    // Stays for good: a socket may report more than one error, and one that nobody hears ends the process.
    request.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? error.message;
      const { phase } = this;
      if (this.#end()) this.#handlers.failed({ phase, code, invalidResponse: code.startsWith('HPE_') });
    });
  }

  #connected(outgoing: AttemptRequest): void {
    if (this.#isOver) return;
    this.#connectedMs = this.#nowMs();
    if (this.#awaitsContinue) this.#request.flushHeaders();
    else if (outgoing.hasBody) this.#handlers.readyForBody(this.#request, false);
  }

  #continue(): void {
    if (this.#isOver || !this.#awaitsContinue) return;
    this.#awaitsContinue = false;
    this.#handlers.readyForBody(this.#request, true);
  }

  /** True for the first of the three ends. */
  #end(): boolean {
    const isFirst = !this.#isOver;
    this.#isOver = true;
    return isFirst;
  }
}
