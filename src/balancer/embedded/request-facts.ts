import type { RouteOptions } from '../engine.ts';

/** A request as it will go to an instance, whatever protocol it came by. One object serves a connection's requests. */
export class RequestFacts {
  method = '';
  /** Request line and header lines in latin1, each with CR LF; without the empty line, and without Expect. */
  outgoing = '';
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
  requestId = '';
  /** The value of the sticky cookie; empty without one. */
  sticky = '';
  /** There were several sticky cookies: it is set anew, so that there is one again. */
  stickyIsAmbiguous = false;
  route: RouteOptions | undefined;

  /** Path and query. */
  get target(): string {
    const start = this.outgoing.indexOf(' ') + 1;
    return this.outgoing.slice(start, this.outgoing.indexOf(' ', start));
  }

  /** The first value of this lower-case name, as it goes to the instance. */
  header(lowerName: string): string | undefined {
    return headerIn(this.outgoing, lowerName);
  }
}

/** The value of a header in a head that was checked and written by us. */
export function headerIn(head: string, lowerName: string): string | undefined {
  let at = head.indexOf('\r\n') + 2;
  while (at < head.length) {
    const end = head.indexOf('\r\n', at);
    const colon = at + lowerName.length;
    if (head.charCodeAt(colon) === 58 && head.slice(at, colon).toLowerCase() === lowerName)
      return head.slice(colon + 1, end).trim();
    at = end + 2;
  }
  return undefined;
}
