import { FieldMarks, incompleteFields, plainField, scanFields } from './fields.ts';
import { requestFieldKind, requestFields } from './request-head.ts';

/**
 * Trailers: header lines behind a chunked body. A server may add them to the headers, so of what could change what a
 * message means (framing, the host, whoever the client is, its cookies and credentials) nothing passes (RFC 9110,
 * section 6.5.1).
 */
const neverInTrailers: ReadonlySet<string> = new Set([
  'age',
  'authorization',
  'cache-control',
  'content-encoding',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expires',
  'location',
  'max-forwards',
  'pragma',
  'range',
  'retry-after',
  'set-cookie',
  'strict-transport-security',
  'vary',
  'warning',
  'www-authenticate',
]);

/** Whoever frames a message behind its end wants to be misread. */
const framing: ReadonlySet<number> = new Set([
  requestFields.contentLength,
  requestFields.transferEncoding,
  requestFields.connection,
]);

export const trailerBytes = 8 * 1024;
const mostTrailers = 64;

const scratch = new FieldMarks();

export interface Trailers {
  /** Behind the empty line. */
  readonly end: number;
  /** The lines that may pass, each with its CR LF. */
  readonly lines: string;
}

/** Undefined when the bytes end before the trailers do; `invalid` when they are no clean header lines. */
export function readTrailers(bytes: Buffer, from: number, to: number): Trailers | undefined | 'invalid' {
  const end = scanFields(bytes, from, to, mostTrailers, requestFieldKind, scratch);
  if (end === incompleteFields) return to - from > trailerBytes ? 'invalid' : undefined;
  if (end < 0 || end - from > trailerBytes) return 'invalid';
  let lines = '';
  for (let index = 0; index < scratch.count; index++) {
    const kind = scratch.kind(index);
    if (framing.has(kind)) return 'invalid';
    if (kind !== plainField) continue;
    const name = bytes.toString('latin1', scratch.start(index), scratch.nameEnd(index));
    if (neverInTrailers.has(name.toLowerCase())) continue;
    lines += `${name}: ${bytes.toString('latin1', scratch.valueStart(index), scratch.valueEnd(index))}\r\n`;
  }
  return { end, lines };
}
