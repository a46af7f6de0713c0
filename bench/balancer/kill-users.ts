/**
 * The users of the kill experiments: each has one keep-alive connection, keeps the sticky cookie, and sends its next
 * request as soon as the last one was answered. After fifty requests a connection belongs to another, new user, so
 * that an instance that comes back is used again. Who gets an error tries again after a moment.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RawClient } from './raw-client.ts';
import { browserRequest } from './scene.ts';

export interface Answered {
  readonly kind: 'GET' | 'POST';
  /** Of a POST: its path, by which the instances know it. */
  readonly order: string;
  readonly startMs: number;
  readonly endMs: number;
  /** 0: the connection broke. */
  readonly status: number;
}

export const readers = 64;
export const buyers = 16;
const requestsOfUser = 50;
const afterFailureMs = 100;

export const isFailed = ({ status }: Answered): boolean => status === 0 || status >= 500;

export class Users {
  readonly #port: number;
  readonly #waiting = new Map<RawClient, number>(); // since when
  #answered: Answered[] = [];
  #orders = 0;
  #isStopped = false;

  constructor(port: number) {
    this.#port = port;
    for (let user = 0; user < readers; user++) this.#begin('GET');
    for (let user = 0; user < buyers; user++) this.#begin('POST');
  }

  #begin(kind: Answered['kind']): void {
    let cookie: string | undefined;
    let requests = 0;
    let order = '';
    let startMs = 0;
    const next = () => {
      if (requests++ % requestsOfUser === 0) cookie = undefined;
      order = kind === 'POST' ? `/orders/${++this.#orders}` : '';
      startMs = performance.now();
      this.#waiting.set(client, startMs);
      client.send(
        kind === 'POST'
          ? browserRequest(`POST ${order}`, { cookie, body: 'article=7' })
          : browserRequest('GET /basket', { cookie }),
      );
    };
    const client = new RawClient(this.#port, (status, setCookie) => {
      const answered: Answered = { kind, order, startMs, endMs: performance.now(), status };
      this.#waiting.delete(client);
      this.#answered.push(answered);
      cookie = setCookie ?? cookie;
      if (this.#isStopped) client.close();
      else if (isFailed(answered)) setTimeout(next, afterFailureMs);
      else next();
    });
    next();
  }

  /** What was answered since the last time. */
  take(): Answered[] {
    const answered = this.#answered;
    this.#answered = [];
    return answered;
  }

  /** Gives up what has been waiting for so long: it counts as broken. */
  giveUp(olderThanMs: number): void {
    const nowMs = performance.now();
    for (const [client, sinceMs] of this.#waiting) if (nowMs - sinceMs > olderThanMs) client.close();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await delay(2 * afterFailureMs); // who was about to try again has done so
    this.giveUp(0);
  }
}
