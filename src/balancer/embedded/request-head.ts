import { forwardHeaders } from '../../protocol/forwarded.ts';
import type { EngineSettings } from '../engine.ts';
import { takeStickyCookie } from '../sticky.ts';
import type { CheckedRequest, RequestHead } from './request-check.ts';

/** A request as it will go to an instance: built once, sent as often as P7 allows. */
export interface OutgoingRequest {
  readonly method: string;
  readonly target: string;
  /** Without Expect, which is only for the attempt that has not yet taken the body. */
  readonly headers: readonly string[];
  readonly stickyValues: readonly string[];
  /** Did the client come by https, here or at a trusted proxy? */
  readonly secure: boolean;
}

export interface IncomingFacts {
  readonly head: RequestHead;
  readonly checked: CheckedRequest;
  readonly peerAddress: string;
  readonly encrypted: boolean;
  /** The value of Upgrade where the request is to become a tunnel. */
  readonly upgrade: string | undefined;
}

/** Set anew below, or answered by the balancer itself. */
const replaced: ReadonlySet<string> = new Set(['host', 'content-length', 'expect']);

const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

export function outgoingRequest(facts: IncomingFacts, settings: EngineSettings): OutgoingRequest {
  const { head, checked } = facts;
  const sticky = takeStickyCookie(head.rawHeaders, settings.sticky.cookie);
  const forwarded = forwardHeaders(sticky.headers, {
    peerAddress: facts.peerAddress,
    encrypted: facts.encrypted,
    host: checked.host,
    trusted: settings.trusted,
  });
  const headers: string[] = ['Host', checked.host ?? 'localhost'];
  for (let i = 0; i + 1 < forwarded.passed.length; i += 2) {
    const name = forwarded.passed[i] as string;
    if (!replaced.has(name.toLowerCase())) headers.push(name, forwarded.passed[i + 1] as string);
  }
  headers.push(...forwarded.added);
  if (checked.chunked) headers.push('Transfer-Encoding', 'chunked');
  else if (checked.contentLength !== undefined) headers.push('Content-Length', String(checked.contentLength));
  else if (methodsWithBody.has(head.method)) headers.push('Content-Length', '0');
  if (facts.upgrade !== undefined) headers.push('Connection', 'Upgrade', 'Upgrade', facts.upgrade);
  return {
    method: head.method,
    target: checked.target,
    headers,
    stickyValues: sticky.values,
    secure: forwarded.protocol === 'https',
  };
}
