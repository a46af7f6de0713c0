/** The PROXY protocol, version 1 (a line of text) and 2 (binary), as far as the tests speak it. */

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** The client's address; undefined where the sender speaks for itself (UNKNOWN, LOCAL). */
  readonly source: string | undefined;
  /** Length of the header. */
  readonly bytes: number;
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

export const proxyLine = (source: string): string =>
  `PROXY ${source.includes(':') ? 'TCP6' : 'TCP4'} ${source} ${source.includes(':') ? '::1' : '127.0.0.1'} 4711 80\r\n`;

/** Version 2 for an IPv4 source; without a source it is LOCAL. */
export function proxyBlock(source?: string): Buffer {
  if (source === undefined) return Buffer.concat([signature, Buffer.from([0x20, 0x00, 0, 0])]);
  const addresses = [...source.split('.').map(Number), 127, 0, 0, 1];
  return Buffer.concat([signature, Buffer.from([0x21, 0x11, 0, 12, ...addresses, 0x12, 0x67, 0, 80])]);
}

/** Undefined: not complete yet; null: this is none. */
export function readProxyHeader(bytes: Buffer): ProxyHeader | undefined | null {
  const length = Math.min(bytes.length, signature.length);
  if (bytes.subarray(0, length).equals(signature.subarray(0, length))) return readBlock(bytes);
  const text = bytes.toString('latin1');
  if (!'PROXY '.startsWith(text.slice(0, 6))) return null;
  const end = text.indexOf('\r\n');
  if (end < 0) return bytes.length > 107 ? null : undefined;
  const [, family, source] = text.slice(0, end).split(' ');
  return { version: 1, source: family === 'UNKNOWN' ? undefined : source, bytes: end + 2 };
}

function readBlock(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < 16) return undefined;
  const total = 16 + bytes.readUInt16BE(14);
  if (bytes.length < total) return undefined;
  const isLocal = bytes[12] === 0x20;
  const isIPv4 = bytes[13] === 0x11;
  const source = isLocal || !isIPv4 ? undefined : [...bytes.subarray(16, 20)].join('.');
  return { version: 2, source, bytes: total };
}
