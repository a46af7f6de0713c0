import http from 'node:http';
import type { HealthOptions } from '../engine.ts';

/**
 * Asks one instance over and over whether it is well. A TCP connection proves little (a frozen process still accepts
 * them), so each check is a real request on a new connection, with a short limit. The pause between checks is for
 * calm times only: a failure that leaves the verdict in doubt is followed by the next check at once, and traffic that
 * sees something odd can ask for a check now.
 */
export interface HealthCheckTarget {
  readonly host: string;
  readonly port: number;
}

/** Told every result; answers whether the verdict is in doubt, so that the next check should not wait. */
export type HealthResult = (ok: boolean, reason: string) => { readonly inDoubt: boolean };

/** Between two checks that traffic asked for, so that slow requests cannot turn into a storm of checks. */
const minimumPauseMs = 200;

/** After a failure in doubt: next to nothing, but not a busy loop where a connection is refused at once. */
const inDoubtPauseMs = 20;

export class HealthCheck {
  readonly #target: HealthCheckTarget;
  readonly #options: HealthOptions;
  readonly #onResult: HealthResult;
  #running = false;
  #lastEndedMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #checking: http.ClientRequest | undefined;

  constructor(target: HealthCheckTarget, options: HealthOptions, onResult: HealthResult) {
    this.#target = target;
    this.#options = options;
    this.#onResult = onResult;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#schedule(0);
  }

  stop(): void {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#dueMs = Number.POSITIVE_INFINITY;
    const checking = this.#checking;
    this.#checking = undefined;
    checking?.destroy();
  }

  /** Something odd was seen: look now, unless a check is under way or was a moment ago. */
  checkNow(): void {
    if (!this.#running || this.#checking !== undefined) return;
    const pauseMs = Math.max(0, this.#lastEndedMs + minimumPauseMs - performance.now());
    if (performance.now() + pauseMs < this.#dueMs) this.#schedule(pauseMs);
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#dueMs = performance.now() + delayMs;
    this.#timer = setTimeout(() => this.#check(), delayMs);
  }

  #check(): void {
    const { path, timeoutMs, everyMs } = this.#options;
    this.#dueMs = Number.POSITIVE_INFINITY;
    const request = http.request({
      ...this.#target,
      path,
      agent: false,
      headers: { Host: hostHeader(this.#target), 'User-Agent': 'holdfast-health', Accept: '*/*' },
    });
    this.#checking = request;
    const finish = (ok: boolean, reason: string) => {
      if (this.#checking !== request) return; // told already, or stopped
      this.#checking = undefined;
      clearTimeout(limit);
      request.destroy();
      this.#lastEndedMs = performance.now();
      const { inDoubt } = this.#onResult(ok, reason);
      if (this.#running && this.#checking === undefined)
        this.#schedule(!ok && inDoubt ? inDoubtPauseMs : everyMs);
    };
    const limit = setTimeout(() => finish(false, `no answer within ${timeoutMs} ms`), timeoutMs);
    request.on('response', (response) => {
      const status = response.statusCode ?? 0;
      response.on('error', () => undefined); // the body is not waited for; cutting it is no failure
      finish(status >= 200 && status < 400, `status ${status}`);
    });
    request.on('error', (error: NodeJS.ErrnoException) => finish(false, error.code ?? error.message));
    request.end();
  }
}

const hostHeader = ({ host, port }: HealthCheckTarget): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
