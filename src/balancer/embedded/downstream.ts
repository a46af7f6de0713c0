import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Duplex, pipeline } from 'node:stream';
import { type Refusal, rawHead, rawRefusal, refusalBody, refusalHeaders, statusTexts } from './refusal.ts';

/**
 * The client's side of a request. A request that wants to become a tunnel arrives without a response object, on a
 * bare socket; everything else about it is the same, so both are one interface to the exchange.
 */
export interface Downstream {
  /** Has anything of a response been given to the client? */
  readonly hasStarted: boolean;
  /** Called once if the client goes away before it has its whole response. */
  onGone(gone: () => void): void;
  sendContinue(): void;
  /** Passes the response on; `done` is called once, when it is through or cut. Throws where the head is invalid. */
  respond(response: IncomingMessage, headers: string[], done: () => void): void;
  refuse(refusal: Refusal, close: boolean): void;
  /** Passes 101 on and joins the two sockets; undefined where the client did not ask for it. */
  readonly tunnel?: (
    response: IncomingMessage,
    headers: string[],
    upstream: Upstream,
    done: () => void,
  ) => void;
  destroy(): void;
}

export interface Upstream {
  readonly socket: Duplex;
  /** What the instance sent right after its 101. */
  readonly head: Buffer;
}

export interface ConnectionOwner {
  /** The balancer is about to stop: connections end with their response. */
  isClosing(): boolean;
  /** A refusal ends this connection; whatever still comes on it is not answered. */
  onLastResponse(): void;
}

export class HttpDownstream implements Downstream {
  readonly #response: ServerResponse;
  readonly #owner: ConnectionOwner;

  constructor(response: ServerResponse, owner: ConnectionOwner) {
    this.#response = response;
    this.#owner = owner;
    response.on('error', () => undefined); // the client went away; 'close' follows and says so
  }

  get hasStarted(): boolean {
    return this.#response.headersSent;
  }

  onGone(gone: () => void): void {
    this.#response.once('close', () => {
      if (!this.#response.writableFinished) gone();
    });
  }

  sendContinue(): void {
    this.#response.writeContinue();
  }

  respond(upstream: IncomingMessage, headers: string[], done: () => void): void {
    const response = this.#response;
    if (this.#owner.isClosing()) response.shouldKeepAlive = false;
    response.writeHead(upstream.statusCode ?? 502, upstream.statusMessage ?? '', headers);
    pipeline(upstream, response, () => done());
    // The head goes out with the first piece of the body, unless that takes its time: then it goes alone.
    setImmediate(() => {
      if (!response.destroyed && !response.writableEnded) response.flushHeaders();
    });
  }

  refuse(refusal: Refusal, close: boolean): void {
    const response = this.#response;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const headers = refusalHeaders(refusal, close || this.#owner.isClosing());
    if (close) this.#owner.onLastResponse();
    response.writeHead(refusal.status, statusTexts[refusal.status] ?? '', headers);
    response.end(refusalBody(refusal));
  }

  destroy(): void {
    this.#response.destroy();
  }
}

export class TunnelDownstream implements Downstream {
  readonly #socket: Socket;
  readonly #head: Buffer;
  #hasStarted = false;

  /** `head` is what the client sent right after its request. */
  constructor(socket: Socket, head: Buffer) {
    this.#socket = socket;
    this.#head = head;
    socket.on('error', () => undefined); // 'close' follows and is what counts
    socket.setTimeout(0);
    socket.setNoDelay(true);
  }

  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  onGone(gone: () => void): void {
    this.#socket.once('close', gone);
  }

  sendContinue(): void {
    // A request that asks for a tunnel has no body, so there is nothing to go on with.
  }

  respond(upstream: IncomingMessage, headers: string[], done: () => void): void {
    this.#hasStarted = true;
    const head = rawHead(upstream.statusCode ?? 502, upstream.statusMessage ?? '', [
      ...headers,
      'Connection',
      'close',
    ]);
    this.#socket.write(head, 'latin1');
    pipeline(upstream, this.#socket, () => done());
  }

  refuse(refusal: Refusal): void {
    if (this.#hasStarted) this.#socket.destroy();
    else this.#socket.end(rawRefusal(refusal));
    this.#hasStarted = true;
  }

  readonly tunnel = (
    response: IncomingMessage,
    headers: string[],
    upstream: Upstream,
    done: () => void,
  ): void => {
    this.#hasStarted = true;
    const client = this.#socket;
    const protocol = response.headers.upgrade ?? 'websocket';
    const all = [...headers, 'Connection', 'Upgrade', 'Upgrade', protocol];
    client.write(rawHead(101, 'Switching Protocols', all), 'latin1');
    upstream.socket.on('error', () => undefined); // as above
    if (upstream.head.length > 0) client.write(upstream.head);
    if (this.#head.length > 0) upstream.socket.write(this.#head);
    client.pipe(upstream.socket);
    upstream.socket.pipe(client);
    client.once('close', () => upstream.socket.destroy());
    upstream.socket.once('close', () => {
      client.destroySoon();
      done();
    });
  };

  destroy(): void {
    this.#socket.destroy();
  }
}
