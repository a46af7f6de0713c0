import http from 'node:http';
import { connect, type Socket } from 'node:net';
import { HoldfastError } from '../support/errors.ts';
import type { HealthOptions } from './engine.ts';
import { type ProxyVersion, writeProxyHeader } from './proxy-protocol.ts';

/**
 * Asks one instance over and over whether it is well. That it accepts a connection proves little: the system does
 * that even for a process that is frozen. So each check is a real request on a new connection, with a limit, and good
 * is what answers as it should. Who watches makes a verdict of the results (protocol/health.ts). The pause between
 * two checks is for calm times: as long as a result leaves the verdict in doubt, the next check follows at once, and
 * traffic that sees something odd can ask for one.
 */
export interface HealthTarget {
  readonly host: string;
  readonly port: number;
  /** The instance expects a PROXY header on every connection. */
  readonly proxyProtocol?: ProxyVersion | undefined;
}

/** Told every result; answers whether the verdict is in doubt now (`isInDoubt`). */
export type OnHealthResult = (ok: boolean, reason: string) => { readonly inDoubt: boolean };

export interface HealthWatch {
  /** The first check follows at once. */
  start(): void;
  /** No result is told any more, not even that of a check under way. */
  stop(): void;
  /** Traffic saw something odd: look now, unless somebody does or did so a moment ago. */
  checkNow(): void;
}

/** Between two checks in doubt: next to nothing, but no busy loop where a connection is refused at once. */
const inDoubtPauseMs = 20;
/** After a check that is over: what happened since then may already be in its result. */
const justLookedMs = 50;
/** Between two checks that traffic asked for while all was well: slow requests must not make a storm of checks. */
const askedPauseMs = 250;

export function watchHealth(
  target: HealthTarget,
  options: HealthOptions,
  onResult: OnHealthResult,
): HealthWatch {
  return new Watch(target, { ...options, pattern: bodyPattern(options.body) }, onResult);
}

interface CheckOptions extends HealthOptions {
  readonly pattern: RegExp | undefined;
}

class Watch implements HealthWatch {
  readonly #target: HealthTarget;
  readonly #options: CheckOptions;
  readonly #onResult: OnHealthResult;
  #running = false;
  #checking = false;
  /** Ends the latest check, and what is left of it after its result. */
  #cancel: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #endedMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
  #allWell = false;

  constructor(target: HealthTarget, options: CheckOptions, onResult: OnHealthResult) {
    this.#target = target;
    this.#options = options;
    this.#onResult = onResult;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#schedule(performance.now());
  }

  stop(): void {
    this.#running = false;
    this.#checking = false;
    this.#allWell = false;
    this.#dueMs = Number.POSITIVE_INFINITY;
    clearTimeout(this.#timer);
    this.#cancel();
  }

  checkNow(): void {
    if (!this.#running || this.#checking) return;
    const allowedMs = this.#allWell ? this.#askedMs + askedPauseMs : Number.NEGATIVE_INFINITY;
    // Too early is not never: what traffic saw is looked at as soon as that is allowed.
    const wantedMs = Math.max(performance.now(), this.#endedMs + justLookedMs, allowedMs);
    if (wantedMs >= this.#dueMs) return;
    this.#askedMs = wantedMs;
    this.#schedule(wantedMs);
  }

  /** The earliest moment that anybody wanted counts. */
  #schedule(dueMs: number): void {
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check(), Math.max(0, dueMs - performance.now()));
  }

  #check(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#checking = true;
    this.#cancel();
    this.#cancel = check(this.#target, this.#options, (ok, reason) => {
      this.#checking = false;
      this.#endedMs = performance.now();
      const { inDoubt } = this.#onResult(ok, reason);
      this.#allWell = ok && !inDoubt;
      const { everyMs } = this.#options;
      const pauseMs = inDoubt ? Math.min(inDoubtPauseMs, everyMs) : everyMs;
      if (this.#running) this.#schedule(this.#endedMs + pauseMs);
    });
  }
}

/** So much of a body is looked at; of one that nobody looks at, so much is taken before the connection is cut. */
const bodyLimitBytes = 64 * 1024;

/** Asks once and tells the result once; the function that comes back ends it, told or not. */
function check(
  target: HealthTarget,
  options: CheckOptions,
  onResult: (ok: boolean, reason: string) => void,
): () => void {
  const { timeoutMs, pattern, path } = options;
  let told = false;
  const tell = (ok: boolean, reason: string) => {
    if (told) return;
    told = true;
    onResult(ok, reason);
  };
  const request = http.request({
    createConnection: () => newConnection(target),
    path,
    headers: {
      Host: target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`,
      'User-Agent': 'holdfast-health',
      Accept: '*/*',
      'Accept-Encoding': 'identity',
    },
  });
  const end = () => {
    clearTimeout(limit);
    request.destroy();
  };
  const fail = (reason: string) => {
    end();
    tell(false, reason);
  };
  // One more look at what has arrived: it may be our own process that had no time to read the answer.
  const limit = setTimeout(() => setImmediate(fail, `no answer within ${timeoutMs} ms`), timeoutMs);
  request.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
  request.on('close', () => fail('the connection was closed before the end of the answer'));
  request.on('response', (response) => {
    const status = response.statusCode ?? 0;
    const [lowest, highest] = options.status;
    if (status < lowest || status > highest) tell(false, `status ${status}`);
    else if (pattern === undefined) tell(true, `status ${status}`);
    // The body is taken in any case: an application that is cut short each second fills its own log with that.
    const pieces: Buffer[] = [];
    let bytes = 0;
    const judge = () => {
      const body = Buffer.concat(pieces).toString('utf8', 0, bodyLimitBytes);
      const matches = pattern?.test(body) ?? true;
      tell(matches, `status ${status}, and the body ${matches ? 'matches' : 'does not match'}`);
      end();
    };
    response.on('data', (piece: Buffer) => {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes >= bodyLimitBytes) judge();
    });
    response.on('end', judge);
    response.on('error', () => undefined); // the end of the request tells it
  });
  request.end();
  return () => {
    told = true;
    end();
  };
}

function newConnection({ host, port, proxyProtocol }: HealthTarget): Socket {
  const socket = connect({ host, port });
  if (proxyProtocol) socket.write(writeProxyHeader(proxyProtocol));
  return socket;
}

function bodyPattern(body: string | undefined): RegExp | undefined {
  try {
    return body === undefined ? undefined : new RegExp(body);
  } catch (error) {
    const reason = (error as Error).message;
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      `balancer.health.body: ${JSON.stringify(body)}: ${reason}`,
      {
        remedy: 'Write a regular expression that the body of a good answer matches.',
        cause: error,
      },
    );
  }
}
