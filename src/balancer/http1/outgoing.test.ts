import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CookieTaker } from './cookie-taker.ts';
import { HeadWriter } from './head-writer.ts';
import { fieldList, writeOutgoingHead } from './outgoing.ts';
import { parseRequestHead, RequestHead, requestFields } from './request-head.ts';

const limits = { headerBytes: 4_096, headerCount: 64, targetBytes: 1_024 };

interface Way {
  readonly host?: string;
  readonly cookies?: CookieTaker;
  readonly passed?: number;
}

/** A head, written as a client writes it, and what an instance gets to see of it. */
function outgoing(lines: readonly string[], { host = 'a', cookies, passed = -1 }: Way = {}): string[] {
  const text = [...lines, '', ''].join('\r\n');
  const bytes = Buffer.from(`before${text}behind`, 'latin1');
  const head = new RequestHead();
  assert.equal(parseRequestHead(bytes, 6, bytes.length, limits, head), 6 + text.length);
  const writer = new HeadWriter();
  writeOutgoingHead(writer, bytes, head, host, cookies, passed);
  const written = writer.take().toString('latin1');
  assert.ok(written.endsWith('\r\n'));
  return written.slice(0, -2).split('\r\n');
}

const line = 'GET /a?b HTTP/1.1';

test('ordinary lines pass as they are, in their order, spaces and the case of letters included', () => {
  const lines = [line, 'HOST:  a', 'accept:*/*', 'X-A: b \t', 'Content-length: 5', 'Authorization: x'];
  assert.deepEqual(outgoing(lines), lines);
  assert.deepEqual(
    outgoing([line, 'Host: a', 'Transfer-Encoding: chunked']).at(-1),
    'Transfer-Encoding: chunked',
  );
});

test('what concerns only this connection ends here, with what Connection names', () => {
  const ending = [
    'Connection: close, X-Own',
    'x-own: 1',
    'Keep-Alive: timeout=5',
    'TE: trailers',
    'Trailer: X',
  ];
  const others = [
    'Upgrade: websocket',
    'Expect: 100-continue',
    'Proxy-Authorization: x',
    'HTTP2-Settings: x',
  ];
  assert.deepEqual(outgoing([line, 'Host: a', ...ending, 'X-A: 1', ...others]), [line, 'Host: a', 'X-A: 1']);
});

test('P10: what claims to come from a proxy is dropped in every spelling', () => {
  const claims = [
    'X-Forwarded-For: 1.1.1.1',
    'x_forwarded_for: 1.1.1.1',
    'Forwarded: for=1.1.1.1',
    'Proxy: x',
  ];
  assert.deepEqual(outgoing([line, 'X-A: 1', ...claims, 'Host: a', 'Content_Length: 5']), [
    line,
    'X-A: 1',
    'Host: a',
  ]);
});

test('a traceparent passes where it is told to', () => {
  const lines = [line, 'Host: a', 'traceparent: 00-1', 'X-Request-Id: 1'];
  assert.deepEqual(outgoing(lines), [line, 'Host: a']);
  assert.deepEqual(outgoing(lines, { passed: requestFields.traceparent }), lines.slice(0, 3));
});

test('the sticky cookie is taken out, and without a taker every cookie passes', () => {
  const lines = [line, 'Host: a', 'cookie: a=1; h=x', 'Cookie: h=y', 'X-A: 1'];
  const cookies = new CookieTaker('h');
  assert.deepEqual(outgoing(lines, { cookies }), [line, 'Host: a', 'Cookie: a=1', 'X-A: 1']);
  assert.equal(cookies.value, 'x');
  assert.deepEqual(outgoing(lines), lines);
});

test('an absolute target becomes a path, and its host the Host', () => {
  const way = { host: 'shop:8080' };
  const target = (text: string) => outgoing([`GET ${text} HTTP/1.1`, 'X-A: 1', 'Host: SHOP:8080'], way);
  assert.deepEqual(target('http://shop:8080/a?b'), ['GET /a?b HTTP/1.1', 'Host: shop:8080', 'X-A: 1']);
  assert.equal(target('http://shop:8080')[0], 'GET / HTTP/1.1');
  assert.equal(target('http://shop:8080/?b')[0], 'GET /?b HTTP/1.1');
});

test('a request of HTTP/1.0 goes on as one of HTTP/1.1, which has a Host', () => {
  assert.deepEqual(outgoing(['GET / HTTP/1.0', 'X-A: 1'], { host: '' }), [
    'GET / HTTP/1.1',
    'Host: localhost',
    'X-A: 1',
  ]);
  assert.deepEqual(outgoing(['GET / HTTP/1.0', 'Host: b'], { host: 'b' }), ['GET / HTTP/1.1', 'Host: b']);
});

test('whichever lines stand between them, exactly the ordinary ones pass, in their order', () => {
  const passing = fc.constantFrom('X-A: 1', 'accept: b', 'Cookie: c=d', 'X-Long: '.padEnd(60, 'x'));
  const ending = fc.constantFrom(
    'Connection: close',
    'X-Real-IP: 1.1.1.1',
    'TE: trailers',
    'Keep-Alive: timeout=5',
  );
  const mixed = fc.array(fc.oneof(passing, ending), { maxLength: 20 });
  const isPassing = (text: string) => /^(x-a|accept|cookie|x-long|host)/i.test(text);
  fc.assert(
    fc.property(mixed, mixed, (before, behind) => {
      const lines = [...before, 'Host: a', ...behind];
      assert.deepEqual(outgoing([line, ...lines]), [line, ...lines.filter(isPassing)]);
    }),
  );
});

test('all header lines can be had as a list, as they came', () => {
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nX-A:  1 \r\nx-a:\r\n\r\n');
  const head = new RequestHead();
  parseRequestHead(bytes, 0, bytes.length, limits, head);
  assert.deepEqual(fieldList(bytes, head.fields), ['Host', 'a', 'X-A', '1', 'x-a', '']);
});
