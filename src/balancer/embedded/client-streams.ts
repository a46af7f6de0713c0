import type { IncomingHttpHeaders } from 'node:http';
import http2, { type OutgoingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { type HeadRefusal, headRefusals, parseRequestHead, RequestHead } from '../http1/request-head.ts';
import { passesToClient, type ResponseHead } from '../http1/response-head.ts';
import { readTrailers } from '../http1/trailers.ts';
import type { Client, DataPath } from './data-path.ts';
import { Exchange } from './exchange.ts';
import type { Front } from './front.ts';
import { notFound, type Refusal } from './refusal.ts';
import { RequestFacts } from './request-facts.ts';
import { type ClientFacts, RequestIntake } from './request-intake.ts';
import { Uptake } from './uptake.ts';

/**
 * HTTP/2 towards clients, over the same path: a request of HTTP/2 is written down as the HTTP/1.1 head that it means and
 * then read by the same strict parser, so that there is one set of rules for what may pass. Framing, flow control and
 * compression are Node's.
 */
export function serveStreams(path: DataPath, socket: TLSSocket, client: ClientFacts): void {
  const { limits } = path.settings;
  const session = http2.performServerHandshake(socket, {
    maxHeaderListPairs: limits.headerCount + 4,
    settings: { maxConcurrentStreams: 128, maxHeaderListSize: limits.headerBytes, enablePush: false },
  });
  path.clients.add(new ClientSession(path, session, client));
}

class ClientSession implements Client {
  readonly #session: ServerHttp2Session;
  readonly #streams = new Set<ClientStream>();

  constructor(path: DataPath, session: ServerHttp2Session, client: ClientFacts) {
    this.#session = session;
    session.setTimeout(path.settings.limits.clientIdleMs, () => session.close());
    session.on('error', () => undefined); // 'close' follows and is what counts
    session.on('close', () => path.gone(this));
    session.on('stream', (stream, _headers, flags, rawHeaders) => {
      stream.on('error', () => undefined); // as above
      const hasBody = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) === 0;
      const one = new ClientStream(path, stream, client, () => this.#streams.delete(one));
      this.#streams.add(one);
      one.begin(rawHeaders as unknown as string[], hasBody);
    });
  }

  *exchanges(): Iterable<Exchange> {
    for (const { exchange } of this.#streams) if (!exchange.isIdle) yield exchange;
  }

  tick(nowMs: number): void {
    for (const stream of this.#streams) stream.tick(nowMs);
  }

  endWhenIdle(): void {
    // Says GOAWAY, and ends when the last stream has.
    if (!this.#session.closed) this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }
}

/** Of all streams of this process, one after the other. */
const head = new RequestHead();

/** Headers of one connection have no place in HTTP/2 (RFC 9113, section 8.2.2). */
const isConnectionHeader =
  /^(?:connection|http2-settings|keep-alive|proxy-connection|transfer-encoding|upgrade)$/;

class ClientStream implements Front {
  readonly passesChunks = false;
  readonly exchange: Exchange;
  readonly #path: DataPath;
  readonly #stream: ServerHttp2Stream;
  readonly #facts = new RequestFacts();
  readonly #intake: RequestIntake;
  #isChunked = false;
  #trailers: OutgoingHttpHeaders = {};
  #hasNoBody = false;
  readonly #bufferBytes: number;
  readonly #uptake = new Uptake();
  /** Since the answer is complete and gone. */
  #doneSinceMs: number | undefined;

  constructor(path: DataPath, stream: ServerHttp2Stream, client: ClientFacts, onClose: () => void) {
    this.#path = path;
    this.#stream = stream;
    this.#intake = new RequestIntake(path, client, this.#facts);
    this.exchange = new Exchange(path, this, this.#facts);
    this.#bufferBytes = Math.max(path.settings.limits.bufferBytes, stream.writableHighWaterMark);
    stream.on('drain', () => this.exchange.onClientDrained());
    stream.on('wantTrailers', () => stream.sendTrailers(this.#trailers));
    stream.on('close', () => {
      this.exchange.clientGone();
      onClose();
    });
  }

  begin(rawHeaders: readonly string[], hasBody: boolean): void {
    this.#path.clock.look();
    const text = headText(rawHeaders, hasBody);
    if (text === undefined) {
      this.refuse(headRefusals[2]);
      return;
    }
    const bytes = Buffer.from(text, 'latin1');
    const end = parseRequestHead(bytes, 0, bytes.length, this.#path.settings.limits, head);
    if (end <= 0) {
      this.refuse(headRefusals[end === 0 ? 2 : (-end as HeadRefusal)]);
      return;
    }
    const isDenied = this.#intake.take(bytes, head);
    this.#facts.protocol = 'HTTP/2';
    this.#isChunked = head.isChunked;
    if (isDenied) {
      this.refuse(notFound);
      return;
    }
    this.exchange.begin();
    if (hasBody) this.#hearBody();
    else this.#stream.resume(); // nobody hears of a reset behind an end that was not read
  }

  #hearBody(): void {
    const { exchange } = this;
    const take = (piece: Buffer, payloadBytes: number) =>
      exchange.takeBody(piece, 0, piece.length, true, payloadBytes);
    this.#stream.on('data', (bytes: Buffer) => {
      this.#path.clock.look();
      if (bytes.length === 0) return;
      const chunk = [Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, lineEnd];
      take(this.#isChunked ? Buffer.concat(chunk) : bytes, bytes.length);
    });
    let trailers = '';
    this.#stream.on('trailers', (headers) => {
      trailers = trailerText(headers);
    });
    this.#stream.on('end', () => {
      if (this.#isChunked) take(Buffer.from(`0\r\n${trailers}\r\n`, 'latin1'), 0);
      exchange.bodyEnded();
    });
  }

  /** Called regularly. */
  tick(nowMs: number): void {
    const stream = this.#stream;
    const stalledMs = this.#uptake.stalledMs(stream.destroyed ? 0 : stream.bufferSize, nowMs);
    if (!this.exchange.isIdle) {
      this.exchange.tick(nowMs, stalledMs);
      return;
    }
    const { readIdleMs, bodyIdleMs } = this.#path.settings.limits;
    if (stalledMs >= readIdleMs) this.cut();
    if (!stream.writableFinished) return;
    // Nobody needs the rest of the request; a client that never ends it would keep the stream for good.
    this.#doneSinceMs ??= nowMs;
    if (nowMs - this.#doneSinceMs >= bodyIdleMs && !this.#isOver)
      stream.close(http2.constants.NGHTTP2_NO_ERROR);
  }

  /** Is there nobody any more to say something to? Node throws at whoever tries. */
  get #isOver(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  interim(status: number, response: ResponseHead | undefined, bytes: Buffer | undefined): void {
    if (this.#stream.headersSent || this.#isOver) return;
    const lines = response === undefined || bytes === undefined ? {} : responseHeaders(response, bytes, '');
    this.#stream.additionalHeaders({ ...lines, ':status': status });
  }

  respond(response: ResponseHead, bytes: Buffer, added: string): void {
    if (this.#isOver) return;
    this.#hasNoBody = response.body === 'none';
    const headers = { ':status': response.status, ...responseHeaders(response, bytes, added) };
    this.#stream.respond(headers, {
      endStream: this.#hasNoBody,
      waitForTrailers: response.body === 'chunked',
    });
  }

  body(bytes: Buffer, from: number, to: number, owned: boolean): void {
    if (this.#isOver) return;
    this.#stream.write(owned ? bytes.subarray(from, to) : Buffer.from(bytes.subarray(from, to)));
    // HTTP/2 holds on to what it was given until the window allows.
    if (owned) this.exchange.lent();
  }

  trailers(lines: string): void {
    this.#trailers = headersOf(lines);
  }

  end(): void {
    if (!this.#hasNoBody) this.#stream.end();
  }

  flush(): boolean {
    return this.#isOver || this.#stream.writableLength < this.#bufferBytes;
  }

  refuse(refusal: Refusal): void {
    const stream = this.#stream;
    if (this.#isOver) return;
    if (stream.headersSent) {
      this.cut();
      return;
    }
    const accept = this.#facts.header('accept');
    const { lines, body } = this.#path.page(refusal, accept, this.#facts.requestId);
    stream.respond({ ':status': refusal.status, ...headersOf(lines) });
    stream.end(this.#facts.method === 'HEAD' ? undefined : body);
    this.#path.refused(refusal);
    // What still comes of a body is of no use; without this the client would have to send it all.
    stream.resume();
  }

  replay(status: number, headers: readonly string[], body: Uint8Array): void {
    if (this.#isOver) return;
    let lines = '';
    for (let index = 0; index + 1 < headers.length; index += 2)
      lines += `${headers[index]}: ${headers[index + 1]}\r\n`;
    this.#stream.respond({ ':status': status, ...headersOf(lines), 'content-length': body.length });
    this.#stream.end(Buffer.from(body));
  }

  cut(): void {
    // A stream that is merely closed with an error ends its data first, and looks whole.
    if (!this.#isOver) this.#stream.destroy(new Error('the response broke off'));
  }

  pauseBody(): void {
    this.#stream.pause();
  }

  resumeBody(): void {
    this.#stream.resume();
  }

  tunnel(): void {
    this.cut(); // no stream asks for one
  }
}

const lineEnd = Buffer.from('\r\n');

/** The HTTP/1.1 head that a request of HTTP/2 means; undefined where it means none. */
function headText(rawHeaders: readonly string[], hasBody: boolean): string | undefined {
  const pseudo: Record<string, string> = {};
  const cookies: string[] = [];
  let lines = '';
  let host: string | undefined;
  let hasLength = false;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] as string).toLowerCase();
    const value = rawHeaders[index + 1] as string;
    if (/[\r\n\0]/.test(value) || isConnectionHeader.test(name)) return undefined;
    if (name.startsWith(':')) pseudo[name] = value;
    else if (name === 'cookie') cookies.push(value);
    else if (name === 'host') host = value;
    else {
      hasLength ||= name === 'content-length';
      lines += `${name}: ${value}\r\n`;
    }
  }
  const { ':method': method, ':path': target, ':authority': authority = host ?? '' } = pseudo;
  if (method === undefined || target === undefined || ':protocol' in pseudo) return undefined;
  if (/[\s\0]/.test(method + target) || (host !== undefined && host !== authority)) return undefined;
  // In HTTP/2 the pieces of a cookie may come as several fields, so that they compress better.
  if (cookies.length > 0) lines += `cookie: ${cookies.join('; ')}\r\n`;
  if (hasBody && !hasLength) lines += 'transfer-encoding: chunked\r\n';
  return `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n${lines}\r\n`;
}

/** The trailers of a request that may pass, by the same rule as those of HTTP/1.1. */
function trailerText(headers: IncomingHttpHeaders): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${[value].flat().join(', ')}\r\n`);
  const bytes = Buffer.from(`${lines.join('')}\r\n`, 'latin1');
  const trailers = readTrailers(bytes, 0, bytes.length);
  return trailers === undefined || trailers === 'invalid' ? '' : trailers.lines;
}

function responseHeaders(
  { fields, body }: ResponseHead,
  bytes: Buffer,
  added: string,
): Record<string, string | string[]> {
  let lines = added;
  for (let index = 0; index < fields.count; index++) {
    if (!passesToClient(fields.kind(index), body, false)) continue;
    const name = bytes.toString('latin1', fields.start(index), fields.nameEnd(index));
    lines += `${name}: ${bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index))}\r\n`;
  }
  return headersOf(lines);
}

/** From header lines to an object; what comes several times is a list. */
function headersOf(lines: string): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const known = headers[name];
    if (isConnectionHeader.test(name) || name === 'te') continue;
    headers[name] = known === undefined ? value : [known, value].flat();
  }
  // Only of a few headers does HTTP/2 as Node speaks it allow several lines; of the others they are one list.
  for (const [name, value] of Object.entries(headers)) {
    if (Array.isArray(value) && name !== 'set-cookie') headers[name] = value.join(', ');
  }
  return headers;
}
