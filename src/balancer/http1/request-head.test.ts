/** What is accepted, and what is refused with which number, by examples; request-head.fuzz.test.ts asks the rest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type HeadLimits,
  type HeadRefusal,
  headRefusals,
  parseRequestHead,
  RequestHead,
  requestFieldKind,
  requestFields,
} from './request-head.ts';

const limits: HeadLimits = { headerBytes: 400, headerCount: 4, targetBytes: 40 };

const read = (text: string, head = new RequestHead()) => {
  const bytes = Buffer.from(text, 'latin1');
  return { result: parseRequestHead(bytes, 0, bytes.length, limits, head), head, bytes };
};

/** Everything that was read, as it was written. */
function meaning({ head, bytes }: { readonly head: RequestHead; readonly bytes: Buffer }) {
  const { method, minor, isAbsolute, isChunked, contentLength, keepAlive, expectsContinue, hasBody } = head;
  const { fields, upgrade } = head;
  return {
    method,
    target: bytes.toString('latin1', head.targetStart, head.targetEnd),
    host: bytes.toString('latin1', head.hostStart, head.hostEnd),
    minor,
    isAbsolute,
    isChunked,
    contentLength,
    hasBody,
    keepAlive,
    expectsContinue,
    upgrade:
      upgrade < 0 ? '' : bytes.toString('latin1', fields.valueStart(upgrade), fields.valueEnd(upgrade)),
  };
}

const ordinary: ReturnType<typeof meaning> = {
  method: 'GET',
  target: '/',
  host: 'a',
  minor: 1,
  isAbsolute: false,
  isChunked: false,
  contentLength: -1,
  hasBody: false,
  keepAlive: true,
  expectsContinue: false,
  upgrade: '',
};

const asked = (...lines: readonly string[]): string => [...lines, '', ''].join('\r\n');
const get = (...lines: readonly string[]): string => asked('GET / HTTP/1.1', 'Host: a', ...lines);
const post = (...lines: readonly string[]): string => asked('POST / HTTP/1.1', 'Host: a', ...lines);
const to = (target: string, host = 'a'): string => asked(`GET ${target} HTTP/1.1`, `Host: ${host}`);
const upgrading = ['Connection: Upgrade', 'Upgrade: websocket'];
const method = 'POST';

const accepted: readonly (readonly [head: string, read: Partial<typeof ordinary>])[] = [
  [get(), {}],
  [to('/a?b=c%20d', 'shop.example.com:8080  '), { target: '/a?b=c%20d', host: 'shop.example.com:8080' }],
  [to(`/${'x'.repeat(39)}`), { target: `/${'x'.repeat(39)}` }],
  [asked('GET / HTTP/1.1', 'HOST:[::1]:80'), { host: '[::1]:80' }],
  [to('/', 'a'.repeat(255)), { host: 'a'.repeat(255) }],
  [asked('M-SEARCH / HTTP/1.1', 'Host: a'), { method: 'M-SEARCH' }],
  [asked('OPTIONS * HTTP/1.1', 'Host: a'), { method: 'OPTIONS', target: '*' }],
  [to('http://a/b?c', 'A'), { target: '/b?c', isAbsolute: true }],
  [to('HTTPS://a:8443', 'A:8443'), { target: '', host: 'a:8443', isAbsolute: true }],
  [asked('GET http://a/?c HTTP/1.0'), { target: '/?c', minor: 0, isAbsolute: true, keepAlive: false }],
  [asked('GET / HTTP/1.0'), { host: '', minor: 0, keepAlive: false }],
  [asked('GET / HTTP/1.0', 'Connection: Keep-Alive'), { host: '', minor: 0 }],
  [asked('GET / HTTP/1.0', 'Connection: keep-alive, close'), { host: '', minor: 0, keepAlive: false }],
  [get('Connection: close'), { keepAlive: false }],
  [get('Connection: keep-alive', 'Connection: x, CLOSE'), { keepAlive: false }],
  [get('Connection: closed'), {}],
  [post('Content-Length: 17'), { method, contentLength: 17, hasBody: true }],
  [post('Content-Length: 00'), { method, contentLength: 0 }],
  [post('Transfer-Encoding:  Chunked '), { method, isChunked: true, hasBody: true }],
  [
    post('Content-Length: 1', 'Expect: 100-Continue'),
    { method, contentLength: 1, hasBody: true, expectsContinue: true },
  ],
  [get('Expect: 100-continue'), {}],
  [get(...upgrading), { upgrade: 'websocket' }],
  [get('Upgrade: websocket'), {}],
  [get('Connection: Upgrade', 'Upgrade: h2c'), {}],
  [get('Connection: Upgrade', 'Upgrade: websocket, HTTP/2.0'), {}],
  [post(...upgrading), { method }],
  [get('Content-Length: 1', ...upgrading), { contentLength: 1, hasBody: true }],
  [get('X-A: \x80\xff \t"', 'X-B:', "!#$%&'*+-.^_`|~: a"), {}],
];

const lengths = ['', '+5', '-5', '5, 5', '0x5', '5 5', '5;', '1234567890123456'];
const codings = ['', 'gzip', 'identity', 'gzip, chunked', 'chunked,', 'xchunked', 'chunked;a=b', '"chunked"'];
const hosts = [
  'a b',
  'a/b',
  'user@a',
  'a, b',
  'a:',
  'a:123456',
  'a:8o',
  ':80',
  '',
  '.',
  'a..b',
  '[]',
  '[::1',
  '[::1]a',
  '[a-b]',
  'a'.repeat(256),
];

const refused: Readonly<Record<HeadRefusal, readonly string[]>> = {
  1: [
    asked(' / HTTP/1.1'),
    asked('G(T / HTTP/1.1'),
    asked('GET\t/ HTTP/1.1'),
    asked('get / HTTP/1.1', 'Host: a'),
    asked('PRI / HTTP/1.1', 'Host: a'),
    asked(`${'G'.repeat(33)} / HTTP/1.1`),
    asked('GET /'),
    asked('GET / HTTP/1.1 '),
    asked('GET / http/1.1'),
    asked('GET / HTTP/1.11'),
    asked('GET / HTTP/1,1'),
    asked('GET / HTTP/x.1'),
    'GET / HTTP/1.1\nHost: a\n\n',
    'GET / HTTP/1.1\r\rHost: a\r\n\r\n',
    `\r\n\r\n${get()}`,
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc', // the beginning of TLS
  ],
  2: [
    get(': no name'),
    get('no colon'),
    get('Space : a'),
    get('X-A: a', ' folded'),
    get('X-A: a', '\tfolded'),
    get('X-A: \x00'),
    get('X-A: \x7f'),
    get('X-A: a\rb'),
    get('X-A: a\nX-B: b'),
    get('X\xe9: a'),
    get().replace(/\r\n$/, '\n'),
    get().replace(/\r\n$/, '\rx'),
    asked('GET / HTTP/1.1', ' Host: a'),
  ],
  3: [get('A: 1', 'B: 2', 'C: 3', 'D: 4')],
  4: [get(`X-A: ${'x'.repeat(400)}`), get(`X-A: ${'x'.repeat(360)}`, 'X-B: x')],
  5: [to(`/${'x'.repeat(40)}`)],
  6: [to('/a#b'), to('/\xe9'), to('/\x00'), to('/a\tb'), to('/\x7f')],
  7: [to('*'), to('a'), to('ftp://a/'), to('http:///b'), to('http://a?b'), to('')],
  8: ['2.0', '1.2', '0.9', '3.1'].map((version) => asked(`GET / HTTP/${version}`, 'Host: a')),
  9: [asked('CONNECT a:443 HTTP/1.1', 'Host: a:443'), asked('CONNECT / HTTP/1.0')],
  10: [asked('GET / HTTP/1.1'), asked('GET http://a/ HTTP/1.1')],
  11: [get('Host: a'), get('host:')],
  12: [
    ...hosts.map((host) => to('/', host)),
    to('http://user@a/'),
    to('/', 'a'.repeat(170)).replace('a', 'ä'),
  ],
  13: [to('http://a/', 'b'), to('http://a:80/', 'a')],
  14: [post('Content-Length: 5', 'Content-Length: 5'), post('Content-Length: 5', 'Content-Length: x')],
  15: lengths.map((length) => post(`Content-Length: ${length}`)),
  16: [
    post('Content-Length: 5', 'Transfer-Encoding: chunked'),
    post('Transfer-Encoding: chunked', 'Content-Length: 5'),
    post('Content-Length: 0', 'Transfer-Encoding: gzip'),
  ],
  17: [post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  18: codings.map((coding) => post(`Transfer-Encoding: ${coding}`)),
  19: [asked('POST / HTTP/1.0', 'Transfer-Encoding: chunked')],
  20: [
    get('Expect: 200-ok'),
    post('Content-Length: 1', 'Expect:'),
    post('Content-Length: 1', 'Expect: 100-continue', 'Expect: 100-continue'),
  ],
  21: ['GET', 'HEAD', 'DELETE'].map((name) => asked(`${name} / HTTP/1.0`, 'Content-Length: 1')),
  22: [to('/', '\ta'), to('/', 'a\t'), post('Content-Length:\t5'), post('Transfer-Encoding: chunked\t')],
};

test('what is accepted is read as it was written', () => {
  for (const [text, expected] of accepted) {
    const reading = read(text);
    assert.equal(reading.result, text.length, JSON.stringify(text));
    assert.deepEqual(meaning(reading), { ...ordinary, ...expected }, JSON.stringify(text));
  }
});

test('P10: each refusal has its examples, and every example the refusal that is meant', () => {
  assert.deepEqual(Object.keys(refused), Object.keys(headRefusals));
  for (const [refusal, examples] of Object.entries(refused))
    for (const text of examples) assert.equal(read(text).result, -refusal, JSON.stringify(text));
});

test('a head that is not complete is waited for, wherever it was split; one empty line may precede it', () => {
  for (const [text] of accepted) {
    for (const whole of [text, `\r\n${text}`]) {
      for (let length = 0; length < whole.length; length++)
        assert.equal(read(whole.slice(0, length)).result, 0, JSON.stringify(whole.slice(0, length)));
      assert.equal(read(`${whole}GET`).result, whole.length);
    }
  }
});

test('P10: however little of a wrong head has come, it is waited for or refused as it will be in the end', () => {
  for (const [refusal, examples] of Object.entries(refused))
    for (const text of examples)
      for (let length = 0; length < text.length; length++) {
        const { result } = read(text.slice(0, length));
        assert.ok(result === 0 || result === -refusal, `${JSON.stringify(text.slice(0, length))}: ${result}`);
      }
});

test('P10: what never ends is refused when it has reached its limit, and not a byte before', () => {
  const { headerBytes, targetBytes } = limits;
  const lines = (bytes: number) => `GET / HTTP/1.1\r\nX-A: ${'x'.repeat(bytes - 21)}`;
  assert.equal(read(lines(headerBytes)).result, 0);
  assert.equal(read(lines(headerBytes + 1)).result, -4);
  assert.equal(read(`GET /${'x'.repeat(targetBytes - 1)}`).result, 0);
  assert.equal(read(`GET /${'x'.repeat(targetBytes)}`).result, -5);
});

test('what can no longer become a head is refused at once', () => {
  for (const text of ['\n', 'GET\t', '\x16\x03', 'GET /\r', 'GET / FTP', 'GET / http', 'GET / HTTP/1.1 \r\n'])
    assert.equal(read(text).result, -1, JSON.stringify(text));
  for (const line of [' ', 'a ', ':', 'a: \x00', 'a: b\n', 'a: b\rc'])
    assert.equal(read(`GET / HTTP/1.1\r\n${line}`).result, -2, JSON.stringify(line));
});

test('one object that reads many heads keeps nothing of the earlier ones', () => {
  const heads = accepted.map(([text]) => text).concat(Object.values(refused).flat());
  fc.assert(
    fc.property(fc.constantFrom(...heads), fc.constantFrom(...accepted), (earlier, [text]) => {
      const head = new RequestHead();
      read(earlier, head);
      assert.deepEqual(meaning(read(text, head)), meaning(read(text)));
    }),
    { numRuns: 2_000 },
  );
});

const kindOf = (name: string): number => requestFieldKind(Buffer.from(name, 'latin1'), 0, name.length);

test('claims that only a proxy may make are known in every spelling, and nothing else is taken for one', () => {
  const claims = [
    'X-Forwarded-For',
    'x-forwarded-anything',
    'Forwarded',
    'X-REAL-IP',
    'True-Client-Ip',
    'Proxy',
  ];
  const disguises = ['X_Forwarded_For', 'x-real_ip', 'Content_Length', 'Transfer_Encoding', 'X_Request-Id'];
  for (const name of [...claims, ...disguises]) assert.equal(kindOf(name), requestFields.claim, name);
  const harmless = ['X-Forwarded', 'X-Forwarded-', 'Forwardedx', 'X-Real', 'Accept', 'Proxy-', 'X_Own', 'a'];
  for (const name of harmless) assert.equal(kindOf(name), requestFields.plain, name);
});

test('the names that mean something to a proxy are known whatever the case of their letters', () => {
  const kinds: Readonly<Record<string, number>> = {
    host: requestFields.host,
    'content-length': requestFields.contentLength,
    'transfer-encoding': requestFields.transferEncoding,
    connection: requestFields.connection,
    upgrade: requestFields.upgrade,
    expect: requestFields.expect,
    cookie: requestFields.cookie,
    traceparent: requestFields.traceparent,
    'x-request-id': requestFields.requestId,
  };
  for (const name of [
    'keep-alive',
    'te',
    'trailer',
    'proxy-connection',
    'proxy-authorization',
    'http2-settings',
  ])
    assert.equal(kindOf(name), requestFields.hopByHop, name);
  for (const [name, kind] of Object.entries(kinds)) {
    const inSomeCase = fc.tuple(...[...name].map((letter) => fc.constantFrom(letter, letter.toUpperCase())));
    fc.assert(fc.property(inSomeCase, (letters) => assert.equal(kindOf(letters.join('')), kind)));
  }
});

test('a header that Connection names ends here, but for those that are about the message', () => {
  const { head, result } = read(get('connection: X-A,Cookie', 'x-a: 1', 'Cookie: b'));
  assert.ok(result > 0 && head.namesHeaders);
  assert.deepEqual(
    Array.from({ length: head.fields.count }, (_, index) => head.fields.kind(index)),
    [requestFields.host, requestFields.connection, requestFields.hopByHop, requestFields.cookie],
  );
  assert.equal(read(get('Connection: X-B', 'X-A: 1')).head.namesHeaders, false);
});
