import type { RouteOptions } from '../engine.ts';
import type { Backend } from './backend.ts';

/** A request as it will go to an instance, whatever protocol it came by. One object serves a connection's requests. */
export class RequestFacts {
  method = '';
  /** The whole head: request line, header lines, empty line; without Expect. */
  outgoing: Buffer = nothing;
  hasBody = false;
  /** -1: not told. */
  contentLength = -1;
  expectsContinue = false;
  wantsTunnel = false;
  /** Did the client come by https, here or at a trusted proxy? */
  secure = false;
  protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2' = 'HTTP/1.1';
  /** Of the client's own connection; undefined for plain HTTP. */
  tlsVersion: string | undefined;
  clientAddress = '';
  clientPort = 0;
  /** Where the client connected to. */
  localAddress = '';
  localPort = 0;
  host = '';
  /** The value of the sticky cookie; empty without one. */
  sticky = '';
  /** There were several sticky cookies: it is set anew, so that there is one again. */
  stickyIsAmbiguous = false;
  route: RouteOptions | undefined;
  /** Whom the sticky cookie names, and which of its users this is; as of the roster's version, which fills it in. */
  owner: Backend | undefined;
  user = '';
  resolvedSticky = '';
  resolvedVersion = -1;

  /** The request is over, or no head could be made of what the client sent. */
  clear(): void {
    this.method = '';
    this.outgoing = nothing;
  }

  get requestId(): string {
    return this.header('x-request-id') ?? '';
  }

  /** Path and query. */
  get target(): string {
    const start = this.method.length + 1;
    return this.outgoing.toString('latin1', start, Math.max(start, this.outgoing.indexOf(32, start)));
  }

  /** The first value of this lower-case name, as it goes to the instance. */
  header(lowerName: string): string | undefined {
    const head = this.outgoing.toString('latin1');
    let at = head.indexOf('\r\n') + 2;
    while (at > 1 && at < head.length) {
      const end = head.indexOf('\r\n', at);
      const colon = at + lowerName.length;
      if (head.charCodeAt(colon) === 58 && head.slice(at, colon).toLowerCase() === lowerName)
        return head.slice(colon + 1, end).trim();
      at = end + 2;
    }
    return undefined;
  }
}

const nothing = Buffer.alloc(0);
