import { forwardHeaders } from '../../protocol/forwarded.ts';
import { CookieTaker } from '../http1/cookie-taker.ts';
import { HeadWriter } from '../http1/head-writer.ts';
import { fieldList, writeOutgoingHead } from '../http1/outgoing.ts';
import { type RequestHead, requestFields } from '../http1/request-head.ts';
import { routeFor } from '../path-rules.ts';
import { isTraceparent, traceIdOf } from '../trace.ts';
import type { DataPath } from './data-path.ts';
import type { RequestFacts } from './request-facts.ts';

/**
 * From a request head as a client sent it to what an instance is told: without what concerns only this connection,
 * without claims that nobody vouches for, and with what the balancer knows itself. The same for every protocol.
 */
export interface ClientFacts {
  readonly address: string;
  readonly port: number;
  /** Where it connected to. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly encrypted: boolean;
  /** Of TLS; undefined for plain HTTP. */
  readonly tlsVersion?: string;
}

const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** Of all connections of this process, one after the other. */
const writer = new HeadWriter();

const noLength = Buffer.from('Content-Length: 0\r\n');

/** What names a request, with room for the digits. */
const idLines = `traceparent: 00-${'0'.repeat(32)}-${'0'.repeat(16)}-01\r\nX-Request-Id: ${'0'.repeat(32)}\r\n`;
const traceDigits = 32;
const spanDigits = 16;
const traceAt = idLines.indexOf('00-') + 3;
const spanAt = traceAt + traceDigits + 1;
const idAt = idLines.indexOf('Id: ') + 4;

export class RequestIntake {
  readonly #path: DataPath;
  readonly #client: ClientFacts;
  readonly #facts: RequestFacts;
  readonly #peerIsTrusted: boolean;
  readonly #cookies: CookieTaker | undefined;
  /** The headers that we vouch for, for the host of the latest request; and the lines that name it. */
  #vouched: Buffer = Buffer.alloc(0);
  #vouchedHost: string | undefined;

  constructor(path: DataPath, client: ClientFacts, facts: RequestFacts) {
    this.#path = path;
    this.#client = client;
    this.#facts = facts;
    this.#peerIsTrusted = path.settings.trusted.trusts(client.address);
    this.#cookies = path.cookieName === undefined ? undefined : new CookieTaker(path.cookieName);
    facts.clientAddress = client.address;
    facts.clientPort = client.port;
    facts.localAddress = client.localAddress;
    facts.localPort = client.localPort;
    facts.secure = client.encrypted;
    facts.tlsVersion = client.tlsVersion;
  }

  /** Fills the facts from a head that was parsed. Returns true when its path is one that nobody may ask for. */
  take(bytes: Buffer, head: RequestHead): boolean {
    const facts = this.#facts;
    const path = this.#path;
    const host = head.hostEnd > head.hostStart ? bytes.toString('latin1', head.hostStart, head.hostEnd) : '';
    facts.method = head.method;
    facts.host = host;
    facts.protocol = head.minor === 0 ? 'HTTP/1.0' : 'HTTP/1.1';
    facts.hasBody = head.hasBody;
    facts.contentLength = head.contentLength;
    facts.expectsContinue = head.expectsContinue;
    facts.wantsTunnel = head.upgrade >= 0;
    facts.outgoing = this.#outgoing(bytes, head, host);
    if (!path.hasPathRules) return false;
    const { target } = facts;
    facts.route = routeFor(path.settings.routes, facts.method, target);
    return path.isDenied(target);
  }

  #outgoing(bytes: Buffer, head: RequestHead, host: string): Buffer {
    const facts = this.#facts;
    const { trace } = this.#path;
    const cookies = this.#cookies;
    cookies?.reset();
    const told = head.traceparent >= 0 ? fieldText(bytes, head, head.traceparent) : '';
    const keepsTrace = told !== '' && isTraceparent(told);
    writer.clear();
    writeOutgoingHead(writer, bytes, head, host, cookies, keepsTrace ? requestFields.traceparent : -1);
    facts.sticky = cookies?.value ?? '';
    facts.stickyIsAmbiguous = cookies !== undefined && cookies.count > 1;
    const vouched = this.#vouchFor(bytes, head, host);
    const hasOwnId = this.#peerIsTrusted && head.requestId >= 0;
    if (keepsTrace || hasOwnId) {
      // Somebody before us has named the request.
      writer.run(vouched, 0, vouched.length - idLines.length);
      const traceparent = keepsTrace ? told : trace.nextTraceparent();
      const id = hasOwnId ? fieldText(bytes, head, head.requestId) : traceIdOf(traceparent);
      writer.text(`${keepsTrace ? '' : `traceparent: ${traceparent}\r\n`}X-Request-Id: ${id}\r\n`);
    } else {
      writer.block(vouched);
      this.#nameRequest();
    }
    if (!head.isChunked && head.contentLength < 0 && methodsWithBody.has(head.method)) writer.block(noLength);
    if (head.upgrade >= 0)
      writer.text(`Connection: Upgrade\r\nUpgrade: ${fieldText(bytes, head, head.upgrade)}\r\n`);
    writer.lineEnd();
    return writer.take();
  }

  /** Fills in the ids of a request that nobody has named: the trace, the span, and once more the trace. */
  #nameRequest(): void {
    const { slab, end } = writer;
    const start = end - idLines.length;
    this.#path.trace.writeDigits(slab, start + traceAt, traceDigits);
    this.#path.trace.writeDigits(slab, start + spanAt, spanDigits);
    slab.copyWithin(start + idAt, start + traceAt, start + traceAt + traceDigits);
  }

  /** X-Forwarded-For and its like: the same for all requests of a connection, but for the host. */
  #vouchFor(bytes: Buffer, head: RequestHead, host: string): Buffer {
    if (!this.#peerIsTrusted && host === this.#vouchedHost) return this.#vouched;
    const { address, encrypted } = this.#client;
    const { added, protocol, clientAddress } = forwardHeaders(
      this.#peerIsTrusted ? fieldList(bytes, head.fields) : [],
      {
        peerAddress: address,
        encrypted,
        host: host === '' ? undefined : host,
        trusted: this.#path.settings.trusted,
      },
    );
    let lines = '';
    for (let index = 0; index + 1 < added.length; index += 2)
      lines += `${added[index]}: ${added[index + 1]}\r\n`;
    this.#vouched = Buffer.from(lines + idLines, 'latin1');
    this.#vouchedHost = host;
    this.#facts.secure = protocol === 'https';
    this.#facts.clientAddress = clientAddress;
    return this.#vouched;
  }
}

const fieldText = (bytes: Buffer, { fields }: RequestHead, index: number): string =>
  bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index));
