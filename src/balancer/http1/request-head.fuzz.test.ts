/**
 * The reader of request heads under bytes that nobody would write. What it may accept is said a second time here, by
 * regular expressions straight from the grammar of RFC 9112: two descriptions that have little in common but the result.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type HeadLimits, headRefusals, parseRequestHead, RequestHead } from './request-head.ts';

const limits: HeadLimits = { headerBytes: 4_096, headerCount: 16, targetBytes: 1_024 };
const runs = { numRuns: 20_000 };

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** One head as it is read from these bytes, which stand in the middle of others. */
function read(text: string, to = text.length): { result: number; head: RequestHead; bytes: Buffer } {
  const head = new RequestHead();
  const bytes = bytesOf(text);
  return { result: parseRequestHead(bytes, 0, to, limits, head), head, bytes };
}

const part = (bytes: Buffer, from: number, to: number): string => bytes.toString('latin1', from, to);

const token = "[A-Za-z0-9!#$%&'*+.^_`|~-]+";
const field = `${token}:[ \\t]*[\\t -~\\x80-\\xff]*\\r\\n`;
const headGrammar = new RegExp(`^(?:\\r\\n)?${token} [!-"$-~]+ HTTP/1\\.[01]\\r\\n(?:${field})*\\r\\n$`);

const pieces = fc.constantFrom(
  ...[
    'GET',
    'POST',
    'OPTIONS',
    'CONNECT',
    ' ',
    '  ',
    '\t',
    '/',
    '/a?b=c',
    '*',
    '#',
    '%00',
    'http://a',
    'http://a/b',
  ],
  ...[
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
    'http/1.1',
    '\r\n',
    '\r\n\r\n',
    '\n',
    '\r',
    '\r\n ',
    '\x00',
    '\x7f',
    '\xe9',
  ],
  ...[':', ': ', ' :', 'Host: a\r\n', 'Host: ', 'host:b\r\n', 'Host: [::1]:80\r\n', 'Content-Length: 5\r\n'],
  ...['Content-Length: ', '5', '05', '+5', '5, 5', '99999999999999999999', 'Transfer-Encoding: chunked\r\n'],
  ...[
    'Transfer-Encoding: ',
    'chunked',
    'Connection: close\r\n',
    'Connection: x-a, upgrade\r\n',
    'Upgrade: websocket\r\n',
  ],
  ...['Expect: 100-continue\r\n', 'X-A: b\r\n', 'X_Forwarded_For: a\r\n', 'Cookie: a=b\r\n', 'x'.repeat(600)],
  ...['GET / HTTP/1.1\r\n', 'GET / HTTP/1.1\r\nHost: a\r\n', 'POST http://a HTTP/1.1\r\nHost: a\r\n'],
);
const stray = fc.nat(255).map((byte) => String.fromCharCode(byte));
const soup = fc.array(fc.oneof({ weight: 9, arbitrary: pieces }, { weight: 1, arbitrary: stray }), {
  maxLength: 14,
});
const anything = soup.map((list) => list.join(''));

/** A head that is right, with at most one short stretch of it replaced. */
const almostRight = fc
  .record({
    lead: fc.constantFrom('', '', '', '\r\n'),
    line: fc.constantFrom(
      'GET /a?b=c HTTP/1.1',
      'POST / HTTP/1.0',
      'OPTIONS * HTTP/1.1',
      'PUT http://a/b HTTP/1.1',
    ),
    host: fc.constantFrom('Host: a', 'host:a', 'HOST: \ta \t'),
    lines: fc.subarray([
      'X-A: b',
      'Cookie: a=b; c=d',
      'Connection: close, x-a',
      'X-B:c \t ',
      'Content-Length: 5',
      'Transfer-Encoding: chunked',
      'Upgrade: websocket',
      'Connection: upgrade',
      'Expect: 100-continue',
    ]),
    place: fc.nat(200),
    removed: fc.nat(3),
    inserted: fc.oneof(fc.constant(''), stray, pieces),
  })
  .map(({ lead, line, host, lines, place, removed, inserted }) => {
    const head = lead + [line, host, ...lines, '', ''].join('\r\n');
    const at = place % head.length;
    const short = inserted.slice(0, 12);
    return head.slice(0, at) + short + head.slice(at + (short === '' ? 0 : removed));
  });
const hostile = fc.oneof(anything, almostRight);

test('P10: whatever the bytes are, the answer is a place behind a head, "more", or a refusal that has a text', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const { result } = read(text);
      if (result < 0) assert.ok(String(-result) in headRefusals, `refusal ${-result}`);
      else assert.ok(Number.isInteger(result) && result <= text.length);
    }),
    runs,
  );
});

test('P10: nothing is accepted that the grammar of RFC 9112 does not allow, in more than one way or without a host', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const { result, head, bytes } = read(text);
      if (result <= 0) return;
      const accepted = text.slice(0, result);
      assert.match(accepted, headGrammar);
      const count = (name: string) => accepted.match(new RegExp(`^${name}:`, 'gim'))?.length ?? 0;
      assert.ok(count('host') === 1 || (head.minor === 0 && count('host') === 0), 'one host');
      assert.ok(count('content-length') + count('transfer-encoding') <= 1, 'one framing');
      assert.equal(head.isChunked, count('transfer-encoding') === 1);
      assert.equal(head.contentLength >= 0, count('content-length') === 1);
      assert.ok(result <= limits.headerBytes + 2 && head.fields.count <= limits.headerCount);
      assert.match(part(bytes, head.hostStart, head.hostEnd), /^[^\s/?#@\\]*$/);
    }),
    runs,
  );
});

test('P10: a head that arrives in pieces is read like one that arrives whole', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const { result } = read(text);
      for (let to = 0; to < text.length; to++) {
        const { result: early } = read(text, to);
        if (early === 0) continue;
        if (early > 0) assert.deepEqual([early, to >= early], [result, true], `of ${to} bytes`);
        // What is too large and wrong as well is refused for what is seen first.
        else assert.ok(result < 0, `${to} bytes are refused (${-early}), all of them are not (${result})`);
      }
    }),
    { numRuns: 5_000 },
  );
});

test('what stands around a head makes no difference to it', () => {
  fc.assert(
    fc.property(hostile, anything, anything, (text, before, after) => {
      const { result, head } = read(text);
      if (result <= 0) return;
      const moved = new RequestHead();
      const bytes = bytesOf(before + text + after);
      const from = before.length;
      assert.equal(parseRequestHead(bytes, from, bytes.length, limits, moved), from + result);
      assert.equal(moved.targetStart, from + head.targetStart);
      assert.equal(moved.fields.count, head.fields.count);
    }),
    runs,
  );
});

/** Written anew from nothing but what was read. */
function written(head: RequestHead, bytes: Buffer): string {
  const target = part(bytes, head.targetStart, head.targetEnd);
  const origin = head.isAbsolute ? `http://${part(bytes, head.hostStart, head.hostEnd)}` : '';
  const lines = [`${head.method} ${origin}${target} HTTP/1.${head.minor}`];
  const { fields } = head;
  for (let index = 0; index < fields.count; index++) {
    const name = part(bytes, fields.start(index), fields.nameEnd(index));
    lines.push(`${name}: ${part(bytes, fields.valueStart(index), fields.valueEnd(index))}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Everything but the places. */
function meaning(head: RequestHead, bytes: Buffer): object {
  const { method, minor, isAbsolute, isChunked, contentLength, keepAlive, expectsContinue, upgrade } = head;
  const kinds = Array.from({ length: head.fields.count }, (_, index) => head.fields.kind(index));
  const target = part(bytes, head.targetStart, head.targetEnd);
  const host = part(bytes, head.hostStart, head.hostEnd);
  return {
    ...{
      method,
      target,
      host,
      minor,
      isAbsolute,
      isChunked,
      contentLength,
      keepAlive,
      expectsContinue,
      upgrade,
    },
    kinds,
  };
}

test('a head that is written anew from what was read is read as the same, and then written as the same', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const { result, head, bytes } = read(text);
      if (result <= 0) return;
      const again = written(head, bytes);
      const second = read(again);
      assert.equal(second.result, again.length);
      assert.deepEqual(meaning(second.head, second.bytes), meaning(head, bytes));
      assert.equal(written(second.head, second.bytes), again);
    }),
    runs,
  );
});

const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9!#$%&'*+.^`|~-]{0,20}$/).map((text) => `x-${text}`);
const value = fc
  .array(
    fc.oneof(fc.integer({ min: 33, max: 126 }), fc.integer({ min: 128, max: 255 }), fc.constantFrom(9, 32)),
    {
      maxLength: 40,
    },
  )
  .map((codes) => String.fromCharCode(...codes).trim())
  .filter((text) => !/^[\xa0]|[\xa0]$/.test(text));
const framing = fc.constantFrom<readonly [line: string, isChunked: boolean, length: number]>(
  ['', false, -1],
  ['Content-Length: 0\r\n', false, 0],
  ['content-length:17\r\n', false, 17],
  ['Transfer-Encoding: chunked\r\n', true, -1],
  ['transfer-encoding: CHUNKED \r\n', true, -1],
);

test('every ordinary head is accepted, and every part of it is what was written', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PROPFIND', 'M-SEARCH'),
      fc.stringMatching(/^\/[!-"$-~]{0,40}$/),
      fc.array(fc.tuple(name, value), { maxLength: 8 }),
      framing,
      fc.constantFrom('a', 'shop.example.com:8080', '[::1]', '127.0.0.1'),
      (method, target, headers, [framingLine, isChunked, length], host) => {
        const lines = headers.map(([one, text]) => `${one}: ${text}\r\n`).join('');
        const text = `${method} ${target} HTTP/1.1\r\n${lines}Host: ${host}\r\n${framingLine}\r\n`;
        const { result, head, bytes } = read(text);
        assert.equal(result, text.length);
        assert.equal(head.method, method);
        assert.equal(part(bytes, head.targetStart, head.targetEnd), target);
        assert.equal(part(bytes, head.hostStart, head.hostEnd), host);
        assert.deepEqual([head.isChunked, head.contentLength], [isChunked, length]);
        for (const [index, pair] of headers.entries()) {
          const { fields } = head;
          const readName = part(bytes, fields.start(index), fields.nameEnd(index));
          const readValue = part(bytes, fields.valueStart(index), fields.valueEnd(index));
          assert.deepEqual([readName, readValue], pair);
        }
      },
    ),
    runs,
  );
});
