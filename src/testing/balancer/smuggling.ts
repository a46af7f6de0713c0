import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { connectRaw, type RawConnection } from './raw-connection.ts';
import { setScene } from './scene.ts';
import type { Suite } from './suite.ts';

/**
 * Requests that two servers could read differently. Whoever gets one of them through can hide a second request from
 * the balancer and have it answered to somebody else. So each is refused with a clear status, its connection ends,
 * and no instance sees any of it.
 */
interface Refused {
  readonly what: string;
  readonly bytes: string;
  /** 400 always will do. */
  readonly status?: number;
}

const get = (headers: string): string => `GET /x HTTP/1.1\r\nHost: a\r\n${headers}\r\n`;
const post = (headers: string, body: string): string =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${headers}\r\n\r\n${body}`;
const line = (text: string): string => `${text}\r\nHost: a\r\n\r\n`;

const framing: readonly Refused[] = [
  {
    what: 'Content-Length and Transfer-Encoding together (CL.TE)',
    bytes: post('Content-Length: 6\r\nTransfer-Encoding: chunked', '0\r\n\r\nG'),
  },
  {
    what: 'Transfer-Encoding and Content-Length together (TE.CL)',
    bytes: post('Transfer-Encoding: chunked\r\nContent-Length: 3', '8\r\nSMUGGLED\r\n0\r\n\r\n'),
  },
  {
    what: 'a transfer coding that hides chunked',
    bytes: post('Transfer-Encoding: xchunked', '0\r\n\r\n'),
    status: 501,
  },
  {
    what: 'a transfer coding that is not understood',
    bytes: post('Transfer-Encoding: gzip, chunked', '0\r\n\r\n'),
    status: 501,
  },
  { what: 'chunked twice', bytes: post('Transfer-Encoding: chunked, chunked', '0\r\n\r\n'), status: 501 },
  {
    what: 'two Transfer-Encoding headers',
    bytes: post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', '0\r\n\r\n'),
    status: 501,
  },
  { what: 'the coding identity', bytes: post('Transfer-Encoding: identity', ''), status: 501 },
  { what: 'a quoted transfer coding', bytes: post('Transfer-Encoding: "chunked"', '0\r\n\r\n'), status: 501 },
  {
    what: 'a transfer coding with a parameter',
    bytes: post('Transfer-Encoding: chunked;a=b', '0\r\n\r\n'),
    status: 501,
  },
  {
    what: 'a transfer coding that ends in a control character',
    bytes: post('Transfer-Encoding: chunked\x0b', '0\r\n\r\n'),
    status: 501,
  },
  { what: 'an empty Transfer-Encoding', bytes: post('Transfer-Encoding:', '0\r\n\r\n'), status: 501 },
  {
    what: 'a space before the colon of Transfer-Encoding',
    bytes: post('Transfer-Encoding : chunked', '0\r\n\r\n'),
  },
  {
    what: 'Transfer-Encoding from an HTTP/1.0 client',
    bytes: 'POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  },
  {
    what: 'two Content-Length headers',
    bytes: post('Content-Length: 3\r\nContent-Length: 5', 'abcde'),
  },
  { what: 'the same Content-Length twice', bytes: post('Content-Length: 3\r\nContent-Length: 3', 'abc') },
  { what: 'a list of lengths', bytes: post('Content-Length: 3, 3', 'abc') },
  { what: 'a Content-Length that is no number', bytes: post('Content-Length: +3', 'abc') },
  { what: 'a negative Content-Length', bytes: post('Content-Length: -1', 'abc') },
  { what: 'a hexadecimal Content-Length', bytes: post('Content-Length: 0x3', 'abc') },
  { what: 'a Content-Length with an exponent', bytes: post('Content-Length: 1e1', 'abc') },
  { what: 'a Content-Length of two words', bytes: post('Content-Length: 3 3', 'abc') },
  { what: 'an empty Content-Length', bytes: post('Content-Length:', 'abc') },
  {
    what: 'a Content-Length beyond all numbers',
    bytes: post('Content-Length: 99999999999999999999999', 'abc'),
    status: 413,
  },
];

const headers: readonly Refused[] = [
  { what: 'two Host headers', bytes: get('Host: b\r\n') },
  { what: 'no Host header', bytes: 'GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n' },
  { what: 'a Host that is no host', bytes: 'GET /x HTTP/1.1\r\nHost: a/b@c\r\n\r\n' },
  { what: 'a Host that is a list', bytes: 'GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n' },
  { what: 'a Host with two ports', bytes: 'GET /x HTTP/1.1\r\nHost: a:80:80\r\n\r\n' },
  { what: 'a Host whose bracket is open', bytes: 'GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n' },
  { what: 'a space before a colon', bytes: get('X-A : 1\r\n') },
  { what: 'a header that goes on in the next line', bytes: get('X: 1\r\n 2\r\n') },
  { what: 'a header that goes on after a tab', bytes: get('X: 1\r\n\tContent-Length: 5\r\n') },
  {
    what: 'a first header that begins with a space',
    bytes: 'GET /x HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n',
  },
  { what: 'a header without a colon', bytes: get('Content-Length 5\r\n') },
  { what: 'a header without a name', bytes: get(': 1\r\n') },
  { what: 'a header name with a bracket', bytes: get('X(: 1\r\n') },
  { what: 'a header name with a zero byte', bytes: get('X\0: 1\r\n') },
  { what: 'a header name with a byte above 127', bytes: get('Transfer\xad-Encoding: chunked\r\n') },
  { what: 'a bare carriage return in a header', bytes: get('X: 1\r2\r\n') },
  { what: 'two carriage returns at the end of a line', bytes: get('X: 1\r\r\n') },
  { what: 'lines that end in a bare line feed', bytes: 'GET /x HTTP/1.1\nHost: a\n\n' },
  { what: 'one line that ends in a bare line feed', bytes: get('X: 1\nTransfer-Encoding: chunked\r\n') },
  { what: 'headers that end in a bare line feed', bytes: 'GET /x HTTP/1.1\r\nHost: a\r\n\n' },
  { what: 'a zero byte in a header', bytes: get('X: a\0b\r\n') },
  { what: 'a control character in a header', bytes: get('X: a\x01b\r\n') },
  { what: 'a delete character in a header', bytes: get('X: a\x7fb\r\n') },
  { what: 'headers that are too large', bytes: get(`X: ${'x'.repeat(20_000)}\r\n`), status: 431 },
  { what: 'too many headers', bytes: get('X: 1\r\n'.repeat(300)), status: 431 },
];

const requestLines: readonly Refused[] = [
  { what: 'a target with raw bytes', bytes: line('GET /\xff HTTP/1.1') },
  { what: 'a target with a zero byte', bytes: line('GET /\0 HTTP/1.1') },
  { what: 'a target with a tab', bytes: line('GET /a\tb HTTP/1.1') },
  { what: 'a target with a space', bytes: line('GET /a b HTTP/1.1') },
  { what: 'a target with a fragment', bytes: line('GET /x#y HTTP/1.1') },
  { what: 'a target that is no path', bytes: line('GET x HTTP/1.1') },
  { what: 'a target that is an authority', bytes: 'GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n' },
  { what: 'a star as the target of a GET', bytes: line('GET * HTTP/1.1') },
  { what: 'an absolute target of another scheme', bytes: line('GET ftp://a/x HTTP/1.1') },
  { what: 'an absolute target with a user', bytes: line('GET http://user@a/x HTTP/1.1') },
  { what: 'an absolute target without a host', bytes: line('GET http:///x HTTP/1.1') },
  {
    what: 'CONNECT',
    bytes: 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n',
    status: 405,
  },
  { what: 'a method that is no token', bytes: line('G(T /x HTTP/1.1') },
  { what: 'a method without an end', bytes: line(`${'A'.repeat(9_000)} /x HTTP/1.1`), status: 501 },
  { what: 'a tab in place of a space', bytes: line('GET\t/x\tHTTP/1.1') },
  { what: 'two spaces before the target', bytes: line('GET  /x HTTP/1.1') },
  { what: 'a space after the version', bytes: line('GET /x HTTP/1.1 ') },
  { what: 'a bare carriage return in the request line', bytes: line('GET /x\rHTTP/1.1') },
  { what: 'no version', bytes: 'GET /x\r\n\r\n' },
  { what: 'a version in lower case', bytes: line('GET /x http/1.1') },
  { what: 'a version of two digits', bytes: line('GET /x HTTP/1.10'), status: 505 },
  { what: 'version 2 in words', bytes: line('GET /x HTTP/2.0'), status: 505 },
  { what: 'the preface of HTTP/2', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', status: 505 },
  { what: 'no HTTP at all', bytes: '\x16\x03\x01\x02\x00\x01\x00' },
];

/** What may follow the head of a chunked request to `/echo`; the last of each would be a second request. */
const chunks: readonly { readonly what: string; readonly body: string }[] = [
  { what: 'a chunk size that is no number', body: 'ZZ\r\nhello\r\n' },
  { what: 'an empty chunk size', body: '\r\nhello\r\n' },
  { what: 'a negative chunk size', body: '-5\r\nhello\r\n' },
  { what: 'a chunk size with a sign', body: '+5\r\nhello\r\n' },
  { what: 'a chunk size with 0x', body: '0x5\r\nhello\r\n' },
  { what: 'a space before a chunk size', body: ' 5\r\nhello\r\n' },
  { what: 'a space after a chunk size', body: '5 \r\nhello\r\n' },
  { what: 'a chunk size that overflows 64 bits', body: '10000000000000005\r\nhello\r\n' },
  { what: 'a chunk size that overflows 53 bits', body: '20000000000005\r\nhello\r\n' },
  { what: 'a chunk size with too many zeros', body: `${'0'.repeat(5_000)}5\r\nhello\r\n` },
  { what: 'a chunk extension', body: '5;a=b\r\nhello\r\n' },
  { what: 'an empty chunk extension', body: '5;\r\nhello\r\n' },
  { what: 'a chunk extension that hides a line feed', body: '5;a\nhello\r\n' },
  { what: 'a chunk size that ends in a bare line feed', body: '5\nhello\r\n' },
  { what: 'a chunk size that ends in a bare carriage return', body: '5\rhello\r\n' },
  { what: 'a chunk that is longer than its size', body: '5\r\nhello world\r\n' },
  { what: 'a chunk that ends in a bare line feed', body: '5\r\nhello\n' },
  { what: 'a trailer without a colon', body: '0\r\nX-Trailer\r\n\r\n' },
  { what: 'a trailer with a space before its colon', body: '0\r\nX-Trailer : 1\r\n\r\n' },
  { what: 'a trailer that goes on in the next line', body: '0\r\nX-Trailer: 1\r\n 2\r\n\r\n' },
  { what: 'trailers that end in a bare line feed', body: '0\r\nX-Trailer: 1\r\n\n' },
  { what: 'trailers that are too large', body: `0\r\nX-Trailer: ${'x'.repeat(40_000)}\r\n\r\n` },
];

/** One answer, and then the connection ends. */
function isRefused({ statuses, received }: RawConnection, expected: readonly number[]): void {
  const what = `${JSON.stringify(received)} is one answer of ${expected.join(' or ')}`;
  assert.ok(statuses.length === 1 && expected.includes(statuses[0] ?? 0), what);
}

/**
 * Whatever is answered is a refusal, and then the connection ends. The request was on its way to an instance when its
 * body broke; an engine may notice the loss of one side before the fault of the other, and answer with 502 or with both.
 */
function onlyRefusals({ statuses, received }: RawConnection): void {
  const refusals = [400, 413, 431, 502];
  const areRefusals = statuses.length > 0 && statuses.every((status) => refusals.includes(status));
  assert.ok(areRefusals, `${JSON.stringify(received)} is nothing but ${refusals.join(' or ')}`);
}

export function smugglingTests({ start, test, sharedScene }: Suite): void {
  describe('what could be read in two ways is refused, and no instance sees it', () => {
    const scene = sharedScene((t) => setScene(t, start, { instances: ['shop-1'] }));
    for (const { what, bytes, status = 400 } of [...framing, ...headers, ...requestLines]) {
      test(`P10: refused: ${what}`, async (t) => {
        const before = await scene().allRecords();
        const connection = connectRaw(t, scene().port, bytes);
        await connection.untilClosed(2_000);
        isRefused(connection, [400, status]);
        assert.deepEqual(await scene().allRecords(), before);
      });
    }

    test('P10: those who ask properly are served after all that', async () => {
      const before = await scene().allRecords();
      assert.equal((await scene().ask('/whoami')).body, 'shop-1');
      assert.equal((await scene().allRecords()).length, before.length + 1);
    });
  });

  describe('a body that is broken ends the request, and what follows is not taken for another', () => {
    const scene = sharedScene((t) => setScene(t, start, { instances: ['shop-1'] }));
    for (const [index, { what, body }] of chunks.entries()) {
      test(`P10: refused: ${what}`, async (t) => {
        const head = `POST /echo?${index} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`;
        const hidden = `0\r\n\r\nGET /smuggled?${index} HTTP/1.1\r\nHost: a\r\n\r\n`;
        const connection = connectRaw(t, scene().port, `${head}5\r\nfirst\r\n${body}${hidden}`);
        await connection.untilClosed(2_000);
        onlyRefusals(connection);
        const seen = await scene().allRecords();
        const wrong = seen.filter(
          ({ done, url }) => done === `/echo?${index}` || url === `/smuggled?${index}`,
        );
        assert.deepEqual(wrong, []);
      });
    }
  });
}
