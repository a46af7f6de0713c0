import type { Socket } from 'node:net';
import { ChunkedBody, type ChunkSink } from '../http1/chunked-body.ts';
import { HeadWriter } from '../http1/head-writer.ts';
import { type HeadRefusal, headRefusals, parseRequestHead, RequestHead } from '../http1/request-head.ts';
import { passesToClient, type ResponseHead, responseFields } from '../http1/response-head.ts';
import type { Client, DataPath } from './data-path.ts';
import { Exchange } from './exchange.ts';
import type { Front } from './front.ts';
import type { Sender } from './outbox.ts';
import { badChunks, headTooSlow, notFound, type Refusal } from './refusal.ts';
import { RequestFacts } from './request-facts.ts';
import { type ClientFacts, RequestIntake } from './request-intake.ts';
import { type ByteReader, type SocketBuffer, unsentBytes } from './socket-reader.ts';
import { reasonPhrase } from './status-texts.ts';
import { Uptake } from './uptake.ts';

/**
 * A client's HTTP/1.1 connection: it takes requests apart, one after the other, and writes the answers in the same
 * order. What a client sends ahead of its turn waits, and so does the client. No object is made for a request: the
 * connection has one exchange, one record of facts, and a text of what goes out with the next write.
 */

/** Of all connections of this process, one after the other: a head is used up before the next bytes are looked at. */
const head = new RequestHead();
const writer = new HeadWriter();

/** A body of up to this size is written in one piece with the head. */
const smallBodyBytes = 16 * 1024;
/** So that a client can read its answer before the connection goes. */
const lingerMs = 1_000;

export class ClientConnection implements Client, Front, ByteReader, ChunkSink, Sender {
  readonly #path: DataPath;
  readonly #socket: Socket;
  readonly #buffer: SocketBuffer | undefined;
  readonly #intake: RequestIntake;
  readonly exchange: Exchange;
  readonly #facts = new RequestFacts();
  readonly #bufferBytes: number;
  readonly #transport: Socket;
  readonly #uptake = new Uptake();
  #phase: 'head' | 'length' | 'chunks' | 'tunnel' | 'closing' = 'head';
  #remaining = 0;
  #chunks: ChunkedBody | undefined;
  #payloadBytes = 0;
  /** Bytes whose turn has not come. */
  #pending: Buffer | undefined;
  #isProcessing = false;
  #isPaused = false;
  #keepAlive = true;
  #isHttp10 = false;
  /** The client knows the end of the response by the end of the connection. */
  #endsByClosing = false;
  /** The response came without a known end; it goes out in chunks. */
  #makesChunks = false;
  #later: Buffer | undefined;
  /** Since it waits for what the phase says. */
  #sinceMs: number;
  #hasBegun = false;

  /** `transport`: what is under TLS. */
  constructor(
    path: DataPath,
    socket: Socket,
    buffer: SocketBuffer | undefined,
    client: ClientFacts,
    transport: Socket = socket,
  ) {
    this.#path = path;
    this.#socket = socket;
    this.#buffer = buffer;
    this.#intake = new RequestIntake(path, client, this.#facts);
    // A socket that holds less than its mark never says that it was drained.
    // What waits at a socket of TLS exists twice, once as it came and once encrypted.
    const allowed = path.settings.limits.bufferBytes / (client.encrypted ? 4 : 1);
    this.#bufferBytes = Math.max(allowed, socket.writableHighWaterMark);
    this.#transport = transport;
    this.#sinceMs = path.clock.nowMs;
    this.exchange = new Exchange(path, this, this.#facts);
    socket.on('drain', () => this.exchange.onClientDrained());
    socket.on('end', () => this.#clientEnded());
    socket.on('error', () => undefined); // 'close' follows and is what counts
    socket.on('close', () => this.#closed());
  }

  get passesChunks(): boolean {
    return !this.#isHttp10;
  }

  onBytes(bytes: Buffer, from: number, to: number, owned: boolean): void {
    const pending = this.#pending;
    this.#path.clock.look();
    if (this.#phase === 'tunnel') {
      this.exchange.moved();
      const piece = owned ? bytes.subarray(from, to) : Buffer.from(bytes.subarray(from, to));
      if (!this.exchange.sendThroughTunnel(piece)) this.pauseBody();
    } else if (this.#phase === 'closing') return;
    else if (pending === undefined) this.#process(bytes, from, to, owned);
    else {
      const whole = Buffer.concat([pending, bytes.subarray(from, to)]);
      this.#pending = undefined;
      // An unfinished head without a new line end is still unfinished; looking again would be for nothing.
      const isFutile = this.#hasBegun && whole.length <= this.#path.settings.limits.headerBytes;
      if (isFutile && bytes.subarray(from, to).indexOf(10) < 0) this.#pending = whole;
      else this.#process(whole, 0, whole.length, true);
    }
  }

  #process(bytes: Buffer, from: number, to: number, owned: boolean): void {
    this.#isProcessing = true;
    let at = from;
    while (at < to) {
      if (this.#phase === 'head') {
        if (!this.exchange.isIdle) {
          this.#stash(bytes, at, to);
          this.pauseBody();
          break;
        }
        const end = parseRequestHead(bytes, at, to, this.#path.settings.limits, head);
        if (end < 0) {
          this.#refuseHead(-end as HeadRefusal);
          break;
        }
        if (end === 0) {
          if (!this.#hasBegun) this.#sinceMs = this.#path.clock.nowMs;
          this.#hasBegun = true;
          this.#stash(bytes, at, to);
          break;
        }
        at = end;
        this.#begin(bytes);
      } else if (this.#phase === 'length') {
        const end = Math.min(to, at + this.#remaining);
        this.#remaining -= end - at;
        this.#takeBody(bytes, at, end, owned, end - at);
        at = end;
        if (this.#remaining === 0) this.#bodyEnded();
      } else if (this.#phase === 'chunks') {
        const end = this.#chunks?.feed(bytes, at, to, owned, this) ?? -1;
        if (end < 0) {
          this.#refuseBody(badChunks);
          break;
        }
        at = end;
      } else break;
    }
    this.#isProcessing = false;
  }

  #stash(bytes: Buffer, from: number, to: number): void {
    this.#pending = Buffer.from(bytes.subarray(from, to));
  }

  /** A head is there: it becomes a request. */
  #begin(bytes: Buffer): void {
    const facts = this.#facts;
    this.#hasBegun = false;
    this.#isHttp10 = head.minor === 0;
    this.#keepAlive = head.keepAlive;
    const isDenied = this.#intake.take(bytes, head);
    this.#startBody();
    if (isDenied) this.#answer(notFound, facts.hasBody);
    else this.exchange.begin();
  }

  #startBody(): void {
    if (head.isChunked) {
      this.#phase = 'chunks';
      this.#chunks ??= new ChunkedBody();
      this.#chunks.reset();
    } else if (head.contentLength > 0) {
      this.#phase = 'length';
      this.#remaining = head.contentLength;
    }
    if (head.hasBody && this.#buffer !== undefined) this.#buffer.owns = true;
  }

  #takeBody(bytes: Buffer, from: number, to: number, owned: boolean, payloadBytes: number): void {
    const { exchange } = this;
    exchange.takeBody(bytes, from, to, owned, payloadBytes);
    if (owned && !exchange.isIdle && !exchange.body.hasLeft) this.#buffer?.lent();
  }

  #bodyEnded(): void {
    if (this.#phase === 'closing') return;
    this.#phase = 'head';
    if (this.#buffer !== undefined) this.#buffer.owns = false;
    this.exchange.bodyEnded();
  }

  chunkWire(bytes: Buffer, from: number, to: number, owned: boolean): void {
    const payloadBytes = this.#payloadBytes;
    this.#payloadBytes = 0;
    if (from < to) this.#takeBody(bytes, from, to, owned, payloadBytes);
  }

  // Instances understand chunks: they get the body as it came, and the payload is only counted.
  chunkPayload(_bytes: Buffer, from: number, to: number): void {
    this.#payloadBytes += to - from;
  }

  chunksEnded(trailerLines: string): void {
    const end = Buffer.from(`${trailerLines}\r\n`, 'latin1');
    this.exchange.takeBody(end, 0, end.length, true, 0);
    this.#bodyEnded();
  }

  #refuseHead(number: HeadRefusal): void {
    this.#facts.clear();
    this.#answer(headRefusals[number], true);
  }

  /** The body is broken: an instance that has seen its beginning sees it break off. */
  #refuseBody(refusal: Refusal): void {
    if (this.exchange.hasResponded || this.exchange.isIdle) {
      this.exchange.cut();
      this.#close();
    } else this.exchange.refuse(refusal, true);
  }

  interim(status: number, response: ResponseHead | undefined, bytes: Buffer | undefined): void {
    if (this.#isHttp10) return;
    writer.clear();
    writer.text(`HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`);
    if (response !== undefined && bytes !== undefined)
      writeLines(bytes, response, response.fieldsStart, false);
    writer.text('\r\n');
    this.flush();
  }

  respond(response: ResponseHead, bytes: Buffer, added: string): void {
    const { body } = response;
    // A response that ends with its connection gets chunks here: over TLS above all, a mere end looks like any other.
    this.#makesChunks = body === 'untilClose' && !this.#isHttp10;
    this.#endsByClosing = this.#isHttp10 && (body === 'untilClose' || body === 'chunked');
    if (this.#endsByClosing || this.#path.isClosing || this.#withholdsBody) this.#keepAlive = false;
    writer.clear();
    writeStatusAndLines(bytes, response, this.passesChunks);
    if (added !== '') writer.text(added);
    if (this.#makesChunks) writer.text('Transfer-Encoding: chunked\r\n');
    if (!this.#keepAlive) writer.text('Connection: close\r\n');
    else if (this.#isHttp10) writer.text('Connection: keep-alive\r\n');
    writer.lineEnd();
  }

  /**
   * The client waits for a 100 that does not come any more. Some send the body all the same and some do not: what
   * follows could be either, so nothing may follow.
   */
  get #withholdsBody(): boolean {
    return this.#facts.expectsContinue && this.exchange.body.takenBytes === 0;
  }

  body(bytes: Buffer, from: number, to: number, owned: boolean): void {
    if (from === to) return;
    if (this.#makesChunks) writer.text(`${(to - from).toString(16)}\r\n`);
    this.#piece(bytes, from, to, owned);
    if (this.#makesChunks) writer.lineEnd();
  }

  #piece(bytes: Buffer, from: number, to: number, owned: boolean): void {
    if (writer.length + to - from <= smallBodyBytes) {
      writer.run(bytes, from, to);
      return;
    }
    const socket = this.#socket;
    this.sendNow();
    const hasHead = writer.length > 0;
    if (hasHead) {
      socket.cork();
      socket.write(writer.take());
    }
    socket.write(owned ? bytes.subarray(from, to) : Buffer.from(bytes.subarray(from, to)));
    if (hasHead) socket.uncork();
    if (owned && socket.writableLength > 0) this.exchange.lent();
  }

  trailers(lines: string): void {
    if (this.passesChunks) writer.text(`${lines}\r\n`);
  }

  end(): void {
    if (this.#makesChunks) writer.text('0\r\n\r\n');
    this.#makesChunks = false;
    if (!this.#keepAlive) {
      this.flush();
      this.#close();
      return;
    }
    if (writer.length > 0) {
      this.sendNow();
      this.#later = writer.take();
      this.#path.outbox.add(this);
    }
    this.#becomeIdle();
  }

  /** Writes the end of a response that was put aside; whatever else is written comes behind it. */
  sendNow(): void {
    const later = this.#later;
    this.#later = undefined;
    if (later !== undefined && !this.#socket.destroyed) this.#socket.write(later);
  }

  flush(): boolean {
    const socket = this.#socket;
    this.sendNow();
    if (writer.length > 0) socket.write(writer.take());
    return socket.writableLength < this.#bufferBytes;
  }

  refuse(refusal: Refusal, ends: boolean): void {
    if (this.#phase === 'tunnel') this.cut();
    else this.#answer(refusal, ends);
  }

  replay(status: number, headers: readonly string[], body: Uint8Array): void {
    if (this.#path.isClosing || this.#withholdsBody) this.#keepAlive = false;
    let text = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
    for (let index = 0; index + 1 < headers.length; index += 2)
      text += `${headers[index]}: ${headers[index + 1]}\r\n`;
    writer.clear();
    writer.text(`${text}Content-Length: ${body.length}\r\n${this.#connectionLine}\r\n`);
    this.body(Buffer.from(body), 0, body.length, true);
    this.end();
  }

  get #connectionLine(): string {
    if (!this.#keepAlive) return 'Connection: close\r\n';
    return this.#isHttp10 ? 'Connection: keep-alive\r\n' : '';
  }

  #answer(refusal: Refusal, ends: boolean): void {
    const facts = this.#facts;
    if (ends || this.#path.isClosing) this.#keepAlive = false;
    const { lines, body } = this.#path.page(refusal, facts.header('accept'), facts.requestId);
    let text = `HTTP/1.1 ${refusal.status} ${reasonPhrase(refusal.status)}\r\n${lines}`;
    text += this.#connectionLine;
    this.sendNow();
    this.#socket.write(facts.method === 'HEAD' ? `${text}\r\n` : `${text}\r\n${body}`, 'utf8');
    this.#path.refused(refusal);
    if (this.#keepAlive) this.#becomeIdle();
    else this.#close();
  }

  cut(): void {
    if (this.#phase === 'tunnel') {
      this.flush();
      this.#socket.destroySoon();
      return;
    }
    writer.clear();
    this.sendNow();
    // A mere end would look like the end of the response.
    if (this.#endsByClosing) this.#transport.resetAndDestroy();
    this.#socket.destroy();
  }

  tunnel(response: ResponseHead, bytes: Buffer, added: string): void {
    this.#phase = 'tunnel';
    this.#keepAlive = false;
    const { fields } = response;
    let upgrade = 'websocket';
    for (let index = 0; index < fields.count; index++) {
      if (fields.kind(index) === responseFields.upgrade)
        upgrade = bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index));
    }
    writer.clear();
    writeStatusAndLines(bytes, response, false);
    writer.text(`${added}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`);
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending !== undefined) this.exchange.sendThroughTunnel(pending);
    this.resumeBody();
  }

  pauseBody(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  resumeBody(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  *exchanges(): Iterable<Exchange> {
    if (!this.exchange.isIdle) yield this.exchange;
  }

  /** Called regularly. */
  tick(nowMs: number): void {
    const { limits } = this.#path.settings;
    const stalledMs = this.#uptake.stalledMs(unsentBytes(this.#socket), nowMs);
    if (!this.exchange.isIdle) {
      this.exchange.tick(nowMs, stalledMs);
      return;
    }
    if (this.#socket.writableLength > 0) {
      // The client still takes what it was answered; only then it is idle.
      this.#sinceMs = nowMs;
      if (stalledMs >= limits.readIdleMs) this.#socket.destroy();
      return;
    }
    const waitedMs = nowMs - this.#sinceMs;
    if (this.#phase === 'closing') {
      if (waitedMs >= lingerMs) this.#socket.destroy();
    } else if (this.#hasBegun) {
      if (waitedMs >= limits.headersTimeoutMs) {
        this.#facts.clear();
        this.#answer(headTooSlow, true);
      }
    } else if (waitedMs >= limits.clientIdleMs) this.#socket.destroy();
  }

  endWhenIdle(now: boolean): void {
    if (now && this.exchange.isIdle && !this.#hasBegun) this.#close();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #becomeIdle(): void {
    this.#facts.clear();
    this.#sinceMs = this.#path.clock.nowMs;
    if (this.#isProcessing) return;
    const pending = this.#pending;
    this.#pending = undefined;
    this.resumeBody();
    if (pending !== undefined && this.#phase === 'head') this.#process(pending, 0, pending.length, true);
  }

  #close(): void {
    if (this.#phase === 'closing') return;
    this.#phase = 'closing';
    this.#pending = undefined;
    this.#sinceMs = this.#path.clock.nowMs;
    this.sendNow();
    this.#socket.end();
    this.resumeBody();
  }

  #clientEnded(): void {
    if (this.#phase === 'closing') this.#socket.destroy();
    else if (this.exchange.isIdle) this.#close();
    else {
      this.exchange.clientGone();
      this.#socket.destroy();
    }
  }

  #closed(): void {
    this.exchange.clientGone();
    this.#phase = 'closing';
    this.#path.gone(this);
  }
}

function writeStatusAndLines(bytes: Buffer, response: ResponseHead, passesChunks: boolean): void {
  const { minor, start, fieldsStart } = response;
  if (minor === 1) {
    writeLines(bytes, response, start, passesChunks);
    return;
  }
  writer.text('HTTP/1.1');
  writer.run(bytes, start + 8, fieldsStart);
  writeLines(bytes, response, fieldsStart, passesChunks);
}

/** The lines that pass to the client, in runs as they came; the first run begins at `from`. */
function writeLines(bytes: Buffer, response: ResponseHead, from: number, passesChunks: boolean): void {
  const { fields, body, linesEnd } = response;
  let runStart = from;
  for (let index = 0; index < fields.count; index++) {
    const kind = fields.kind(index);
    const passes = passesToClient(kind, body, passesChunks);
    const start = fields.start(index);
    if (passes) {
      if (runStart < 0) runStart = start;
      continue;
    }
    if (runStart >= 0 && runStart < start) writer.run(bytes, runStart, start);
    runStart = -1;
  }
  if (runStart >= 0) writer.run(bytes, runStart, linesEnd);
}
