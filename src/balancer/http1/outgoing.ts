import type { CookieTaker } from './cookie-taker.ts';
import { type FieldMarks, plainField } from './fields.ts';
import type { HeadWriter } from './head-writer.ts';
import { type RequestHead, requestFields } from './request-head.ts';

/**
 * From a request head as it came to the one that goes to an instance. Untouched lines are copied in runs, as they are;
 * what concerns only the client's connection, or claims to come from a proxy, is left out.
 */

/**
 * Writes the request line and the lines that pass, each with CR LF. `passed`: kinds of lines that pass beside the
 * ordinary ones.
 */
export function writeOutgoingHead(
  writer: HeadWriter,
  bytes: Buffer,
  head: RequestHead,
  host: string,
  cookies: CookieTaker | undefined,
  passed: number,
): void {
  const { fields } = head;
  // The usual request line begins the first run of bytes that are copied as they are.
  const isUsualLine = head.minor === 1 && !head.isAbsolute;
  if (!isUsualLine) writer.text(`${rebuiltLine(bytes, head)}Host: ${host || 'localhost'}\r\n`);
  let runStart = isUsualLine ? head.start : -1;
  for (let index = 0; index < fields.count; index++) {
    const kind = fields.kind(index);
    const passes =
      kind === plainField ||
      (kind === requestFields.host && isUsualLine) ||
      kind === requestFields.contentLength ||
      kind === requestFields.transferEncoding ||
      (kind === requestFields.cookie && cookies === undefined) ||
      kind === passed;
    const start = fields.start(index);
    if (passes) {
      if (runStart < 0) runStart = start;
      continue;
    }
    if (runStart >= 0) writer.run(bytes, runStart, start);
    runStart = -1;
    if (kind === requestFields.cookie && cookies !== undefined)
      cookies.write(writer, bytes, fields.valueStart(index), fields.valueEnd(index));
  }
  if (runStart >= 0) writer.run(bytes, runStart, head.linesEnd);
}

function rebuiltLine(bytes: Buffer, head: RequestHead): string {
  const target = bytes.toString('latin1', head.targetStart, head.targetEnd);
  // Of a server as a whole (RFC 9112, section 3.2.4).
  const empty = head.method === 'OPTIONS' ? '*' : '/';
  const path = target === '' ? empty : target.startsWith('?') ? `/${target}` : target;
  return `${head.method} ${path} HTTP/1.1\r\n`;
}

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
