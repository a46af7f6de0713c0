/** How the requests of the soak are sent, over HTTP/1.1 and HTTP/2, and what was seen of them. */
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { Ask, Check } from './soak-asks.ts';
import type { Sight } from './soak-judge.ts';

export interface Reply extends Sight {
  /** The sticky cookie that came with it, as a Cookie header says it. */
  readonly cookie: string | undefined;
}

const patienceMs = 20_000;
const slowPauseMs = 20;
const slowPieceBytes = 16_384;

const stickyOf = (setCookie: readonly string[] | undefined): string | undefined =>
  setCookie?.find((one) => one.startsWith('holdfast='))?.split(';')[0];

/** Collects what happens to one request; the first end counts. */
class Watching {
  status = 0;
  instance: string | undefined;
  cookie: string | undefined;
  readonly startedMs = performance.now();
  readonly #limit: NodeJS.Timeout;
  readonly #resolve: (reply: Reply) => void;

  constructor(resolve: (reply: Reply) => void, destroy: () => void, ask: Ask) {
    this.#resolve = resolve;
    const isAbort = ask.abortAfterMs !== undefined;
    this.#limit = setTimeout(() => {
      this.end({ broken: isAbort ? 'gone' : `nothing for ${patienceMs / 1_000} s` });
      destroy();
    }, ask.abortAfterMs ?? patienceMs);
  }

  answered(status: number, instance: unknown, setCookie: readonly string[] | undefined): void {
    this.status = status;
    this.instance = typeof instance === 'string' ? instance : undefined;
    this.cookie = stickyOf(setCookie);
  }

  /** Something arrived. */
  heard(ask: Ask): void {
    if (ask.abortAfterMs === undefined) this.#limit.refresh();
  }

  end(outcome: { readonly broken?: string; readonly wrong?: string }): void {
    clearTimeout(this.#limit);
    const { status, instance, cookie, startedMs } = this;
    this.#resolve({ status, instance, cookie, startedMs, ...outcome });
  }
}

/** The answer of a client that takes its time. */
function takeSlowly(stream: { pause(): unknown; resume(): unknown }): void {
  stream.pause();
  setTimeout(() => stream.resume(), slowPauseMs);
}

interface BodyTaker {
  readonly destroyed: boolean;
  write(chunk: Buffer): boolean;
  end(chunk?: Buffer): unknown;
}

function sendBody(taker: BodyTaker, { body, isSlow }: Ask): void {
  if (!isSlow || body === undefined) {
    taker.end(body);
    return;
  }
  const next = (from: number) => {
    if (taker.destroyed) return;
    if (from >= body.length) taker.end();
    else {
      taker.write(body.subarray(from, from + slowPieceBytes));
      setTimeout(next, slowPauseMs, from + slowPieceBytes);
    }
  };
  next(0);
}

function verdictOf(check: Check, trailers: object, status: number): ReturnType<Check['verdict']> {
  if (status !== 200) return {};
  try {
    return check.verdict(trailers as Readonly<Record<string, unknown>>);
  } catch (error) {
    return { wrong: (error as Error).message };
  }
}

export interface Http1Options {
  readonly port: number;
  readonly agent: http.Agent | https.Agent;
}

export function askHttp1(
  { port, agent }: Http1Options,
  ask: Ask,
  cookie: string | undefined,
): Promise<Reply> {
  return new Promise((resolve) => {
    const { request: start } = agent instanceof https.Agent ? https : http;
    const { method, path, body } = ask;
    const headers = { ...(cookie && { Cookie: cookie }), ...(body && { 'Content-Length': body.length }) };
    const request = start({ host: '127.0.0.1', port, agent, method, path, headers });
    const watching = new Watching(resolve, () => request.destroy(), ask);
    request.on('error', (error: NodeJS.ErrnoException) =>
      watching.end({ broken: error.code ?? error.message }),
    );
    request.on('response', (response) => {
      const check = ask.check(ask);
      watching.answered(
        response.statusCode ?? 0,
        response.headers['x-instance'],
        response.headers['set-cookie'],
      );
      response.on('data', (chunk: Buffer) => {
        watching.heard(ask);
        check.take(chunk);
        if (ask.isSlow) takeSlowly(response);
      });
      response.on('error', () => undefined); // 'close' follows
      response.on('end', () => watching.end(verdictOf(check, response.trailers, watching.status)));
      response.on('close', () => watching.end({ broken: 'cut' }));
    });
    sendBody(request, ask);
  });
}

export function askHttp2(
  session: http2.ClientHttp2Session,
  ask: Ask,
  cookie: string | undefined,
): Promise<Reply> {
  return new Promise((resolve) => {
    const headers = { ':method': ask.method, ':path': ask.path, ...(cookie && { cookie }) };
    const stream = session.request(headers, { endStream: ask.body === undefined });
    const watching = new Watching(resolve, () => stream.close(http2.constants.NGHTTP2_CANCEL), ask);
    const check = ask.check(ask);
    let trailers: object = {};
    stream.on('response', (got) =>
      watching.answered(got[':status'] ?? 0, got['x-instance'], got['set-cookie']),
    );
    stream.on('trailers', (got) => {
      trailers = got;
    });
    stream.on('data', (chunk: Buffer) => {
      watching.heard(ask);
      check.take(chunk);
      if (ask.isSlow) takeSlowly(stream);
    });
    stream.on('error', (error: NodeJS.ErrnoException) =>
      watching.end({ broken: error.code ?? error.message }),
    );
    stream.on('close', () => {
      const isWhole = stream.rstCode === http2.constants.NGHTTP2_NO_ERROR && watching.status !== 0;
      watching.end(
        isWhole ? verdictOf(check, trailers, watching.status) : { broken: `reset ${stream.rstCode}` },
      );
    });
    if (ask.body !== undefined) sendBody(stream, ask);
  });
}
