import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTrailers, trailerBytes } from './trailers.ts';

const read = (text: string) => readTrailers(Buffer.from(text, 'latin1'), 0, text.length);
const written = (...lines: readonly string[]): string => [...lines, '', ''].join('\r\n');

test('no trailers are an empty line', () => {
  assert.deepEqual(read('\r\nGET / HTTP/1.1\r\n'), { end: 2, lines: '' });
});

test('trailers that mean something to the application alone pass, each with its value trimmed', () => {
  const text = written('X-Checksum:abc \t', 'Server-Timing: db;dur=53', 'ETag: "\xe9"');
  assert.deepEqual(read(`${text}rest`), {
    end: text.length,
    lines: 'X-Checksum: abc\r\nServer-Timing: db;dur=53\r\nETag: "\xe9"\r\n',
  });
});

test('P10: what could change the meaning of a message, or who sent it, does not pass as a trailer', () => {
  const forbidden = [
    ...['Host', 'Upgrade', 'TE', 'Trailer', 'Keep-Alive'],
    ...[
      'Cookie',
      'Set-Cookie',
      'Authorization',
      'Content-Type',
      'Content-Encoding',
      'Cache-Control',
      'Expect',
    ],
    ...[
      'X-Forwarded-For',
      'X_Forwarded_For',
      'Forwarded',
      'X-Real-IP',
      'Proxy',
      'X-Request-Id',
      'traceparent',
    ],
  ];
  for (const name of forbidden) {
    const reading = read(written(`${name.toUpperCase()}: 5`, 'X-Kept: a'));
    assert.ok(typeof reading === 'object', name);
    assert.equal(reading.lines, 'X-Kept: a\r\n', name);
  }
});

test('P10: trailers that would frame the message anew are refused with it', () => {
  for (const name of ['Content-Length', 'Transfer-Encoding', 'connection'])
    assert.equal(read(written(`${name}: 5`)), 'invalid', name);
});

test('trailers that have not come to their end are waited for', () => {
  const text = written('X-A: 1', 'X-B: 2');
  for (let length = 0; length < text.length; length++)
    assert.equal(read(text.slice(0, length)), undefined, JSON.stringify(text.slice(0, length)));
});

test('P10: what is no clean header line is invalid', () => {
  const wrong = ['no colon', 'X-A : a', ': a', ' folded: a', 'X-A: \x00', 'X-A: a\nX-B: b', 'X-A: a\rb'];
  for (const line of wrong) assert.equal(read(written('X-Kept: a', line)), 'invalid', JSON.stringify(line));
  assert.equal(read('\rx'), 'invalid');
});

test('P10: trailers that are too long or too many are invalid, whether or not their end has come', () => {
  const long = (bytes: number) => written(`X-A: ${'x'.repeat(bytes - 9)}`);
  assert.deepEqual((read(long(trailerBytes)) as { end: number }).end, trailerBytes);
  assert.equal(read(long(trailerBytes + 1)), 'invalid');
  assert.equal(read(`X-A: ${'x'.repeat(trailerBytes)}`), 'invalid');
  assert.equal(read(written(...Array<string>(65).fill('a: b'))), 'invalid');
  assert.ok(typeof read(written(...Array<string>(64).fill('a: b'))) === 'object');
});

test('trailers in the middle of other bytes are read from where they begin', () => {
  const bytes = Buffer.from('0\r\nX-A: 1\r\n\r\nrest');
  assert.deepEqual(readTrailers(bytes, 3, bytes.length), { end: 13, lines: 'X-A: 1\r\n' });
  assert.equal(readTrailers(bytes, 3, 11), undefined);
});
