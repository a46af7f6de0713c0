/**
 * One keep-alive connection of a client, on a raw socket: a generator of load must cost less than what it measures,
 * and Node's own HTTP client costs several times a proxy. It knows as much HTTP as these benchmarks' answers need:
 * a status, a Content-Length and a Set-Cookie. One request at a time.
 */
import { connect, type Socket } from 'node:net';

/** Status 0: the connection broke before the answer was complete. */
export type OnAnswer = (status: number, setCookie: string | undefined) => void;

export class RawClient {
  readonly #port: number;
  readonly #onAnswer: OnAnswer;
  #socket: Socket | undefined;
  #isWaiting = false;
  /** Of the answer under way: what came before its head was complete; then how much of the body is missing. */
  #head = '';
  #missing = 0;
  #status = 0;
  #setCookie: string | undefined;
  #isLast = false;

  constructor(port: number, onAnswer: OnAnswer) {
    this.#port = port;
    this.#onAnswer = onAnswer;
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Opens the connection ahead of the first request. */
  connected(): Promise<void> {
    const socket = this.#open();
    return new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  }

  send(request: string): void {
    this.#isWaiting = true;
    (this.#socket ?? this.#open()).write(request, 'latin1');
  }

  /** Breaks a request that is still waiting; it is answered with status 0. */
  close(): void {
    this.#socket?.destroy();
  }

  #open(): Socket {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (this.#isWaiting) this.#answer(0);
    });
    return socket;
  }

  #take(bytes: Buffer): void {
    let bodyBytes = bytes.length;
    if (this.#missing === 0) {
      this.#head += bytes.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      bodyBytes = this.#head.length - (end + 4);
      this.#readHead(this.#head.slice(0, end + 2));
    }
    this.#missing -= bodyBytes;
    if (this.#missing <= 0) this.#answer(this.#status);
  }

  #readHead(head: string): void {
    this.#head = '';
    this.#status = Number(head.slice(9, 12));
    this.#missing = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    this.#setCookie = /\r\nset-cookie: *([^;\r]*)/i.exec(head)?.[1];
    this.#isLast = /\r\nconnection: *close/i.test(head);
  }

  #answer(status: number): void {
    const setCookie = this.#setCookie;
    this.#isWaiting = false;
    this.#head = '';
    this.#missing = 0;
    this.#setCookie = undefined;
    if (this.#isLast) {
      // What the server is about to close is not used again, nor is its end taken for that of a later request.
      this.#isLast = false;
      this.#socket?.destroy();
      this.#socket = undefined;
    }
    this.#onAnswer(status, setCookie);
  }
}
