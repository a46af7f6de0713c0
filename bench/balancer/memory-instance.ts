/** An instance that sends as much as it is let, or reads nothing of what it is sent, and knows when all of it stands still. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const block = Buffer.alloc(64 * 1_024, 'x');
const lookEveryMs = 250;
/** Nothing has moved for so many looks. */
const calmLooks = 6;
const patienceMs = 30_000;

export class MemoryInstance {
  readonly #server: http.Server;
  /** Requests under way, with the bytes that were sent or read so far. */
  readonly #open = new Map<http.ServerResponse, () => number>();
  readonly #unread = new Set<http.IncomingMessage>();

  constructor() {
    this.#server = http.createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://memory');
      request.on('error', () => undefined); // clients go away in the middle
      response.on('error', () => undefined);
      if (pathname === '/flood') this.#flood(response, Number(searchParams.get('bytes')));
      else if (pathname === '/swallow') this.#swallow(request, response);
      else response.setHeader('Content-Length', 2).end('ok');
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Waits until that many are under way and none of them moves; returns the bytes of all of them. */
  async stalled(count: number): Promise<number> {
    const limitMs = performance.now() + patienceMs;
    let last = -1;
    for (let calm = 0; calm < calmLooks; ) {
      if (performance.now() > limitMs)
        throw new Error(`${this.#open.size} of ${count} requests are under way, and they do not stand still`);
      await delay(lookEveryMs);
      const now = [...this.#open.values()].reduce((sum, bytes) => sum + bytes(), 0);
      calm = this.#open.size === count && now === last ? calm + 1 : 0;
      last = now;
    }
    return last;
  }

  /** Waits until nobody is there any more. Who does not read does not hear that either, so what was left is read now. */
  async deserted(): Promise<void> {
    for (const request of this.#unread) request.resume();
    this.#unread.clear();
    const limitMs = performance.now() + patienceMs;
    while (this.#open.size > 0) {
      if (performance.now() > limitMs)
        throw new Error(`${this.#open.size} requests are still under way although their clients are gone`);
      await delay(lookEveryMs);
    }
  }

  #watch(response: http.ServerResponse, bytes: () => number): void {
    this.#open.set(response, bytes);
    response.once('close', () => this.#open.delete(response));
  }

  #swallow(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.#unread.add(request);
    this.#watch(response, () => request.socket.bytesRead);
  }

  #flood(response: http.ServerResponse, bytes: number): void {
    let sent = 0;
    this.#watch(response, () => sent);
    response.setHeader('Content-Length', bytes);
    const more = () => {
      while (sent < bytes && !response.closed) {
        sent += block.length;
        if (!response.write(block)) return;
      }
    };
    response.on('drain', more);
    more();
  }
}
