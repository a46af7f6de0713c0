import { claimNames } from '../../protocol/forwarded.ts';
import {
  beginsWith,
  carriageReturn,
  colon,
  decimal,
  isHostByte,
  isName,
  isTargetByte,
  lineFeed,
  listHas,
  slash,
  space,
  tab,
} from './characters.ts';
import { FieldMarks, incompleteFields, plainField, scanFields, tooManyFields } from './fields.ts';

/**
 * A strict reader of request heads (RFC 9112). Two servers that read one request differently are a hole: what one
 * takes for a body, the other takes for the next request. So whatever could be read in two ways is refused here, before
 * any instance sees a byte of it. It works on bytes and copies none; it is pure, so that it can be fuzzed.
 */
export const requestFields = {
  plain: plainField,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  /** Ends at this hop (RFC 9110, section 7.6.1). */
  hopByHop: 5,
  upgrade: 6,
  expect: 7,
  cookie: 8,
  /** Claims to come from a proxy; believed from trusted ones, dropped in any case. */
  claim: 9,
  traceparent: 10,
  requestId: 11,
} as const;

/** Why a head is refused. `parseRequestHead` returns minus its number. */
export const headRefusals = {
  1: { status: 400, text: 'Bad request: the request line is not valid HTTP.' },
  2: { status: 400, text: 'Bad request: a header line is not valid HTTP.' },
  3: { status: 431, text: 'The request has too many headers.' },
  4: { status: 431, text: 'The headers of the request are too large.' },
  5: { status: 414, text: 'The address of the request is too long.' },
  6: { status: 400, text: 'Bad request: the target has characters that no URL has.' },
  7: { status: 400, text: 'Bad request: the target is not a path.' },
  8: { status: 505, text: 'Only HTTP/1.0, HTTP/1.1 and HTTP/2 are understood.' },
  9: { status: 405, text: 'This server is no proxy for other addresses.' },
  10: { status: 400, text: 'Bad request: it has no Host header.' },
  11: { status: 400, text: 'Bad request: it has more than one Host header.' },
  12: { status: 400, text: 'Bad request: the Host is not a host name.' },
  13: { status: 400, text: 'Bad request: the target and the Host header name different hosts.' },
  14: { status: 400, text: 'Bad request: it has more than one Content-Length header.' },
  15: { status: 400, text: 'Bad request: Content-Length is not a number.' },
  16: { status: 400, text: 'Bad request: it has Content-Length and Transfer-Encoding together.' },
  17: { status: 400, text: 'Bad request: it has more than one Transfer-Encoding header.' },
  18: { status: 501, text: 'The only transfer coding that is understood is chunked.' },
  19: { status: 400, text: 'Bad request: HTTP/1.0 knows no transfer codings.' },
  20: { status: 417, text: 'The only expectation that is understood is 100-continue.' },
  21: { status: 400, text: 'Bad request: this method has no body in HTTP/1.0.' },
  22: {
    status: 400,
    text: 'Bad request: there is a tab around a header that says how the request is framed.',
  },
} as const satisfies Record<number, { readonly status: number; readonly text: string }>;

export type HeadRefusal = keyof typeof headRefusals;

export interface HeadLimits {
  readonly headerBytes: number;
  readonly headerCount: number;
  readonly targetBytes: number;
}

/** What was read; one object is used for all requests, one after the other. Places are offsets into the bytes. */
export class RequestHead {
  /** Where the request line begins. */
  start = 0;
  method = '';
  /** Path and query, or `*`; of an absolute target only the path, which may be empty. */
  targetStart = 0;
  targetEnd = 0;
  /** Behind the request line. */
  fieldsStart = 0;
  /** Behind the last header line, where the empty line begins. */
  linesEnd = 0;
  isAbsolute = false;
  /** The minor version: 0 or 1. */
  minor = 1;
  readonly fields: FieldMarks = new FieldMarks();
  /** The host with its port; both 0 where an HTTP/1.0 client named none, or an empty one. */
  hostStart = 0;
  hostEnd = 0;
  isChunked = false;
  /** -1: none was given. */
  contentLength = -1;
  /** May another request follow on this connection? */
  keepAlive = true;
  /** `Connection` names headers that end here; they are marked as hop by hop. */
  namesHeaders = false;
  expectsContinue = false;
  /** The index of the Upgrade line where a tunnel may be made, else -1. */
  upgrade = -1;
  /** The indexes of these lines, or -1. */
  traceparent = -1;
  requestId = -1;

  get hasBody(): boolean {
    return this.isChunked || this.contentLength > 0;
  }
}

/**
 * Reads one head. Returns the place behind it, 0 when the bytes end before it does, or minus the number of a refusal.
 * One empty line before it is passed over (RFC 9112, section 2.2).
 */
export function parseRequestHead(
  bytes: Buffer,
  from: number,
  to: number,
  limits: HeadLimits,
  head: RequestHead,
): number {
  let start = from;
  if (bytes[start] === carriageReturn) {
    if (start + 1 >= to) return 0;
    if (bytes[start + 1] === lineFeed) start += 2;
  }
  const afterLine = parseRequestLine(bytes, start, to, limits, head);
  if (afterLine <= 0) return afterLine === 0 && to - start > limits.headerBytes ? -4 : afterLine;
  head.fieldsStart = afterLine;
  const end = scanFields(bytes, afterLine, to, limits.headerCount, requestFieldKind, head.fields);
  if (end === incompleteFields) return to - start > limits.headerBytes ? -4 : 0;
  if (end < 0) return end === tooManyFields ? -3 : -2;
  if (end - start > limits.headerBytes) return -4;
  head.linesEnd = end - 2;
  const refusal = interpret(bytes, head);
  return refusal === 0 ? end : -refusal;
}

const methods = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'] as const;

function methodOf(bytes: Buffer, from: number, to: number): string {
  for (const method of methods) {
    if (method.length !== to - from) continue;
    let same = true;
    for (let index = 0; same && index < method.length; index++)
      same = bytes[from + index] === method.charCodeAt(index);
    if (same) return method;
  }
  return bytes.toString('latin1', from, to);
}

const longestMethod = 32;

/** All registered methods are of these; what has others is refused by some servers and forwarded by others. */
const isMethodByte = (byte: number): boolean => (byte >= 65 && byte <= 90) || byte === 45 || byte === 95;

/** The place behind the line's end; 0: incomplete; below: minus a refusal. */
function parseRequestLine(
  bytes: Buffer,
  start: number,
  to: number,
  limits: HeadLimits,
  head: RequestHead,
): number {
  let at = start;
  while (at < to && isMethodByte(bytes[at] as number)) at++;
  if (at - start > longestMethod) return -1;
  if (at >= to) return 0;
  if (bytes[at] !== space || at === start) return -1;
  head.start = start;
  head.method = methodOf(bytes, start, at);
  const targetStart = ++at;
  while (at < to && isTargetByte[bytes[at] as number] === 1) at++;
  if (at - targetStart > limits.targetBytes) return -5;
  if (at >= to) return 0;
  if (bytes[at] !== space) return isEndOfLine(bytes[at] as number) ? -1 : -6;
  head.targetStart = targetStart;
  head.targetEnd = at++;
  // `HTTP/1.1` CR LF
  if (to - at < 10) return couldBeVersion(bytes, at, to) ? 0 : -1;
  if (!couldBeVersion(bytes, at, at + 5) || bytes[at + 8] !== carriageReturn || bytes[at + 9] !== lineFeed)
    return -1;
  const [major, dot, minor] = [bytes[at + 5], bytes[at + 6], bytes[at + 7]] as [number, number, number];
  if (dot !== 46 || major < 48 || major > 57 || minor < 48 || minor > 57) return -1;
  if (major !== 49 || minor > 49) return -8;
  head.minor = minor - 48;
  return at + 10;
}

const isEndOfLine = (byte: number): boolean => byte === carriageReturn || byte === lineFeed;

const versionName = 'HTTP/';

function couldBeVersion(bytes: Buffer, from: number, to: number): boolean {
  const length = Math.min(to - from, versionName.length);
  for (let index = 0; index < length; index++)
    if (bytes[from + index] !== versionName.charCodeAt(index)) return false;
  return true;
}

// By length and first letter, so that the names of ordinary headers are told apart with one comparison.
const special: ReadonlyMap<number, readonly (readonly [name: string, kind: number])[]> = (() => {
  const { host, contentLength, transferEncoding, connection, hopByHop, upgrade } = requestFields;
  const { expect, cookie, claim, traceparent, requestId } = requestFields;
  const kinds: readonly (readonly [string, number])[] = [
    ['host', host],
    ['content-length', contentLength],
    ['transfer-encoding', transferEncoding],
    ['connection', connection],
    ['upgrade', upgrade],
    ['expect', expect],
    ['cookie', cookie],
    ['traceparent', traceparent],
    ['x-request-id', requestId],
    ...['keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'].map(
      (name) => [name, hopByHop] as const,
    ),
    ['http2-settings', hopByHop],
    ...claimNames.map((name) => [name, claim] as const),
  ];
  return Map.groupBy(kinds, ([name]) => name.length * 256 + name.charCodeAt(0));
})();

/** The same as a table: for most names the answer is "none" after one look. */
const specialByLengthAndLetter: readonly (readonly (readonly [string, number])[] | undefined)[] = Array.from(
  { length: 32 * 32 },
  (_, index) => special.get((index >> 5) * 256 + 96 + (index & 31)),
);

const forwardedPrefix = 'x-forwarded-';

export function requestFieldKind(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from;
  const letter = (bytes[from] as number) & 31;
  if (letter === 24 && length > forwardedPrefix.length && beginsWith(bytes, from, forwardedPrefix))
    return requestFields.claim;
  if (length > 31) return requestFields.plain;
  const candidates = specialByLengthAndLetter[length * 32 + letter];
  if (candidates === undefined) return requestFields.plain;
  for (const [name, kind] of candidates) {
    if (!isName(bytes, from, to, name)) continue;
    // Spelled with an underscore it is none of ours; but nobody behind us may take it for one either.
    return hasUnderscore(bytes, from, to) ? requestFields.claim : kind;
  }
  return requestFields.plain;
}

function hasUnderscore(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] === 95) return true;
  return false;
}

/** Host, Content-Length and Transfer-Encoding. */
const lastFramingKind = requestFields.transferEncoding;

/** A tab is as good as a space around a value, but not to every server. */
function hasTabAround(bytes: Uint8Array, fields: FieldMarks, index: number): boolean {
  for (let at = fields.nameEnd(index) + 1; at < fields.valueStart(index); at++)
    if (bytes[at] === tab) return true;
  for (let at = fields.valueEnd(index); bytes[at] !== carriageReturn; at++)
    if (bytes[at] === tab) return true;
  return false;
}

/** What the lines mean together. 0, or the number of a refusal. */
function interpret(bytes: Buffer, head: RequestHead): HeadRefusal | 0 {
  const { fields } = head;
  let hosts = 0;
  let codings = 0;
  let lengths = 0;
  let upgradeLine = -1;
  let connectionLines = 0;
  let closes = false;
  let keeps = false;
  let upgrades = false;
  head.keepAlive = true;
  head.isAbsolute = false;
  head.hostStart = 0;
  head.hostEnd = 0;
  head.isChunked = false;
  head.contentLength = -1;
  head.namesHeaders = false;
  head.expectsContinue = false;
  head.upgrade = -1;
  head.traceparent = -1;
  head.requestId = -1;
  for (let index = 0; index < fields.count; index++) {
    const kind = fields.kind(index);
    if (kind === plainField) continue;
    const from = fields.valueStart(index);
    const to = fields.valueEnd(index);
    if (kind <= lastFramingKind && hasTabAround(bytes, fields, index)) return 22;
    switch (kind) {
      case requestFields.host:
        hosts++;
        head.hostStart = from;
        head.hostEnd = to;
        break;
      case requestFields.contentLength:
        lengths++;
        head.contentLength = decimal(bytes, from, to);
        if (head.contentLength < 0 && lengths === 1) return 15;
        break;
      case requestFields.transferEncoding:
        codings++;
        if (!isChunkedCoding(bytes, from, to)) return codings > 1 || lengths > 0 ? 16 : 18;
        break;
      case requestFields.connection:
        if (isName(bytes, from, to, 'keep-alive')) {
          keeps = true;
          break;
        }
        connectionLines++;
        closes ||= listHas(bytes, from, to, 'close');
        keeps ||= listHas(bytes, from, to, 'keep-alive');
        upgrades ||= listHas(bytes, from, to, 'upgrade');
        break;
      case requestFields.upgrade:
        upgradeLine = index;
        break;
      case requestFields.traceparent:
        head.traceparent = index;
        break;
      case requestFields.requestId:
        head.requestId = index;
        break;
      case requestFields.expect:
        if (head.expectsContinue || !listHas(bytes, from, to, '100-continue')) return 20;
        head.expectsContinue = true;
        break;
    }
  }
  if (hosts > 1) return 11;
  if (lengths > 1) return 14;
  if (codings > 0 && lengths > 0) return 16;
  if (codings > 1) return 17;
  head.isChunked = codings === 1;
  if (head.isChunked && head.minor === 0) return 19;
  head.keepAlive = head.minor === 1 ? !closes : keeps && !closes;
  if (connectionLines > 0) markNamedFields(bytes, head);
  if (head.hasBody && head.minor === 0 && /^(?:GET|HEAD|DELETE)$/.test(head.method)) return 21;
  if (!head.hasBody || head.minor === 0) head.expectsContinue = false;
  if (upgrades && upgradeLine >= 0 && mayUpgrade(bytes, head, upgradeLine)) head.upgrade = upgradeLine;
  return interpretPlace(bytes, head, hosts);
}

/** The target's form, and which host the request is for (RFC 9112, section 3.2). */
function interpretPlace(bytes: Buffer, head: RequestHead, hosts: number): HeadRefusal | 0 {
  const { hostStart, hostEnd, targetStart, targetEnd } = head;
  if (head.method === 'CONNECT') return 9;
  if (head.method === 'PRI') return 1; // the preface of HTTP/2, not a request
  if (hosts === 0 && head.minor === 1) return 10;
  // An empty Host is legal, but servers disagree about what it says.
  if (hosts > 0 && !isHost(bytes, hostStart, hostEnd)) return 12;
  if (bytes[targetStart] === slash) return 0;
  if (targetEnd - targetStart === 1 && bytes[targetStart] === 42) return head.method === 'OPTIONS' ? 0 : 7;
  return interpretAbsolute(bytes, head);
}

/**
 * `GET http://shop.example.com/path`: legal, and what clients say to a proxy. Where it names another host than the
 * Host header does, some servers believe the one and some the other.
 */
function interpretAbsolute(bytes: Buffer, head: RequestHead): HeadRefusal | 0 {
  const target = bytes.toString('latin1', head.targetStart, head.targetEnd);
  const match = /^https?:\/\/([^/?]+)(?=\/|$)/i.exec(target);
  if (match === null) return 7;
  const [whole, authority = ''] = match;
  const authorityStart = head.targetStart + whole.length - authority.length;
  const authorityEnd = authorityStart + authority.length;
  if (!isHost(bytes, authorityStart, authorityEnd)) return 12;
  const host = bytes.toString('latin1', head.hostStart, head.hostEnd);
  if (host !== '' && host.toLowerCase() !== authority.toLowerCase()) return 13;
  head.isAbsolute = true;
  head.hostStart = authorityStart;
  head.hostEnd = authorityEnd;
  head.targetStart = authorityEnd;
  return 0;
}

/** `example.com`, `example.com:8080`, `[::1]:80`: the same rule as `isHost` of protocol/forwarded.ts. */
function isHost(bytes: Uint8Array, from: number, to: number): boolean {
  if (to - from > 255) return false;
  let at = from;
  if (bytes[at] === 91) {
    at++;
    while (at < to && isAddressByte(bytes[at] as number)) at++;
    if (at === from + 1 || bytes[at] !== 93) return false;
    at++;
  } else {
    let before = 46;
    while (at < to && isHostByte[bytes[at] as number] === 1) {
      if (bytes[at] === 46 && before === 46) return false; // no label between two dots
      before = bytes[at++] as number;
    }
    if (at === from) return false;
  }
  if (at === to) return true;
  return bytes[at] === colon && to - at <= 6 && decimal(bytes, at + 1, to) >= 0;
}

const isAddressByte = (byte: number): boolean =>
  (byte >= 48 && byte <= 58) || byte === 46 || (byte >= 65 && byte <= 70) || (byte >= 97 && byte <= 102);

const isChunkedCoding = (bytes: Uint8Array, from: number, to: number): boolean =>
  to - from === 7 && listHas(bytes, from, to, 'chunked');

/** Only a GET without a body becomes a tunnel, and never one of HTTP/2: requests could hide in it. */
function mayUpgrade(bytes: Buffer, head: RequestHead, line: number): boolean {
  if (head.method !== 'GET' || head.hasBody || head.minor === 0) return false;
  const protocols = bytes.toString('latin1', head.fields.valueStart(line), head.fields.valueEnd(line));
  return !protocols.split(',').some((token) => /^\s*(h2c?\b|http\b|$)/i.test(token));
}

/** About the message and not about the connection, whatever a Connection header says. */
const endToEnd: ReadonlySet<string> = new Set(['host', 'content-length', 'cookie', 'authorization']);

/** Headers that `Connection` names end here. */
function markNamedFields(bytes: Buffer, head: RequestHead): void {
  const { fields } = head;
  const named = new Set<string>();
  for (let index = 0; index < fields.count; index++) {
    if (fields.kind(index) !== requestFields.connection) continue;
    const value = bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index));
    if (value === 'keep-alive' || value === 'close') continue;
    for (const option of value.toLowerCase().split(',')) named.add(option.trim());
  }
  if (named.size === 0) return;
  for (let index = 0; index < fields.count; index++) {
    const name = bytes.toString('latin1', fields.start(index), fields.nameEnd(index)).toLowerCase();
    const kind = fields.kind(index);
    const isFraming = kind === requestFields.transferEncoding || kind === requestFields.upgrade;
    if (!named.has(name) || endToEnd.has(name) || isFraming) continue;
    fields.setKind(index, requestFields.hopByHop);
    head.namesHeaders = true;
  }
}
