import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { plainAddress } from '../protocol/forwarded.ts';

/**
 * The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): a few bytes ahead of everything else on a
 * connection, in which the proxy before us says whose connection it carries. It is believed only from the networks
 * that must send it, and then it is mandatory: whoever may choose whether to send it may choose its address. What
 * cannot be a header is refused at the first byte that shows it; what may still become one is incomplete.
 */
export interface ProxyEndpoint {
  /** In its plain form: an IPv4 address that came inside an IPv6 one is an IPv4 address. */
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly reason: string }
  /** Without endpoints the ones of the connection itself count: the proxy speaks for itself, or knows no better. */
  | {
      readonly kind: 'complete';
      readonly consumedBytes: number;
      readonly source?: ProxyEndpoint;
      readonly destination?: ProxyEndpoint;
    };

export type ProxyVersion = 'v1' | 'v2';

const incomplete: ProxyHeader = { kind: 'incomplete' };
const invalid = (reason: string): ProxyHeader => ({ kind: 'invalid', reason });

const signatureV1 = Buffer.from('PROXY ', 'latin1');
const signatureV2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** The longest line of version 1, its CR and LF included. */
const maximumV1Bytes = 107;
/** Of version 2 the length field allows 64 KiB; nobody sends more than some hundred bytes. */
const maximumV2Bytes = 4096;
const fixedV2Bytes = 16;

/** How many bytes of addresses each family of version 2 has; other families do not exist. */
const addressBytes: ReadonlyMap<number, number> = new Map([
  [0x00, 0], // unspecified
  [0x11, 12], // TCP over IPv4
  [0x12, 12], // UDP over IPv4
  [0x21, 36],
  [0x22, 36],
  [0x31, 216], // a UNIX socket
  [0x32, 216],
]);
const tcp4 = 0x11;
const tcp6 = 0x21;

const checksumRecord = 0x03;

/** Reads the header at the beginning of the bytes from `from` up to `to`. */
export function readProxyHeader(bytes: Uint8Array, from: number, to: number): ProxyHeader {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + from, Math.max(0, to - from));
  if (view.length === 0) return incomplete;
  return view[0] === signatureV2[0] ? readV2(view) : readV1(view);
}

/**
 * The header for a connection that carries what the source sends. Without both addresses, or where they are none of
 * IP, it says that we speak for ourselves, as health checks do.
 */
export function writeProxyHeader(
  version: ProxyVersion,
  source?: ProxyEndpoint,
  destination?: ProxyEndpoint,
): Buffer {
  const from = source && plainAddress(source.address);
  const to = destination && plainAddress(destination.address);
  if (!source || !destination || from === undefined || to === undefined) {
    return version === 'v1' ? Buffer.from('PROXY UNKNOWN\r\n', 'latin1') : headV2(0x20, 0x00, 0);
  }
  const both4 = isIPv4(from) && isIPv4(to);
  // Both addresses are of one family: an IPv4 address beside an IPv6 one is written as IPv6.
  const [writtenFrom, writtenTo] = both4 ? [from, to] : [asIPv6(from), asIPv6(to)];
  if (version === 'v1') {
    const line = `PROXY ${both4 ? 'TCP4' : 'TCP6'} ${writtenFrom} ${writtenTo} ${source.port} ${destination.port}\r\n`;
    return Buffer.from(line, 'latin1');
  }
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const toBytes = both4 ? bytesOfIPv4 : bytesOfIPv6;
  const block = [Buffer.from(toBytes(writtenFrom)), Buffer.from(toBytes(writtenTo)), ports];
  return Buffer.concat([headV2(0x21, both4 ? tcp4 : tcp6, both4 ? 12 : 36), ...block]);
}

function readV1(view: Buffer): ProxyHeader {
  if (!beginsLike(view, signatureV1)) return invalid('it does not begin with a PROXY header');
  for (let at = signatureV1.length; at < Math.min(view.length, maximumV1Bytes - 1); at++) {
    const byte = view[at] as number;
    if (byte === 0x0d) {
      if (at + 1 === view.length) return incomplete;
      if (view[at + 1] !== 0x0a) return invalid('a carriage return without a line feed in the PROXY header');
      return readLine(view.toString('latin1', signatureV1.length, at), at + 2);
    }
    if (byte < 0x20 || byte > 0x7e)
      return invalid('a byte in the PROXY header that is no printable character');
  }
  return view.length < maximumV1Bytes ? incomplete : invalid('the PROXY header is too long');
}

function readLine(line: string, consumedBytes: number): ProxyHeader {
  const words = line.split(' ');
  const [family, source = '', destination = '', sourcePort = '', destinationPort = ''] = words;
  if (family === 'UNKNOWN') return { kind: 'complete', consumedBytes };
  if (family !== 'TCP4' && family !== 'TCP6') return invalid('an unknown family in the PROXY header');
  if (words.length !== 5) return invalid('the PROXY header does not have two addresses and two ports');
  const isAddress = (text: string) =>
    family === 'TCP4' ? isIPv4(text) : isIPv6(text) && !text.includes('%');
  if (!isAddress(source) || !isAddress(destination)) return invalid('an address in the PROXY header is none');
  if (!isPort(sourcePort) || !isPort(destinationPort)) return invalid('a port in the PROXY header is none');
  return {
    kind: 'complete',
    consumedBytes,
    source: endpoint(source, Number(sourcePort)),
    destination: endpoint(destination, Number(destinationPort)),
  };
}

function readV2(view: Buffer): ProxyHeader {
  if (!beginsLike(view, signatureV2)) return invalid('it does not begin with a PROXY header');
  const [versionAndCommand, family] = [view[12], view[13]];
  if (versionAndCommand === undefined) return incomplete;
  if (versionAndCommand >> 4 !== 2) return invalid('an unknown version of the PROXY header');
  const command = versionAndCommand & 0x0f;
  if (command > 1) return invalid('an unknown command in the PROXY header');
  if (view.length < fixedV2Bytes || family === undefined) return incomplete;
  const consumedBytes = fixedV2Bytes + view.readUInt16BE(14);
  if (consumedBytes > maximumV2Bytes) return invalid('the PROXY header is too long');
  if (view.length < consumedBytes) return incomplete;
  // The proxy speaks for itself: whatever the block says is to be ignored, the family included.
  if (command === 0) return { kind: 'complete', consumedBytes };
  const used = addressBytes.get(family);
  if (used === undefined) return invalid('an unknown family in the PROXY header');
  if (used === 0) return { kind: 'complete', consumedBytes };
  if (consumedBytes < fixedV2Bytes + used) return invalid('the addresses in the PROXY header are cut short');
  const fault = faultOfRecords(view.subarray(0, consumedBytes), fixedV2Bytes + used);
  if (fault !== undefined) return invalid(fault);
  // Of UDP and UNIX sockets there is nothing to learn for us; the standard lets us treat them as unspecified.
  if (family !== tcp4 && family !== tcp6) return { kind: 'complete', consumedBytes };
  const width = family === tcp4 ? 4 : 16;
  const addressAt = (at: number) =>
    family === tcp4 ? view.subarray(at, at + 4).join('.') : textOfIPv6(view.subarray(at, at + 16));
  const portsAt = fixedV2Bytes + 2 * width;
  return {
    kind: 'complete',
    consumedBytes,
    source: endpoint(addressAt(fixedV2Bytes), view.readUInt16BE(portsAt)),
    destination: endpoint(addressAt(fixedV2Bytes + width), view.readUInt16BE(portsAt + 2)),
  };
}

/** The records behind the addresses (type, length, value) say nothing that we use, but a checksum must be right. */
function faultOfRecords(header: Buffer, from: number): string | undefined {
  let at = from;
  while (at < header.length) {
    if (at + 3 > header.length) return 'a record in the PROXY header is cut short';
    const length = header.readUInt16BE(at + 1);
    const end = at + 3 + length;
    if (end > header.length) return 'a record in the PROXY header is cut short';
    if (header[at] === checksumRecord) {
      if (length !== 4) return 'the checksum in the PROXY header does not have four bytes';
      if (header.readUInt32BE(at + 3) !== crc32c(header, at + 3))
        return 'the checksum in the PROXY header is wrong';
    }
    at = end;
  }
  return undefined;
}

const castagnoli: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C of the header in which the four bytes of the checksum itself count as zero. */
function crc32c(header: Uint8Array, checksumAt: number): number {
  let value = 0xffffffff;
  for (const [at, byte] of header.entries()) {
    const counted = at >= checksumAt && at < checksumAt + 4 ? 0 : byte;
    value = (castagnoli[(value ^ counted) & 0xff] as number) ^ (value >>> 8);
  }
  return (value ^ 0xffffffff) >>> 0;
}

function headV2(versionAndCommand: number, family: number, blockBytes: number): Buffer {
  return Buffer.concat([signatureV2, Buffer.from([versionAndCommand, family, 0, blockBytes])]);
}

/** Could these bytes be, or become, a text that begins with the signature? */
function beginsLike(view: Buffer, signature: Buffer): boolean {
  const length = Math.min(view.length, signature.length);
  return view.compare(signature, 0, length, 0, length) === 0;
}

const endpoint = (address: string, port: number): ProxyEndpoint => ({
  address: plainAddress(address) ?? address,
  port,
});

const isPort = (text: string): boolean => /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;

const asIPv6 = (address: string): string => (isIPv4(address) ? `::ffff:${address}` : address);

const bytesOfIPv4 = (address: string): number[] => address.split('.').map(Number);

function bytesOfIPv6(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const before = groupBytes(head);
  if (tail === undefined) return before;
  const after = groupBytes(tail);
  return [...before, ...new Array<number>(16 - before.length - after.length).fill(0), ...after];
}

function groupBytes(groups: string): number[] {
  if (groups === '') return [];
  return groups.split(':').flatMap((group) => {
    if (group.includes('.')) return bytesOfIPv4(group);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function textOfIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address; // with its zeros left out
}
