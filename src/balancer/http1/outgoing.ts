import { type FieldMarks, plainField } from './fields.ts';
import { type RequestHead, requestFields } from './request-head.ts';

/**
 * From a request head as it came to the one that goes to an instance. Untouched lines are copied in runs, as they are;
 * what concerns only the client's connection, or claims to come from a proxy, is left out.
 */

/** A cookie that is taken out of what the instance sees. */
export interface TakenCookie {
  value: string;
  /** How often it was there. */
  count: number;
}

const kept = (kind: number): boolean =>
  kind === plainField ||
  kind === requestFields.host ||
  kind === requestFields.contentLength ||
  kind === requestFields.transferEncoding;

/**
 * The request line and the lines that pass, each with CR LF. `cookieName` is taken out of the cookies and told in
 * `taken`. `passed`: kinds of lines that pass beside the ordinary ones.
 */
export function outgoingHead(
  bytes: Buffer,
  head: RequestHead,
  host: string,
  cookieName: string | undefined,
  taken: TakenCookie,
  passed: number,
): string {
  const { fields } = head;
  const isPlainLine = head.minor === 1 && !head.isAbsolute;
  // The usual request line begins the first run of bytes that are copied as they are.
  let out = isPlainLine ? '' : `${rebuiltLine(bytes, head)}Host: ${host || 'localhost'}\r\n`;
  let runStart = isPlainLine ? head.start : -1;
  for (let index = 0; index < fields.count; index++) {
    const kind = fields.kind(index);
    const start = fields.start(index);
    if ((kept(kind) && (isPlainLine || kind !== requestFields.host)) || kind === passed) {
      if (runStart < 0) runStart = start;
      continue;
    }
    if (kind === requestFields.cookie) {
      const value = bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index));
      if (cookieName === undefined || !value.includes(cookieName)) {
        if (runStart < 0) runStart = start;
        continue;
      }
      if (runStart >= 0) out += bytes.toString('latin1', runStart, start);
      runStart = -1;
      const rest = withoutCookie(value, cookieName, taken);
      if (rest !== '') out += `Cookie: ${rest}\r\n`;
      continue;
    }
    if (runStart >= 0) out += bytes.toString('latin1', runStart, start);
    runStart = -1;
  }
  if (runStart >= 0) out += bytes.toString('latin1', runStart, endOfLines(bytes, head));
  return out;
}

function rebuiltLine(bytes: Buffer, head: RequestHead): string {
  const target = bytes.toString('latin1', head.targetStart, head.targetEnd);
  const path = target === '' || target.startsWith('?') ? `/${target}` : target;
  return `${head.method} ${path} HTTP/1.1\r\n`;
}

/** Behind the CR LF of the last line. */
function endOfLines(bytes: Buffer, { fields, fieldsStart }: RequestHead): number {
  if (fields.count === 0) return fieldsStart;
  return bytes.indexOf('\r\n', fields.valueEnd(fields.count - 1), 'latin1') + 2;
}

/** Takes every cookie of this name out; the others stay as they were, byte for byte. */
export function withoutCookie(cookies: string, name: string, taken: TakenCookie): string {
  // The usual case, without taking the list apart: it stands there once, as `; NAME=value`.
  const at = cookies.indexOf(name);
  const valueAt = at + name.length + 1;
  const isUsual =
    taken.count === 0 &&
    (at === 0 || cookies.startsWith('; ', at - 2)) &&
    cookies.charCodeAt(valueAt - 1) === 61 &&
    cookies.charCodeAt(valueAt) !== 34 &&
    cookies.indexOf(name, valueAt) < 0;
  if (!isUsual) return withoutCookies(cookies, name, taken);
  const end = cookies.indexOf(';', valueAt);
  taken.value = (end < 0 ? cookies.slice(valueAt) : cookies.slice(valueAt, end)).trim();
  taken.count = 1;
  if (at === 0) return end < 0 ? '' : cookies.slice(end + 1).trim();
  return end < 0 ? cookies.slice(0, at - 2) : cookies.slice(0, at - 2) + cookies.slice(end);
}

function withoutCookies(cookies: string, name: string, taken: TakenCookie): string {
  const others = cookies.split(';').filter((part) => {
    const equals = part.indexOf('=');
    if (equals < 0 || part.slice(0, equals).trim() !== name) return true;
    if (taken.count === 0) taken.value = unquoted(part.slice(equals + 1).trim());
    taken.count++;
    return false;
  });
  return others.join(';').trim();
}

const unquoted = (text: string): string =>
  text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;

/** All header lines as a list: name, value, name, value …, as they came. */
export function fieldList(bytes: Buffer, fields: FieldMarks): string[] {
  const list: string[] = [];
  for (let index = 0; index < fields.count; index++) {
    list.push(
      bytes.toString('latin1', fields.start(index), fields.nameEnd(index)),
      bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index)),
    );
  }
  return list;
}
