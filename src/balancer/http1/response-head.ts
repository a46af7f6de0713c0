import { carriageReturn, decimal, isName, isValueByte, lineFeed, listHas, space } from './characters.ts';
import { FieldMarks, incompleteFields, plainField, scanFields } from './fields.ts';

/**
 * A reader of response heads. What an instance sends is not hostile, but a broken one must not confuse the client's
 * connection: whatever has no clear end is refused, and becomes a 502.
 */
export const responseFields = {
  plain: plainField,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  hopByHop: 5,
  keepAlive: 6,
  upgrade: 7,
  setCookie: 8,
  strictTransport: 9,
} as const;

/** How the end of a response's body is known (RFC 9112, section 6.3). */
export type BodyForm = 'none' | 'length' | 'chunked' | 'untilClose';

export class ResponseHead {
  start = 0;
  status = 0;
  /** Behind the status line. */
  fieldsStart = 0;
  /** Behind the last header line, where the empty line begins. */
  linesEnd = 0;
  minor = 1;
  readonly fields: FieldMarks = new FieldMarks();
  body: BodyForm = 'none';
  /** For the form `length`. */
  contentLength = 0;
  /** May the connection to the instance be used again? */
  keepAlive = true;
  /** How long the instance keeps an idle connection, as it says itself; 0: it says nothing. */
  keepAliveMs = 0;
  setsCookies = false;
  /** Its own Strict-Transport-Security. */
  hasStrictTransport = false;
}

const malformed = -1;
const responseHeadBytes = 64 * 1024;
const mostFields = 1_000;

/** The place behind the head, 0 when the bytes end before it does, -1 when it is no clean HTTP. */
export function parseResponseHead(
  bytes: Buffer,
  from: number,
  to: number,
  method: string,
  head: ResponseHead,
): number {
  // `HTTP/1.1 200 OK` CR LF; the reason may be empty
  if (to - from < 13) return couldBegin(bytes, from, to) ? 0 : malformed;
  if (!couldBegin(bytes, from, from + 7)) return malformed;
  const minor = (bytes[from + 7] as number) - 48;
  const status = decimal(bytes, from + 9, from + 12);
  if (minor < 0 || minor > 1 || bytes[from + 8] !== space || status < 100 || status > 999) return malformed;
  let at = from + 12;
  if (bytes[at] !== space && bytes[at] !== carriageReturn) return malformed;
  while (at < to && isValueByte[bytes[at] as number] === 1) at++;
  if (at + 1 >= to) return to - from > responseHeadBytes ? malformed : 0;
  if (bytes[at] !== carriageReturn || bytes[at + 1] !== lineFeed) return malformed;
  head.start = from;
  head.status = status;
  head.minor = minor;
  head.fieldsStart = at + 2;
  const end = scanFields(bytes, head.fieldsStart, to, mostFields, responseFieldKind, head.fields);
  if (end === incompleteFields) return to - from > responseHeadBytes ? malformed : 0;
  if (end < 0 || end - from > responseHeadBytes) return malformed;
  head.linesEnd = end - 2;
  return interpret(bytes, head, method) ? end : malformed;
}

const statusLineBegin = 'HTTP/1.';

function couldBegin(bytes: Buffer, from: number, to: number): boolean {
  const length = Math.min(to - from, statusLineBegin.length);
  for (let index = 0; index < length; index++)
    if (bytes[from + index] !== statusLineBegin.charCodeAt(index)) return false;
  return true;
}

function responseFieldKind(bytes: Uint8Array, from: number, to: number): number {
  switch (to - from) {
    case 7:
      if (isName(bytes, from, to, 'upgrade')) return responseFields.upgrade;
      break;
    case 10:
      if (isName(bytes, from, to, 'connection')) return responseFields.connection;
      if (isName(bytes, from, to, 'set-cookie')) return responseFields.setCookie;
      if (isName(bytes, from, to, 'keep-alive')) return responseFields.keepAlive;
      break;
    case 14:
      if (isName(bytes, from, to, 'content-length')) return responseFields.contentLength;
      break;
    case 16:
      if (isName(bytes, from, to, 'proxy-connection')) return responseFields.hopByHop;
      break;
    case 17:
      if (isName(bytes, from, to, 'transfer-encoding')) return responseFields.transferEncoding;
      break;
    case 18:
      if (isName(bytes, from, to, 'proxy-authenticate')) return responseFields.hopByHop;
      break;
    case 25:
      if (isName(bytes, from, to, 'strict-transport-security')) return responseFields.strictTransport;
      break;
  }
  return plainField;
}

function interpret(bytes: Buffer, head: ResponseHead, method: string): boolean {
  const { fields } = head;
  let length = -1;
  let codings = 0;
  let closes = false;
  let keeps = false;
  head.keepAliveMs = 0;
  head.setsCookies = false;
  head.hasStrictTransport = false;
  for (let index = 0; index < fields.count; index++) {
    const kind = fields.kind(index);
    if (kind === plainField) continue;
    const from = fields.valueStart(index);
    const to = fields.valueEnd(index);
    switch (kind) {
      case responseFields.contentLength: {
        const value = decimal(bytes, from, to);
        if (value < 0 || (length >= 0 && length !== value)) return false;
        length = value;
        break;
      }
      case responseFields.transferEncoding:
        codings++;
        if (to - from !== 7 || !listHas(bytes, from, to, 'chunked')) return false;
        break;
      case responseFields.connection:
        if (isName(bytes, from, to, 'keep-alive')) {
          keeps = true;
          break;
        }
        closes ||= listHas(bytes, from, to, 'close');
        keeps ||= listHas(bytes, from, to, 'keep-alive');
        markNamed(bytes, head, bytes.toString('latin1', from, to));
        break;
      case responseFields.keepAlive:
        head.keepAliveMs =
          Number(/timeout=(\d{1,6})/i.exec(bytes.toString('latin1', from, to))?.[1] ?? 0) * 1_000;
        break;
      case responseFields.setCookie:
        head.setsCookies = true;
        break;
      case responseFields.strictTransport:
        head.hasStrictTransport = true;
        break;
    }
  }
  if (codings > 1 || (codings === 1 && length >= 0)) return false;
  // Who has no body has no length either; some recipients would wait for one (RFC 9110, section 8.6).
  if (length >= 0 && (head.status < 200 || head.status === 204)) dropLength(fields);
  head.keepAlive = head.minor === 1 ? !closes : keeps && !closes;
  head.contentLength = Math.max(0, length);
  if (method === 'HEAD' || head.status < 200 || head.status === 204 || head.status === 304)
    head.body = 'none';
  else if (codings === 1) head.body = 'chunked';
  else if (length >= 0) head.body = length === 0 ? 'none' : 'length';
  else {
    head.body = 'untilClose';
    head.keepAlive = false;
  }
  return true;
}

function dropLength(fields: FieldMarks): void {
  for (let index = 0; index < fields.count; index++)
    if (fields.kind(index) === responseFields.contentLength) fields.setKind(index, responseFields.hopByHop);
}

const keptNames: ReadonlySet<string> = new Set([
  'content-length',
  'set-cookie',
  'transfer-encoding',
  'upgrade',
]);

function markNamed(bytes: Buffer, head: ResponseHead, value: string): void {
  const lower = value.toLowerCase();
  if (lower === 'keep-alive' || lower === 'close' || lower === 'upgrade') return;
  const { fields } = head;
  const named = lower.split(',').map((option) => option.trim());
  for (let index = 0; index < fields.count; index++) {
    const name = bytes.toString('latin1', fields.start(index), fields.nameEnd(index)).toLowerCase();
    if (named.includes(name) && !keptNames.has(name)) fields.setKind(index, responseFields.hopByHop);
  }
}

/** Does a line of this kind pass to the client? `passesChunks`: the client takes a chunked body as it came. */
export function passesToClient(kind: number, body: BodyForm, passesChunks: boolean): boolean {
  return (
    kind === plainField ||
    kind === responseFields.setCookie ||
    kind === responseFields.strictTransport ||
    (kind === responseFields.contentLength && body !== 'chunked') ||
    (kind === responseFields.transferEncoding && body === 'chunked' && passesChunks)
  );
}
