import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { certificatesFor, type TestCertificate } from './certificates.ts';
import type { Cleanup } from './cleanup.ts';
import { connectSecure } from './raw-connection.ts';
import { type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';

/**
 * What no client library lets one send: fields that would mean something else once they are written as HTTP/1.1. They
 * are written here as bytes, uncompressed.
 */
type Fields = readonly (readonly [name: string, value: string])[];

interface Crooked {
  readonly what: string;
  readonly fields: Fields;
  readonly data?: string;
  /** Without this field the request is a good one, so that dropping it is as good as refusing the request. */
  readonly dropped?: RegExp;
}

const request = (path: string, ...more: Fields): Fields => [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':path', path],
  [':authority', 'shop.example.com'],
  ...more,
];

const crooked: readonly Crooked[] = [
  { what: 'Transfer-Encoding', fields: request('/echo', ['transfer-encoding', 'chunked']), data: 'hello' },
  { what: 'Connection', fields: request('/echo', ['connection', 'close']) },
  {
    what: 'a line break in a value',
    fields: request('/echo', ['x-crooked', '1\r\nX-Hidden: 1']),
    dropped: /x-crooked|x-hidden/i,
  },
  {
    what: 'a bare line feed in a value',
    fields: request('/echo', ['x-crooked', '1\nX-Hidden: 1']),
    dropped: /x-crooked|x-hidden/i,
  },
  { what: 'a zero byte in a value', fields: request('/echo', ['x-crooked', 'a\0b']), dropped: /x-crooked/i },
  {
    what: 'a line break in a name',
    fields: request('/echo', ['x-crooked: 1\r\nx-hidden', '1']),
    dropped: /x-crooked|x-hidden/i,
  },
  { what: 'a space in a name', fields: request('/echo', ['x-crooked ', '5']), dropped: /x-crooked/i },
  { what: 'a name in upper case', fields: request('/echo', ['X-Upper', '1']) },
  { what: 'a colon in a name', fields: request('/echo', ['x-crooked:y', '1']), dropped: /x-crooked/i },
  { what: 'a space in the path', fields: request('/echo HTTP/1.1') },
  { what: 'a line break in the path', fields: request('/echo HTTP/1.1\r\nX: 1') },
  { what: 'a path without a slash', fields: request('echo') },
  { what: 'an empty path', fields: request('') },
  { what: 'a path twice', fields: request('/echo', [':path', '/echo?other']) },
  {
    what: 'a space in the method',
    fields: [[':method', 'GET /x HTTP/1.1\r\n'], ...request('/echo').slice(1)],
  },
  { what: 'a host that is no host', fields: [...request('/echo').slice(0, 3), [':authority', 'a/b@c']] },
  { what: 'no host', fields: request('/echo').slice(0, 3) },
  {
    what: 'a Host beside another authority',
    fields: request('/echo', ['host', 'evil.example']),
    dropped: /evil/,
  },
  { what: 'a special field after the others', fields: [['x', '1'], ...request('/echo')] },
  { what: 'an unknown special field', fields: [[':extra', '1'], ...request('/echo')] },
  {
    what: 'a length that is more than comes',
    fields: request('/echo', ['content-length', '9']),
    data: 'hello',
  },
  {
    what: 'a length that is less than comes',
    fields: request('/echo', ['content-length', '3']),
    data: 'hello',
  },
  {
    what: 'two lengths',
    fields: request('/echo', ['content-length', '5'], ['content-length', '6']),
    data: 'hello',
  },
  {
    what: 'CONNECT',
    fields: [
      [':method', 'CONNECT'],
      [':authority', 'shop.example.com:443'],
    ],
  },
];

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};

const text = (value: string): Buffer =>
  Buffer.concat([Buffer.of(value.length), Buffer.from(value, 'latin1')]);

/** Literal fields without a table and without Huffman's code (RFC 7541, section 6.2.2); values under 127 bytes. */
const headerBlock = (fields: Fields): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));

const endStream = 1;
const endHeaders = 4;

function exchangeOf({ fields, data }: Crooked): Buffer {
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(4, 0, 0, Buffer.alloc(0)),
    frame(1, endHeaders | (data === undefined ? endStream : 0), 1, headerBlock(fields)),
    ...(data === undefined ? [] : [frame(0, endStream, 1, Buffer.from(data))]),
  ]);
}

interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function framesIn(received: string): Frame[] {
  const bytes = Buffer.from(received, 'latin1');
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    frames.push({
      type: bytes.readUInt8(at + 3),
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}

/** What came of the stream: reset, the connection's end, or a response; the body of 200 is told. */
async function outcomeOf(
  t: Cleanup,
  port: number,
  certificate: TestCertificate,
  bytes: Buffer,
): Promise<string> {
  const { ca, name } = certificate;
  const options = { ca, servername: name, ALPNProtocols: ['h2'] };
  const connection = connectSecure(t, port, options);
  connection.send(bytes);
  for (const startedMs = performance.now(); performance.now() - startedMs < 3_000; await sleep(10)) {
    for (const { type, stream, payload } of framesIn(connection.received)) {
      if (type === 3 && stream === 1) return 'reset';
      if (type === 7) return 'connection ended';
      // 0x88 is the whole of `:status: 200`.
      if (type === 1 && stream === 1 && !payload.includes(0x88)) return 'another status';
      if (type === 0 && stream === 1 && payload.length > 0) return `200 ${payload.toString('latin1')}`;
    }
    if (connection.isClosed) return 'connection ended';
  }
  return 'nothing';
}

export function http2StrictnessTests({ start, test, sharedScene }: Suite): void {
  describe('HTTP/2 that would be crooked HTTP/1.1 is refused', () => {
    let certificates: TestCertificate[] = [];
    const scene = sharedScene(async (t) => {
      certificates = await certificatesFor(t, 'shop.example.com');
      return setScene(t, start, { instances: ['shop-1'], engine: { tls: { certificates, http2: true } } });
    });
    const outcome = (t: Cleanup, one: Crooked) =>
      outcomeOf(t, scene().port, certificates[0] as TestCertificate, exchangeOf(one));

    test('HTTP/2: the same bytes without anything crooked are served', async (t) => {
      const straight = { what: 'nothing', fields: request('/echo?straight'), data: 'hello' };
      assert.match(await outcome(t, straight), /^200 \{/);
      await scene().untilRecorded('shop-1', (entry) => entry.done === '/echo?straight');
    });

    for (const one of crooked) {
      test(`HTTP/2: P10: refused: ${one.what}`, async (t) => {
        const before = await carriedOut(scene());
        const came = await outcome(t, one);
        if (one.dropped && came.startsWith('200 ')) {
          assert.doesNotMatch(came, one.dropped);
          return;
        }
        assert.match(came, /^(reset|connection ended|another status)$/);
        assert.deepEqual(await carriedOut(scene()), before);
      });
    }
  });
}

async function carriedOut(scene: Scene): Promise<unknown[]> {
  return (await scene.allRecords()).flatMap(({ done }) => (done === undefined ? [] : [done]));
}
