/**
 * What it means to agree. For each request, in order: what a peer refuses or does not understand to be complete, we
 * may not pass on; what we pass on, a peer that passes it on must have understood in the same way: method, target,
 * host, headers, body, trailers. Being stricter than a peer is never wrong.
 */
import type { Conversation } from './fuzz-client.ts';
import type { Message, Recording } from './fuzz-recording.ts';

export interface Outcome extends Conversation, Recording {}

export type Rule =
  /** We passed on what the peer refused. */
  | 'accepted what is refused'
  /** We passed on the beginning of what the peer refused, and wait for the rest. */
  | 'began what is refused'
  /** For us the request was complete, for the peer it was not. */
  | 'ended too early'
  /** For the peer the request was complete, for us it was not. */
  | 'ended too late'
  | 'method'
  | 'target'
  | 'host'
  | 'headers'
  | 'body'
  | 'trailers'
  /** Found without a peer: what we passed on is not by the letter. */
  | 'passed on something odd'
  /** Found without a peer: we passed a request on and the client did not get the answer. */
  | 'lost an answer'
  /** Found without a peer: an ordinary request, and we refused it or changed it. */
  | 'refused what is ordinary';

export interface Disagreement {
  readonly rule: Rule;
  readonly detail: string;
  /** Which of the requests on the connection. */
  readonly index: number;
}

export function compare(ours: Outcome, theirs: Outcome, sent: string): Disagreement | undefined {
  for (let index = 0; ; index++) {
    const [own, other] = [ours.messages[index], theirs.messages[index]];
    if (own && other) {
      const difference = differenceOf(own, other, sent);
      if (difference) return { ...difference, index };
      continue;
    }
    if (own) return acceptedMore(own, theirs, index);
    if (other) {
      if (ours.end !== 'waiting') return undefined;
      return { rule: 'ended too late', detail: `they read ${requestOf(other)}`, index };
    }
    const refuses = theirs.end === 'refused' && ours.end === 'waiting' && ours.partial !== undefined;
    return refuses
      ? { rule: 'began what is refused', detail: `they say ${theirs.status}`, index }
      : undefined;
  }
}

function acceptedMore(own: Message, theirs: Outcome, index: number): Disagreement | undefined {
  const detail = `we read ${requestOf(own)}`;
  switch (theirs.end) {
    case 'refused':
      return { rule: 'accepted what is refused', detail: `${detail}, they say ${theirs.status}`, index };
    case 'closed':
      return { rule: 'accepted what is refused', detail: `${detail}, they close`, index };
    case 'waiting':
      return { rule: 'ended too early', detail, index };
    case 'finished': // they ended the connection in order, and have no opinion on what follows
      return undefined;
  }
}

const requestOf = ({ method, target, body }: Message): string =>
  `${method} ${JSON.stringify(target)} with ${body.length} bytes`;

function differenceOf(own: Message, other: Message, sent: string): Omit<Disagreement, 'index'> | undefined {
  const differs = (rule: Rule, mine: string, their: string) =>
    mine === their
      ? undefined
      : { rule, detail: `${JSON.stringify(mine)} for us, ${JSON.stringify(their)} for them` };
  const [place, otherPlace] = [placeOf(own), placeOf(other)];
  const named = namedByConnection(sent);
  return (
    differs('method', own.method, other.method) ??
    differs('target', place.target, otherPlace.target) ??
    differs('host', place.host, otherPlace.host) ??
    differs('headers', fieldsOf(own.headers, named), fieldsOf(other.headers, named)) ??
    differs('body', own.body, other.body) ??
    invented(own, other, named)
  );
}

/** Trailers may be left out (RFC 9110, section 6.5.1), and nginx leaves out all of them, but none may be made up. */
function invented(
  own: Message,
  other: Message,
  named: ReadonlySet<string>,
): Omit<Disagreement, 'index'> | undefined {
  if (other.trailers.length === 0) return undefined;
  const theirs = fieldsOf(other.trailers, named).split('\n');
  const made = fieldsOf(own.trailers, named)
    .split('\n')
    .find((line) => line !== '' && !theirs.includes(line));
  return made === undefined
    ? undefined
    : { rule: 'trailers', detail: `${JSON.stringify(made)} is none of theirs` };
}

/** `http://a/b` with any Host, and `/b` with Host `a`, are the same place. */
function placeOf({ target, headers }: Message): { target: string; host: string } {
  const host = headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? '';
  const [, authority, rest = ''] = /^https?:\/\/([^/?]*)(.*)$/i.exec(target) ?? [];
  if (authority === undefined) return { target, host: host.toLowerCase() };
  const path = rest.startsWith('/') ? rest : `/${rest}`;
  return { target: path, host: authority.toLowerCase() };
}

/** Set, answered or ended by every proxy itself; how the framing was understood is in the body. */
const ownBusiness: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'http2-settings',
  'traceparent',
  'x-request-id',
  'forwarded',
  'x-real-ip',
  'proxy',
]);

function fieldsOf(headers: Message['headers'], named: ReadonlySet<string>): string {
  return headers
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .filter(([name]) => {
      const plain = name.replaceAll('_', '-');
      return !ownBusiness.has(plain) && !plain.startsWith('x-forwarded-') && !named.has(name);
    })
    .map(([name, value]) => `${name}: ${value}`)
    .filter((line) => line !== 'cookie: ') // none at all; ours is gone when our own cookie is taken out
    .sort()
    .join('\n');
}

/** Headers that a Connection header names end at each proxy that looks (HAProxy and nginx do not). */
function namedByConnection(sent: string): ReadonlySet<string> {
  const values = [...sent.matchAll(/^connection:(.*)$/gim)].map(([, value = '']) => value);
  return new Set(values.flatMap((value) => value.split(',')).map((name) => name.trim().toLowerCase()));
}

/** What can be seen without anybody to compare with. */
export function judge(ours: Outcome, isOrdinary: boolean): Disagreement | undefined {
  const index = ours.messages.length;
  const [oddity] = ours.oddities;
  if (oddity !== undefined) return { rule: 'passed on something odd', detail: oddity, index };
  if (ours.answers < ours.messages.length) {
    const detail = `${ours.messages.length} requests were passed on, ${ours.answers} were answered`;
    return { rule: 'lost an answer', detail, index };
  }
  const wasUnderstood = ours.messages.at(-1)?.target === '/sentinel' && ours.end === 'finished';
  if (!isOrdinary || wasUnderstood) return undefined;
  const detail = `${ours.end} ${ours.status || ''}`;
  return { rule: 'refused what is ordinary', detail, index };
}
