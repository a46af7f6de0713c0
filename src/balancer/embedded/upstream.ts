import type { Socket } from 'node:net';
import type { Backend } from './backend.ts';
import type { Exchange } from './exchange.ts';
import type { LoopClock } from './loop-clock.ts';
import type { Outbox, Sender } from './outbox.ts';
import { connectSocket, SocketBuffer } from './socket-reader.ts';

/**
 * One connection to an instance. It belongs to one exchange at a time, or to none while it is kept for the next one;
 * what it hears it tells the exchange.
 */
export class Upstream implements Sender {
  readonly backend: Backend;
  readonly socket: Socket;
  readonly buffer: SocketBuffer = new SocketBuffer();
  exchange: Exchange | undefined;
  isConnected = false;
  /** Has it carried an exchange before? */
  isReused = false;
  usableUntilMs = 0;
  #later: Buffer | undefined;
  #isClosed = false;
  readonly #clock: LoopClock;

  constructor(backend: Backend, clock: LoopClock, proxyHeader: Buffer | undefined) {
    this.backend = backend;
    this.#clock = clock;
    backend.connections++;
    const socket = connectSocket(backend.view, this.buffer, this);
    this.socket = socket;
    if (proxyHeader !== undefined) socket.write(proxyHeader);
    socket.on('connect', () => {
      clock.look();
      this.isConnected = true;
      this.exchange?.onConnected();
    });
    socket.on('drain', () => {
      clock.look();
      this.exchange?.onUpstreamDrained();
    });
    socket.on('end', () => this.#ended('ended'));
    // Stays for good: a socket may report more than one error, and one that nobody hears ends the process.
    socket.on('error', (error: NodeJS.ErrnoException) => this.#ended(error.code ?? error.message));
    socket.on('close', () => {
      backend.connections--;
      this.#ended('closed');
    });
  }

  /** May another request be sent on it? */
  get isUsable(): boolean {
    return !this.#isClosed && this.socket.writable;
  }

  /** Sends a whole request with the others of this turn of the loop. */
  sendLater(request: Buffer, outbox: Outbox): void {
    this.#later = request;
    outbox.add(this);
  }

  sendNow(): void {
    const request = this.#later;
    this.#later = undefined;
    if (request !== undefined && !this.#isClosed) this.socket.write(request);
  }

  onBytes(bytes: Buffer, from: number, to: number, owned: boolean): void {
    if (this.#isClosed) return;
    this.#clock.look();
    if (this.exchange === undefined) {
      // An instance that speaks without having been asked has nothing to say that anybody could use.
      this.#ended('unasked');
      return;
    }
    this.exchange.onResponseBytes(bytes, from, to, owned);
  }

  /** Cuts it without a word to the exchange. */
  destroy(): void {
    this.#isClosed = true;
    this.exchange = undefined;
    this.socket.destroy();
  }

  #ended(how: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#clock.look();
    const { exchange } = this;
    this.exchange = undefined;
    this.socket.destroy();
    if (exchange === undefined) this.backend.forgetIdle(this);
    else exchange.onUpstreamEnded(how);
  }
}
