/**
 * An instance that writes down exactly what a balancer sends it. It reads raw bytes, by the letter of RFC 9112, and
 * notes everything that is not by the letter: bytes that a careful balancer would never pass on. It answers every
 * complete request with an empty 200 that carries a mark, so that the client can tell its answers from a refusal.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

export interface Message {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** latin1, one character a byte; as far as it came. */
  body: string;
  readonly trailers: (readonly [name: string, value: string])[];
  isComplete: boolean;
}

export interface Recording {
  readonly messages: readonly Message[];
  /** Of which the beginning arrived and the end did not. */
  readonly partial: Message | undefined;
  /** What was not by the letter. */
  readonly oddities: readonly string[];
}

export const mark = 'X-Fuzz-Instance';
export const healthPath = '/fuzz-health';

export class RecordingInstance {
  readonly #server: Server;
  readonly #connections = new Set<Reading>();
  #messages: Message[] = [];
  #oddities: string[] = [];

  constructor() {
    this.#server = createServer({ noDelay: true }, (socket) => {
      const reading = new Reading(socket, this);
      this.#connections.add(reading);
      socket.once('close', () => this.#connections.delete(reading));
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Forgets what came so far: the next request to a balancer begins. */
  begin(): void {
    this.#messages = [];
    this.#oddities = [];
  }

  recorded(): Recording {
    return {
      messages: this.#messages.filter(({ isComplete }) => isComplete),
      partial: this.#messages.find(({ isComplete }) => !isComplete),
      oddities: this.#oddities,
    };
  }

  note(message: Message): void {
    this.#messages.push(message);
  }

  noteOddity(oddity: string): void {
    this.#oddities.push(oddity);
  }

  close(): void {
    this.#server.close();
    for (const connection of this.#connections) connection.socket.destroy();
  }
}

const tokens = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const fieldLine = /^([^:]*):[ \t]*(.*?)[ \t]*$/s;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const controls = /[\x00-\x08\x0a-\x1f\x7f]/;

const answer = (last: boolean): string =>
  `HTTP/1.1 200 OK\r\n${mark}: 1\r\nContent-Length: 0\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;

/** One connection of a balancer: requests one after the other. */
class Reading {
  readonly socket: Socket;
  readonly #instance: RecordingInstance;
  #bytes = '';
  #current: Message | undefined;
  #isHealthCheck = false;
  /** Bytes of body that are missing; with chunks, of the chunk; -1: the next chunk's size is. */
  #missing = 0;
  #isChunked = false;
  #isBroken = false;

  constructor(socket: Socket, instance: RecordingInstance) {
    this.socket = socket;
    this.#instance = instance;
    socket.on('data', (bytes: Buffer) => this.#take(bytes.toString('latin1')));
    socket.on('error', () => undefined); // a balancer may break off: what came is noted
    socket.on('close', () => {
      if (this.#bytes !== '' && this.#current === undefined && !this.#isBroken) this.#odd('half a head');
    });
  }

  #take(text: string): void {
    if (this.#isBroken) return;
    this.#bytes += text;
    while (!this.#isBroken && (this.#current === undefined ? this.#readHead() : this.#readBody()));
  }

  #odd(oddity: string): void {
    this.#instance.noteOddity(oddity);
  }

  /** Nothing that follows on this connection can be understood. */
  #giveUp(oddity: string): false {
    this.#odd(`${oddity}: ${JSON.stringify(this.#bytes.slice(0, 200))}`);
    this.#isBroken = true;
    this.socket.end(answer(true).replace('200 OK', '400 Bad Request'));
    return false;
  }

  #readHead(): boolean {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [requestLine = '', ...lines] = this.#bytes.slice(0, end).split('\r\n');
    const [method = '', target = '', version = '', ...rest] = requestLine.split(' ');
    if (rest.length > 0 || !tokens.test(method) || !/^HTTP\/1\.[01]$/.test(version))
      return this.#giveUp('a request line');
    if (!/^[!-~]+$/.test(target)) this.#odd(`a target: ${JSON.stringify(target)}`);
    this.#bytes = this.#bytes.slice(end + 4);
    const headers = lines.map((line) => this.#field(line));
    this.#current = { method, target, version, headers, body: '', trailers: [], isComplete: false };
    this.#isHealthCheck = target === healthPath;
    if (!this.#isHealthCheck) this.#instance.note(this.#current);
    return this.#readFraming(headers);
  }

  #field(line: string): readonly [string, string] {
    const [, name = line, value = ''] = fieldLine.exec(line) ?? [];
    if (!tokens.test(name)) this.#odd(`a header name: ${JSON.stringify(line)}`);
    if (controls.test(value)) this.#odd(`a header value: ${JSON.stringify(line)}`);
    return [name, value];
  }

  #readFraming(headers: Message['headers']): boolean {
    const of = (wanted: string) =>
      headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
    const lengths = of('content-length');
    const codings = of('transfer-encoding');
    if (lengths.length + codings.length > 1)
      this.#odd(`framing twice: ${[...lengths, ...codings].join(' | ')}`);
    if (of('host').length !== 1) this.#odd(`${of('host').length} Host headers`);
    const [length = '0'] = lengths;
    const [coding] = codings;
    if (!/^\d{1,15}$/.test(length)) return this.#giveUp(`Content-Length ${length}`);
    if (coding !== undefined && coding.toLowerCase() !== 'chunked')
      return this.#giveUp(`Transfer-Encoding ${coding}`);
    this.#isChunked = coding !== undefined;
    this.#missing = this.#isChunked ? -1 : Number(length);
    if (of('expect').length > 0) this.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    if (!this.#isChunked && this.#missing === 0) this.#complete();
    return true;
  }

  #readBody(): boolean {
    if (this.#missing < 0) return this.#readChunkSize();
    const taken = this.#bytes.slice(0, this.#missing);
    if (this.#current) this.#current.body += taken;
    this.#bytes = this.#bytes.slice(taken.length);
    this.#missing -= taken.length;
    if (this.#missing > 0) return false;
    if (!this.#isChunked) {
      this.#complete();
      return true;
    }
    if (this.#bytes.length < 2) return false;
    if (!this.#bytes.startsWith('\r\n')) return this.#giveUp('the end of a chunk');
    this.#bytes = this.#bytes.slice(2);
    this.#missing = -1;
    return true;
  }

  #readChunkSize(): boolean {
    const end = this.#bytes.indexOf('\r\n');
    if (end < 0) return false;
    const size = this.#bytes.slice(0, end);
    if (!/^[0-9a-fA-F]{1,13}$/.test(size)) return this.#giveUp('a chunk size');
    if (Number.parseInt(size, 16) > 0) {
      this.#missing = Number.parseInt(size, 16);
      this.#bytes = this.#bytes.slice(end + 2);
      return true;
    }
    // Trailers are lines up to an empty one; they may be none.
    const trailers = this.#bytes.slice(end);
    const last = trailers.indexOf('\r\n\r\n');
    if (last < 0) return false;
    for (const line of trailers.slice(2, last).split('\r\n'))
      if (line !== '') this.#current?.trailers.push(this.#field(line));
    this.#bytes = trailers.slice(last + 4);
    this.#complete();
    return true;
  }

  #complete(): void {
    if (!this.#current) return;
    this.#current.isComplete = true;
    const { headers, version } = this.#current;
    const connection = headers
      .filter(([name]) => name.toLowerCase() === 'connection')
      .map(([, value]) => value);
    const last =
      /\bclose\b/i.test(connection.join()) ||
      (version === 'HTTP/1.0' && !/keep-alive/i.test(connection.join()));
    this.#current = undefined;
    if (last) this.socket.end(answer(true));
    else this.socket.write(answer(false));
  }
}
