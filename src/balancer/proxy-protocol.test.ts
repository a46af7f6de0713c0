import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ProxyHeader, type ProxyVersion, readProxyHeader, writeProxyHeader } from './proxy-protocol.ts';

const read = (bytes: Buffer): ProxyHeader => readProxyHeader(bytes, 0, bytes.length);
const readText = (text: string): ProxyHeader => read(Buffer.from(text, 'latin1'));

const versions: readonly ProxyVersion[] = ['v1', 'v2'];
const signature = '0d0a0d0a000d0a515549540a';
const four = '0a000001c0a80002d43101bb'; // 10.0.0.1:54321 → 192.168.0.2:443
const six = '20010db8000000000000000000000001fe800000000000000000000000000002d43101bb';

/** A header of version 2 from its parts in hexadecimal digits, with the right length. */
function v2(command: string, family: string, block: string): Buffer {
  const length = (block.length / 2).toString(16).padStart(4, '0');
  return Buffer.from(signature + command + family + length + block, 'hex');
}

const complete = (
  consumedBytes: number,
  source?: [string, number],
  destination?: [string, number],
): object => ({
  kind: 'complete',
  consumedBytes,
  ...(source && { source: { address: source[0], port: source[1] } }),
  ...(destination && { destination: { address: destination[0], port: destination[1] } }),
});

const known: readonly [name: string, bytes: Buffer, header: object][] = [
  [
    'version 1 over IPv4',
    Buffer.from('PROXY TCP4 10.0.0.1 192.168.0.2 54321 443\r\nGET / HTTP/1.1\r\n'),
    complete(43, ['10.0.0.1', 54_321], ['192.168.0.2', 443]),
  ],
  [
    'version 1 over IPv6',
    Buffer.from('PROXY TCP6 2001:db8::1 fe80::2 54321 0\r\n'),
    complete(40, ['2001:db8::1', 54_321], ['fe80::2', 0]),
  ],
  [
    'version 1 with an IPv4 address inside an IPv6 one',
    Buffer.from('PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n'),
    complete(36, ['10.0.0.1', 1], ['::1', 2]),
  ],
  ['version 1, unknown', Buffer.from('PROXY UNKNOWN\r\nGET'), complete(15)],
  ['version 1, unknown with a rest', Buffer.from('PROXY UNKNOWN ffff::1 what ever 1 2\r\n'), complete(37)],
  ['version 2 over IPv4', v2('21', '11', four), complete(28, ['10.0.0.1', 54_321], ['192.168.0.2', 443])],
  ['version 2 over IPv6', v2('21', '21', six), complete(52, ['2001:db8::1', 54_321], ['fe80::2', 443])],
  [
    'version 2 with an IPv4 address inside an IPv6 one',
    v2('21', '21', `00000000000000000000ffff0a000001${'0'.repeat(31)}100010002`),
    complete(52, ['10.0.0.1', 1], ['::1', 2]),
  ],
  [
    'version 2 with records behind the addresses',
    v2('21', '11', `${four}010002683204000100`),
    complete(37, ['10.0.0.1', 54_321], ['192.168.0.2', 443]),
  ],
  ['version 2, the proxy itself', v2('20', '00', ''), complete(16)],
  ['version 2, the proxy itself with a block to ignore', v2('20', 'ff', 'ffffff'), complete(19)],
  ['version 2, unspecified', v2('21', '00', '040000'), complete(19)],
  ['version 2 of a UNIX socket', v2('21', '31', '2f'.repeat(216)), complete(232)],
  ['version 2 over UDP', v2('21', '12', four), complete(28)],
];

for (const [name, bytes, header] of known) {
  test(`${name} is read`, () => {
    assert.deepEqual(read(bytes), header);
    const shifted = Buffer.concat([Buffer.from('xyz'), bytes, Buffer.from('after')]);
    assert.deepEqual(readProxyHeader(shifted, 3, 3 + bytes.length), header);
  });

  test(`${name}: every beginning of it is incomplete`, () => {
    const { consumedBytes } = header as { consumedBytes: number };
    for (let length = 0; length < consumedBytes; length++) {
      assert.deepEqual(read(bytes.subarray(0, length)), { kind: 'incomplete' }, `${length} bytes`);
    }
  });
}

test('what is no PROXY header is refused, at the first byte that shows it', () => {
  for (const text of [
    'G',
    'PROXX',
    'proxy ',
    'PROXY\t',
    '\r\n\r\n\r',
    '\r\r',
    '\r\n\r\n\0\r\nQUIX',
    '\x16\x03\x01',
  ]) {
    assert.equal(readText(text).kind, 'invalid', JSON.stringify(text));
  }
});

test('a line of version 1 that is not exactly as the standard has it is refused', () => {
  const lines = [
    'TCP4 10.0.0.1 192.168.0.2 54321',
    'TCP4 10.0.0.1 192.168.0.2 54321 443 1',
    'TCP4  10.0.0.1 192.168.0.2 54321 443',
    'TCP4 10.0.0.1 192.168.0.2 54321 443 ',
    'TCP4 10.0.0.01 192.168.0.2 54321 443',
    'TCP4 10.0.0.256 192.168.0.2 54321 443',
    'TCP4 10.0.0.1 192.168.0.2 065 443',
    'TCP4 10.0.0.1 192.168.0.2 65536 443',
    'TCP4 10.0.0.1 192.168.0.2 +1 443',
    'TCP4 10.0.0.1 192.168.0.2 -1 443',
    'TCP4 ::1 ::1 1 2',
    'TCP6 10.0.0.1 192.168.0.2 1 2',
    'TCP6 fe80::1%eth0 ::1 1 2',
    'TCP6 ::g ::1 1 2',
    'UDP4 10.0.0.1 192.168.0.2 1 2',
    'unknown',
    'UNKNOWNX',
    '',
  ];
  for (const line of lines) assert.equal(readText(`PROXY ${line}\r\n`).kind, 'invalid', line);
  assert.equal(readText('PROXY UNKNOWN\rX').kind, 'invalid');
  assert.equal(readText('PROXY UNKNOWN\n').kind, 'invalid');
  assert.equal(readText('PROXY UNKNOWN \0').kind, 'invalid');
});

test('a line of version 1 ends within 107 bytes', () => {
  const longest = `PROXY UNKNOWN ${'f'.repeat(91)}\r\n`;
  assert.equal(longest.length, 107);
  assert.deepEqual(readText(longest), complete(107));
  assert.equal(readText(`PROXY UNKNOWN ${'f'.repeat(92)}\r\n`).kind, 'invalid');
  assert.equal(readText(`PROXY UNKNOWN ${'f'.repeat(92)}`).kind, 'incomplete');
  assert.equal(readText(`PROXY UNKNOWN ${'f'.repeat(93)}`).kind, 'invalid');
});

test('version 2 is refused where version, command, family or length are wrong', () => {
  const wrong: Buffer[] = [
    v2('11', '11', four),
    v2('31', '11', four),
    v2('22', '11', four),
    v2('21', '13', four),
    v2('21', '41', four),
    v2('21', '01', four),
    v2('21', '10', four),
    v2('21', '11', four.slice(2)),
    v2('21', '21', six.slice(2)),
    v2('21', '31', '00'.repeat(215)),
  ];
  for (const bytes of wrong) assert.equal(read(bytes).kind, 'invalid', bytes.toString('hex'));
});

test('version 2 is at most 4 KiB long, which its length field alone shows', () => {
  const filler = (bytes: number) => `04${(bytes - 3).toString(16).padStart(4, '0')}${'00'.repeat(bytes - 3)}`;
  const longest = v2('21', '11', four + filler(4096 - 28));
  assert.equal(longest.length, 4096);
  assert.equal(read(longest).kind, 'complete');
  assert.equal(read(v2('21', '11', four + filler(4097 - 28)).subarray(0, 16)).kind, 'invalid');
  assert.equal(read(v2('20', '00', '00'.repeat(4081)).subarray(0, 16)).kind, 'invalid');
});

test('records that reach beyond the header are refused', () => {
  for (const records of ['01', '0100', '010001', '0400010004ffff']) {
    assert.equal(read(v2('21', '11', four + records)).kind, 'invalid', records);
  }
});

/** As HAProxy 2.6 wrote them, with `proxy-v2-options crc32c` and `crc32c,unique-id`. */
const checksummed: readonly Buffer[] = [
  v2('21', '11', '7f0000017f000001a45c49b7030004b5f7bd6a'),
  v2('21', '21', `${'0'.repeat(31)}1${'0'.repeat(31)}1835a49b9030004c82a981d050003616263`),
];

test('a header with a right checksum is read', () => {
  assert.deepEqual(
    read(checksummed[0] as Buffer),
    complete(35, ['127.0.0.1', 42_076], ['127.0.0.1', 18_871]),
  );
  assert.deepEqual(read(checksummed[1] as Buffer), complete(65, ['::1', 33_626], ['::1', 18_873]));
});

test('a header with a wrong checksum, or one that does not have four bytes, is refused', () => {
  for (const bytes of checksummed) {
    const addressEnd = bytes.length === 35 ? 28 : 52;
    // The addresses, the ports and the checksum itself; not the record's type, without which it is no checksum.
    for (let at = 16; at < addressEnd + 7; at++) {
      if (at === addressEnd) continue;
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      assert.equal(read(changed).kind, 'invalid', `byte ${at} of ${bytes.length}`);
    }
  }
  assert.equal(read(v2('21', '11', `${four}030003000000`)).kind, 'invalid');
  assert.equal(read(v2('21', '11', `${four}0300050000000000`)).kind, 'invalid');
});

const port = fc.nat({ max: 65_535 });
const ipv4 = fc.record({ address: fc.ipV4(), port }, { noNullPrototype: true });
const ipv6Address = fc
  .array(fc.oneof(fc.constant(0), fc.nat({ max: 65_535 })), { minLength: 8, maxLength: 8 })
  .filter((groups) => groups.slice(0, 5).some((group) => group !== 0) || groups[5] !== 0xffff)
  .map((groups) => groups.map((group) => group.toString(16)).join(':'));
const ipv6 = fc.record({ address: ipv6Address, port });
const sameAddress = (a: string, b: string): boolean =>
  new URL(`http://[${a}]`).hostname === new URL(`http://[${b}]`).hostname;

test('what is written is read again', () => {
  fc.assert(
    fc.property(fc.constantFrom(...versions), ipv4, ipv4, (version, source, destination) => {
      const bytes = writeProxyHeader(version, source, destination);
      assert.deepEqual(read(bytes), { kind: 'complete', consumedBytes: bytes.length, source, destination });
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...versions), ipv6, ipv6, (version, source, destination) => {
      const bytes = writeProxyHeader(version, source, destination);
      const header = read(bytes);
      assert.ok(header.kind === 'complete' && header.source && header.destination);
      assert.equal(header.consumedBytes, bytes.length);
      assert.ok(sameAddress(header.source.address, source.address), header.source.address);
      assert.ok(sameAddress(header.destination.address, destination.address));
      assert.deepEqual([header.source.port, header.destination.port], [source.port, destination.port]);
    }),
  );
});

test('an IPv4 address beside an IPv6 one is written as IPv6, and read as what it is', () => {
  const source = { address: '::ffff:10.1.2.3', port: 1 };
  for (const version of versions) {
    const bytes = writeProxyHeader(version, source, { address: '2001:db8::5', port: 2 });
    assert.deepEqual(read(bytes), complete(bytes.length, ['10.1.2.3', 1], ['2001:db8::5', 2]));
  }
  const plain = writeProxyHeader('v1', source, { address: '10.0.0.1', port: 2 });
  assert.equal(plain.toString(), 'PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\n');
});

test('without addresses the header says that the connection is our own', () => {
  const here = { address: '10.0.0.1', port: 1 };
  for (const [source, destination] of [[], [here], [{ address: '/run/a.sock', port: 0 }, here]]) {
    assert.equal(writeProxyHeader('v1', source, destination).toString(), 'PROXY UNKNOWN\r\n');
    assert.equal(writeProxyHeader('v2', source, destination).toString('hex'), `${signature}20000000`);
  }
});

test('no sequence of bytes makes the reader throw or read beyond its end', () => {
  const seeds = known.map(([, bytes]) => bytes);
  const change = fc.record({ at: fc.nat({ max: 300 }), byte: fc.nat({ max: 255 }) });
  const mutated = fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat({ max: 300 }))
    .map(([seed, changes, cut]) => {
      const bytes = Buffer.from(seed);
      for (const { at, byte } of changes) bytes[at % bytes.length] = byte;
      return bytes.subarray(0, cut > bytes.length ? bytes.length : cut);
    });
  const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(mutated, noise), (bytes) => {
      const header = read(bytes);
      if (header.kind !== 'complete') return;
      assert.ok(header.consumedBytes <= bytes.length);
      assert.deepEqual(read(bytes.subarray(0, header.consumedBytes)), header);
      assert.equal(read(bytes.subarray(0, header.consumedBytes - 1)).kind, 'incomplete');
    }),
    { numRuns: 20_000 },
  );
});
