/** Which bytes may stand where in an HTTP/1.1 message (RFC 9110, section 5.6; RFC 9112), one table look-up a byte. */

const tableOf = (allows: (byte: number) => boolean): Uint8Array =>
  Uint8Array.from({ length: 256 }, (_, byte) => (allows(byte) ? 1 : 0));

const tokenMarks = "!#$%&'*+-.^_`|~";
const isAlphanumeric = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);

/** Methods and header names. */
export const isTokenByte: Uint8Array = tableOf(
  (byte) => isAlphanumeric(byte) || (byte < 128 && tokenMarks.includes(String.fromCharCode(byte))),
);

/** Header values: visible characters, spaces, tabs, and bytes past ASCII, which pass as they are. */
export const isValueByte: Uint8Array = tableOf(
  (byte) => byte === 9 || (byte >= 32 && byte <= 126) || byte >= 128,
);

/** The target of a request: visible ASCII without `#`, as a fragment is for the browser alone. */
export const isTargetByte: Uint8Array = tableOf((byte) => byte > 32 && byte < 127 && byte !== 35);

/** A host name without brackets and port: the characters of RFC 3986. */
export const isHostByte: Uint8Array = tableOf(
  (byte) => isAlphanumeric(byte) || (byte < 128 && "._~!$&'()*+;=%-".includes(String.fromCharCode(byte))),
);

export const tab = 9;
export const lineFeed = 10;
export const carriageReturn = 13;
export const space = 32;
const comma = 44;
export const slash = 47;
const zero = 48;
export const colon = 58;

/**
 * Is this name, whatever the case of its letters, the given lower-case one? An underscore counts as a hyphen: some
 * servers show an application `X_Forwarded_For` and `X-Forwarded-For` as the same variable. The name has token bytes only.
 */
export function isName(bytes: Uint8Array, from: number, to: number, lowerName: string): boolean {
  if (to - from !== lowerName.length) return false;
  return beginsWith(bytes, from, lowerName);
}

/** The same for the beginning of a name that is long enough. */
export function beginsWith(bytes: Uint8Array, from: number, lowerName: string): boolean {
  for (let index = 0; index < lowerName.length; index++) {
    const byte = (bytes[from + index] as number) | 0x20; // letters to lower case; hyphens and digits stay
    const wanted = lowerName.charCodeAt(index);
    if (byte !== wanted && !(byte === 0x7f && wanted === 0x2d)) return false;
  }
  return true;
}

/** Does the list of tokens, separated by commas, have this lower-case one? */
export function listHas(bytes: Uint8Array, from: number, to: number, lowerToken: string): boolean {
  let start = from;
  for (let at = from; at <= to; at++) {
    if (at < to && bytes[at] !== comma) continue;
    const [first, last] = trimmed(bytes, start, at);
    if (last - first === lowerToken.length && equalsToken(bytes, first, lowerToken)) return true;
    start = at + 1;
  }
  return false;
}

function equalsToken(bytes: Uint8Array, from: number, lowerToken: string): boolean {
  for (let index = 0; index < lowerToken.length; index++) {
    const byte = bytes[from + index] as number;
    const lower = byte >= 65 && byte <= 90 ? byte | 0x20 : byte;
    if (lower !== lowerToken.charCodeAt(index)) return false;
  }
  return true;
}

function trimmed(bytes: Uint8Array, from: number, to: number): [from: number, to: number] {
  let [first, last] = [from, to];
  while (first < last && (bytes[first] === space || bytes[first] === tab)) first++;
  while (last > first && (bytes[last - 1] === space || bytes[last - 1] === tab)) last--;
  return [first, last];
}

/** The number that these digits write; -1 where there are none, more than 15, or something else. */
export function decimal(bytes: Uint8Array, from: number, to: number): number {
  if (to <= from || to - from > 15) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] as number) - zero;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
