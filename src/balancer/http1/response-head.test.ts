import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseResponseHead, ResponseHead, responseFields } from './response-head.ts';

const read = (text: string, method = 'GET', head = new ResponseHead()) => {
  const bytes = Buffer.from(text, 'latin1');
  return { result: parseResponseHead(bytes, 0, bytes.length, method, head), head, bytes };
};

const meaning = ({ head }: { readonly head: ResponseHead }) => {
  const { status, minor, body, contentLength, keepAlive, keepAliveMs, setsCookies, hasStrictTransport } =
    head;
  return { status, minor, body, contentLength, keepAlive, keepAliveMs, setsCookies, hasStrictTransport };
};

const bare: ReturnType<typeof meaning> = {
  status: 200,
  minor: 1,
  body: 'none',
  contentLength: 0,
  keepAlive: true,
  keepAliveMs: 0,
  setsCookies: false,
  hasStrictTransport: false,
};

const said = (...lines: readonly string[]): string => [...lines, '', ''].join('\r\n');
const ok = (...lines: readonly string[]): string => said('HTTP/1.1 200 OK', 'Content-Length: 0', ...lines);
const chunked = 'Transfer-Encoding: chunked';

const accepted: readonly (readonly [head: string, read: Partial<typeof bare>, method?: string])[] = [
  [ok(), {}],
  [said('HTTP/1.1 404', 'Content-Length:0'), { status: 404 }],
  [said('HTTP/1.1 299 ', 'Content-Length: 0'), { status: 299 }],
  [said('HTTP/1.1 200 Ganz sch\xf6n \t', 'Content-Length: 0'), {}],
  [said('HTTP/1.1 200 OK', 'Content-Length: 5', 'content-length: 5'), { body: 'length', contentLength: 5 }],
  [said('HTTP/1.1 200 OK', chunked.toUpperCase()), { body: 'chunked' }],
  [said('HTTP/1.1 200 OK'), { body: 'untilClose', keepAlive: false }],
  [said('HTTP/1.1 200 OK', 'Content-Length: 5'), { contentLength: 5 }, 'HEAD'],
  [said('HTTP/1.1 200 OK', chunked), {}, 'HEAD'],
  [said('HTTP/1.1 200 OK'), {}, 'HEAD'],
  [said('HTTP/1.1 204 No Content'), { status: 204 }],
  [said('HTTP/1.1 304 Not Modified', 'Content-Length: 5'), { status: 304, contentLength: 5 }],
  [said('HTTP/1.1 100 Continue'), { status: 100 }],
  [said('HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket'), { status: 101 }],
  [said('HTTP/1.0 200 OK', 'Content-Length: 0'), { minor: 0, keepAlive: false }],
  [said('HTTP/1.0 200 OK', 'Content-Length: 0', 'Connection: Keep-Alive'), { minor: 0 }],
  [ok('Connection: x, Close'), { keepAlive: false }],
  [ok('Connection: keep-alive', 'Keep-Alive: timeout=5, max=100'), { keepAliveMs: 5_000 }],
  [ok('Keep-Alive: max=100'), {}],
  [ok('Set-Cookie: a=1', 'Set-Cookie: b=2'), { setsCookies: true }],
  [ok('Strict-Transport-Security: max-age=1'), { hasStrictTransport: true }],
];

const refused: readonly string[] = [
  'this is not HTTP\r\n\r\n',
  said('http/1.1 200 OK'),
  said('HTTP/2.0 200 OK'),
  said('HTTP/1.2 200 OK'),
  said('HTTP/1.1  200 OK'),
  said('HTTP/1.1 20 OK, so to say'),
  said('HTTP/1.1 099 OK'),
  said('HTTP/1.1 2000 OK'),
  said('HTTP/1.1 +20 OK'),
  said('HTTP/1.1-200 OK'),
  said('HTTP/1.1 200 O\x00K'),
  'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
  ok('no colon'),
  ok('X-A : a'),
  ok('X-A: a', ' folded'),
  ok('X-A: \x07'),
  said('HTTP/1.1 200 OK', 'Content-Length: 5', 'Content-Length: 6'),
  ...['', '-1', '+1', '5, 5', '5;', '1234567890123456'].map((length) =>
    said('HTTP/1.1 200 OK', `Content-Length: ${length}`),
  ),
  ...['', 'gzip', 'gzip, chunked', 'chunked, chunked', 'identity'].map((coding) =>
    said('HTTP/1.1 200 OK', `Transfer-Encoding: ${coding}`),
  ),
  said('HTTP/1.1 200 OK', chunked, chunked),
  ok(chunked),
];

test('what is accepted says how long the body is and whether the connection stays', () => {
  for (const [text, expected, method] of accepted) {
    const reading = read(text, method);
    assert.equal(reading.result, text.length, JSON.stringify(text));
    assert.deepEqual(meaning(reading), { ...bare, ...expected }, JSON.stringify(text));
  }
});

test('what has no clear beginning or end is refused', () => {
  for (const text of refused) assert.equal(read(text).result, -1, JSON.stringify(text));
});

test('a head that is not complete is waited for, wherever it was split, and what follows is not looked at', () => {
  for (const [text, , method] of accepted) {
    for (let length = 0; length < text.length; length++)
      assert.equal(read(text.slice(0, length), method).result, 0, JSON.stringify(text.slice(0, length)));
    assert.equal(read(`${text}\x00`, method).result, text.length);
  }
});

test('a wrong head that has come in part is waited for or refused', () => {
  for (const text of refused)
    for (let length = 0; length < text.length; length++)
      assert.ok(read(text.slice(0, length)).result <= 0, JSON.stringify(text.slice(0, length)));
});

test('a head that does not end within 64 KiB is refused, with lines or without', () => {
  const most = 64 * 1024;
  const line = (bytes: number) => `HTTP/1.1 200 OK\r\nX-A: ${'x'.repeat(bytes - 22)}`;
  assert.equal(read(line(most)).result, 0);
  assert.equal(read(line(most + 1)).result, -1);
  assert.equal(read(`HTTP/1.1 200 ${'x'.repeat(most)}`).result, -1);
  assert.equal(read(`${line(most)}\r\n\r\n`).result, -1);
  assert.equal(read(ok(...Array<string>(1_000).fill('a: b'))).result, -1);
});

test('one object that reads many heads keeps nothing of the earlier ones', () => {
  const heads = [...accepted.map(([text]) => text), ...refused];
  fc.assert(
    fc.property(fc.constantFrom(...heads), fc.constantFrom(...accepted), (earlier, [text, , method]) => {
      const head = new ResponseHead();
      read(earlier, 'GET', head);
      assert.deepEqual(meaning(read(text, method, head)), meaning(read(text, method)));
    }),
    { numRuns: 1_000 },
  );
});

/** The names of the lines that end at this hop. */
function ending(...lines: readonly string[]): string[] {
  const { head, bytes } = read(said(...lines));
  const { fields } = head;
  const all = Array.from({ length: fields.count }, (_, index) => index);
  return all
    .filter((index) => fields.kind(index) === responseFields.hopByHop)
    .map((index) => bytes.toString('latin1', fields.start(index), fields.nameEnd(index)));
}

test('a header that Connection names ends here, before it or after it, but for those about the message', () => {
  const line = 'HTTP/1.1 200 OK';
  assert.deepEqual(ending(line, 'X-A: 1', 'Connection: x-a, X-B', 'x-b: 2', 'X-C: 3'), ['X-A', 'x-b']);
  assert.deepEqual(
    ending(line, 'Connection: content-length, set-cookie', 'Set-Cookie: a', 'Content-Length: 1'),
    [],
  );
  const proxies = ['Proxy-Authenticate', 'Proxy-Connection'];
  assert.deepEqual(ending(line, ...proxies.map((name) => `${name}: x`)), proxies);
});

test('a response that can have no body tells no length; one that stands for another does', () => {
  for (const status of [100, 103, 204]) {
    assert.deepEqual(ending(`HTTP/1.1 ${status} x`, 'Content-Length: 5'), ['Content-Length']);
  }
  assert.deepEqual(ending('HTTP/1.1 304 x', 'Content-Length: 5'), []);
});
