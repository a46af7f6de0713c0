import { once } from 'node:events';
import http2 from 'node:http2';
import tls from 'node:tls';
import type { Cleanup } from './cleanup.ts';

export interface Http2Reply {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly interim: readonly number[];
  readonly body: string;
}

export interface Http2Ask {
  readonly method?: string;
  readonly headers?: http2.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly trailers?: http2.OutgoingHttpHeaders;
}

/** A client with one HTTP/2 connection, verified by TLS. */
export class Http2Client {
  readonly session: http2.ClientHttp2Session;
  readonly name: string;

  constructor(session: http2.ClientHttp2Session, name: string) {
    this.session = session;
    this.name = name;
  }

  /** Opens a stream; the caller listens. */
  open(
    path: string,
    { method = 'GET', headers = {}, body, trailers }: Http2Ask = {},
  ): http2.ClientHttp2Stream {
    const stream = this.session.request(
      { ':method': method, ':path': path, ':authority': this.name, ...headers },
      { endStream: body === undefined && trailers === undefined, waitForTrailers: trailers !== undefined },
    );
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (body !== undefined || trailers !== undefined) stream.end(body);
    return stream;
  }

  /** One request; rejects when its stream breaks. */
  ask(path: string, options: Http2Ask = {}): Promise<Http2Reply> {
    return replyOf(this.open(path, options));
  }
}

export function replyOf(stream: http2.ClientHttp2Stream): Promise<Http2Reply> {
  return new Promise((resolve, reject) => {
    const interim: number[] = [];
    const chunks: Buffer[] = [];
    let headers: Http2Reply['headers'] = {};
    let trailers: Http2Reply['trailers'] = {};
    stream.on('headers', (head) => interim.push(Number(head[':status'])));
    stream.on('response', (head) => {
      headers = head;
    });
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      const status = Number(headers[':status'] ?? 0);
      if (status === 0 || stream.rstCode !== 0) reject(new Error(`stream closed with ${stream.rstCode}`));
      else resolve({ status, headers, trailers, interim, body: Buffer.concat(chunks).toString() });
    });
  });
}

export async function connectHttp2(
  t: Cleanup,
  port: number,
  { name, ca }: { readonly name: string; readonly ca: string },
): Promise<Http2Client> {
  const socket = tls.connect({ port, host: '127.0.0.1', servername: name, ca, ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${name}`, { createConnection: () => socket });
  session.on('error', () => undefined); // the streams of a broken connection tell it
  t.after(() => session.destroy());
  await once(session, 'connect');
  return new Http2Client(session, name);
}
