import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultDrain, defaultLimits, resolveOptions } from '../balancer/options.ts';
import { HoldfastError } from '../support/errors.ts';
import type { BalancerSettings, Configuration } from './configuration.ts';
import { parseConfiguration } from './load.ts';

const minimal = 'cluster: shop\napp: { command: node server.js }\n';

function configured(addition: string): Configuration {
  return parseConfiguration(`${minimal}${addition}\n`, '/srv/shop/holdfast.yaml').configuration;
}

const balancer = (text: string): BalancerSettings => configured(`balancer: ${text}`).balancer;

/** The lines of the error, without the heading. */
function problems(text: string): string[] {
  try {
    parseConfiguration(text, 'holdfast.yaml');
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === 'CONFIGURATION_INVALID', String(error));
    return error.message.split('\n').slice(1);
  }
  return [];
}

test('a balancer of which nothing is said is plain HTTP on one port, with the limits of the engine', () => {
  assert.deepEqual(balancer('{}'), configured('').balancer);
  assert.deepEqual(balancer('{}'), {
    listen: { host: '0.0.0.0', port: 8080 },
    engine: 'embedded',
    workers: 1,
    tls: undefined,
    sticky: { kind: 'cookie', cookie: 'holdfast', sameSite: 'lax' },
    trustedProxies: [],
    proxyProtocol: undefined,
    responseTimeoutMs: 60_000,
    routes: [],
    deny: [],
    limits: defaultLimits,
    slowStartMs: 30_000,
    drain: { idleMs: defaultDrain.idleMs, jitterMs: defaultDrain.jitterMs },
    weights: {},
    pages: {},
    accessLog: undefined,
    admin: { host: '127.0.0.1', port: 0 },
    idempotency: undefined,
  });
});

test('everything that a balancer can be told is read, in milliseconds and bytes, and paths are those of the folder', () => {
  const settings = balancer(`
  listen: 0.0.0.0:443
  workers: auto
  tls:
    certificates:
      - { certificate: tls/shop.pem, key: /etc/tls/shop.key }
      - { certificate: tls/b.pem, key: tls/b.key }
    minVersion: TLSv1.3
    http2: false
    redirectFrom: 0.0.0.0:80
    hsts: 180d
  sticky: { cookie: __Host-who, maxAge: 7d, sameSite: none, session: JSESSIONID }
  trustedProxies: [10.0.0.0/8]
  proxyProtocol: { from: [192.0.2.0/24, fd00::/8], to: v2 }
  hold: 2s
  timeout: 90s
  routes:
    - { path: /uploads/, methods: [POST, PUT], body: 10MB, timeout: 15m }
    - { path: /api/search, repeatable: true }
    - { path: /uploads }
    - { path: / , body: 1MB }
  deny: ['^/\\w+-doc/', '^/internal']
  limits:
    { headers: 32KB, headerCount: 200, target: 4KB, headersTimeout: 5s, requestTimeout: 1h, body: 1GB, bodyIdle: 10s,
      bodyRate: 2KB, readIdle: 20s, clientIdle: 30s, tunnelIdle: 2h, connections: 5000, connectionsPerAddress: 50,
      requestsPerInstance: 100, heldRequests: 0, replayBody: 0B, buffer: 1MB, connectTimeout: 250ms }
  slowStart: 0s
  drain: { idle: 1m, jitter: 2s }
  weights: { shop-1: 2 }
  pages: { 503: pages/503.html, maintenance: /var/www/back-soon.html }
  accessLog: { file: logs/access.json, sample: 0.25 }
  admin: 127.0.0.1:9100
  idempotency: { keep: 2h }`);
  assert.deepEqual(settings, {
    listen: { host: '0.0.0.0', port: 443 },
    engine: 'embedded',
    workers: 'auto',
    tls: {
      certificates: [
        { certificate: '/srv/shop/tls/shop.pem', key: '/etc/tls/shop.key' },
        { certificate: '/srv/shop/tls/b.pem', key: '/srv/shop/tls/b.key' },
      ],
      selfSigned: false,
      minVersion: 'TLSv1.3',
      http2: false,
      redirectFrom: { host: '0.0.0.0', port: 80 },
      hstsMs: 15_552_000_000,
    },
    sticky: {
      kind: 'cookie',
      cookie: '__Host-who',
      maxAgeMs: 604_800_000,
      sameSite: 'none',
      session: 'JSESSIONID',
    },
    trustedProxies: ['10.0.0.0/8'],
    proxyProtocol: { from: ['192.0.2.0/24', 'fd00::/8'], to: 'v2' },
    responseTimeoutMs: 90_000,
    routes: [
      {
        path: '/uploads/',
        methods: ['POST', 'PUT'],
        repeatable: false,
        bodyBytes: 10_485_760,
        responseTimeoutMs: 900_000,
      },
      { path: '/api/search', repeatable: true },
      { path: '/uploads', repeatable: false },
      { path: '/', repeatable: false, bodyBytes: 1_048_576 },
    ],
    deny: ['^/\\w+-doc/', '^/internal'],
    limits: {
      headerBytes: 32_768,
      headerCount: 200,
      targetBytes: 4_096,
      headersTimeoutMs: 5_000,
      requestTimeoutMs: 3_600_000,
      bodyIdleMs: 10_000,
      bodyBytesPerSecond: 2_048,
      bodyBytes: 1_073_741_824,
      readIdleMs: 20_000,
      clientIdleMs: 30_000,
      tunnelIdleMs: 7_200_000,
      connections: 5_000,
      connectionsPerAddress: 50,
      requestsPerInstance: 100,
      holdMs: 2_000,
      heldRequests: 0,
      replayBodyBytes: 0,
      bufferBytes: 1_048_576,
      connectTimeoutMs: 250,
    },
    slowStartMs: 0,
    drain: { idleMs: 60_000, jitterMs: 2_000 },
    weights: { 'shop-1': 2 },
    pages: { '503': '/srv/shop/pages/503.html', maintenance: '/var/www/back-soon.html' },
    accessLog: { file: '/srv/shop/logs/access.json', sample: 0.25 },
    admin: { host: '127.0.0.1', port: 9100 },
    idempotency: { keepMs: 7_200_000 },
  } satisfies BalancerSettings);
});

test('users stay by a cookie of the balancer, of the application, by a header or by their address', () => {
  const sticky = (text: string) => balancer(`{ sticky: ${text} }`).sticky;
  assert.deepEqual(sticky('{ cookie: who }'), { kind: 'cookie', cookie: 'who', sameSite: 'lax' });
  assert.deepEqual(sticky('{ application: XASSESSIONID }'), {
    kind: 'application',
    session: 'XASSESSIONID',
    cookie: 'holdfast',
    sameSite: 'lax',
  });
  assert.deepEqual(sticky('{ application: SID, cookie: at, sameSite: strict }'), {
    kind: 'application',
    session: 'SID',
    cookie: 'at',
    sameSite: 'strict',
  });
  assert.deepEqual(sticky('{ header: X-User }'), { kind: 'header', header: 'X-User' });
  assert.deepEqual(sticky('address'), { kind: 'address' });
});

test('a certificate can be self-signed, and the log can go to standard output', () => {
  assert.deepEqual(balancer('{ tls: { selfSigned: true } }').tls, {
    certificates: [],
    selfSigned: true,
    minVersion: 'TLSv1.2',
    http2: true,
    redirectFrom: undefined,
    hstsMs: undefined,
  });
  assert.deepEqual(balancer('{ accessLog: { file: "-" } }').accessLog, { file: '-', sample: 1 });
  assert.deepEqual(balancer('{ idempotency: {} }').idempotency, { keepMs: 86_400_000 });
});

test('a cookie that only https carries is fine where a trusted proxy in front ends TLS', () => {
  const { sticky } = balancer(
    '{ sticky: { sameSite: none, cookie: __Secure-a }, trustedProxies: [10.0.0.1] }',
  );
  assert.deepEqual(sticky, { kind: 'cookie', cookie: '__Secure-a', sameSite: 'none' });
});

test('what a good answer of an instance is can be said by status and by body', () => {
  const health = (text: string) =>
    parseConfiguration(`cluster: shop\napp: { command: x, health: ${text} }\n`, 'h.yaml').configuration.app
      .health;
  assert.deepEqual(health('{}').status, [200, 399]);
  assert.deepEqual(health('{ expect: { status: 200 } }').status, [200, 200]);
  assert.deepEqual(health('{ expect: { status: "204" } }').status, [204, 204]);
  assert.deepEqual(health('{ expect: { status: 200-299 } }').status, [200, 299]);
  assert.equal(health('{ expect: { body: "^ok$" } }').body, '^ok$');
});

test('a configuration in force is one that every engine understands', () => {
  const { listen, sticky, trustedProxies, deny, limits, routes, weights, pages } = balancer('{}');
  const options = { listen, sticky, trustedProxies, deny, limits, routes, weights, pages };
  const settings = resolveOptions(options);
  assert.deepEqual(settings.limits, limits);
  assert.deepEqual(settings.sticky, sticky);
});

/** What stands in `balancer`, and the one line that it must be answered with. */
const refusals: readonly [section: string, expected: RegExp][] = [
  ['{ workers: 0 }', /:3:22: balancer.workers: expected a whole number from 1 to 64, found the number 0/],
  ['{ workers: all }', /:3:22: balancer.workers: expected a number of processes .* or auto, found "all"/],
  ['{ tls: {} }', /:3:13: balancer.tls.certificates: expected certificates, or selfSigned: true/],
  ['{ tls: true }', /:3:18: balancer.tls: expected a map, found true/],
  ['{ tls: { certificates: [] } }', /:3:34: .*certificates: expected at least one certificate/],
  [
    '{ tls: { certificates: [{ certificate: a.pem }] } }',
    /:3:35: balancer.tls.certificates\[0\].key: expected the path of a file, found nothing/,
  ],
  [
    '{ tls: { certificates: [{ certificate: a, key: b }], selfSigned: true } }',
    /:3:76: balancer.tls.selfSigned: a self-signed certificate is made instead .* leave out one/,
  ],
  ['{ tls: { selfSigned: true, hsts: 1d } }', /:3:44: balancer.tls.hsts: browsers heed it only under/],
  [
    '{ tls: { selfSigned: true, minVersion: 1.2 } }',
    /:3:50: balancer.tls.minVersion: expected TLSv1.2 or TLSv1.3, found the number 1.2/,
  ],
  [
    '{ listen: "0.0.0.0:80", tls: { selfSigned: true, redirectFrom: "127.0.0.1:80" } }',
    /:3:74: balancer.tls.redirectFrom: expected another address: `listen` takes this one/,
  ],
  ['{ admin: "127.0.0.1:8080" }', /:3:20: balancer.admin: expected another address: `listen` takes this/],
  ['{ sticky: { cookie: "a b" } }', /:3:31: balancer.sticky.cookie: expected the name of a cookie, found/],
  ['{ sticky: { cokie: a } }', /:3:23: balancer.sticky.cokie: unknown key; did you mean "cookie"\?/],
  ['{ sticky: { aplication: A } }', /:3:23: balancer.sticky.aplication: unknown key; .* "application"\?/],
  ['{ sticky: { application: "" } }', /:3:36: balancer.sticky.application: expected the name of a cookie/],
  ['{ sticky: { header: "X:Y" } }', /:3:31: balancer.sticky.header: expected the name of a header, found/],
  [
    '{ sticky: { header: A, cookie: a } }',
    /:3:42: balancer.sticky.cookie: users stay by one thing, and here it is `header`/,
  ],
  [
    '{ sticky: { header: 5 } }',
    /:3:31: balancer.sticky.header: expected the name of a header, found the number/,
  ],
  [
    '{ sticky: { application: A, maxAge: 1h } }',
    /:3:47: balancer.sticky.maxAge: with `application` users stay/,
  ],
  [
    '{ sticky: { application: A, session: B } }',
    /:3:48: balancer.sticky.session: with `application` this is/,
  ],
  ['{ sticky: cookie }', /:3:21: balancer.sticky: expected \{cookie: NAME\}.*or address, found "cookie"/],
  ['{ sticky: adress }', /:3:21: balancer.sticky: expected \{cookie: NAME\}.* did you mean "address"\?/],
  [
    '{ sticky: { application: A, cookie: A } }',
    /:3:36: balancer.sticky.application: expected another name than that of the balancer's own/,
  ],
  ['{ sticky: { session: holdfast } }', /:3:32: balancer.sticky.session: expected another name than/],
  [
    '{ sticky: { sameSite: none } }',
    /:3:33: balancer.sticky.sameSite: browsers refuse .* set `balancer.tls`/,
  ],
  [
    '{ sticky: { cookie: __Host-a } }',
    /:3:31: balancer.sticky.cookie: browsers refuse a cookie of this name/,
  ],
  ['{ sticky: { maxAge: 500d } }', /:3:31: balancer.sticky.maxAge: expected a duration from 1s to 400d/],
  ['{ proxyProtocol: {} }', /:3:13: balancer.proxyProtocol.from: expected from, to or both/],
  ['{ proxyProtocol: { to: v3 } }', /:3:34: balancer.proxyProtocol.to: expected v1 or v2, found "v3"/],
  ['{ proxyProtocol: { from: [] } }', /:3:36: balancer.proxyProtocol.from: expected at least one network/],
  [
    '{ routes: [{ body: 1MB }] }',
    /:3:22: balancer.routes\[0\].path: expected a path that begins with a slash/,
  ],
  ['{ routes: [{ path: "/a?b" }] }', /:3:30: balancer.routes\[0\].path: expected a path without a query/],
  [
    '{ routes: [{ path: /, body: 5 }] }',
    /:3:39: .*body: expected a size with its unit, .* found the number 5/,
  ],
  [
    '{ routes: [{ path: /, body: 2000TB }] }',
    /:3:39: .*body: expected a size from 0B to 1TB, found "2000TB"/,
  ],
  [
    '{ routes: [{ path: /, methods: [post] }] }',
    /:3:43: .*methods\[0\]: expected a method in capital letters/,
  ],
  ['{ routes: [{ path: /, methods: [CONNECT] }] }', /:3:43: .*expected another method: CONNECT is always/],
  [
    '{ routes: [{ path: /a, methods: [GET, PUT] }, { path: /a/b, methods: [PUT] }] }',
    /:3:57: balancer.routes\[1\]: this route is never reached: routes\[0\] before it takes all/,
  ],
  ['{ deny: "^/x" }', /:3:19: balancer.deny: expected a list of regular expressions, found "\^\/x"/],
  [
    '{ deny: ["^/(x"] }',
    /:3:20: balancer.deny\[0\]: expected a regular expression: Unterminated group, found/,
  ],
  ['{ hold: 5 }', /:3:19: balancer.hold: expected a duration with its unit/],
  ['{ limits: { header: 1KB } }', /:3:23: balancer.limits.header: unknown key; did you mean "headers"\?/],
  ['{ limits: { headers: 16kb } }', /:3:32: .*headers: expected a size with its unit, such as 512B, 16KB/],
  [
    '{ limits: { headers: 4KB } }',
    /:3:13: balancer.limits.target: 8KB is more than `headers` \(4KB\), of which it is a part$/,
  ],
  [
    '{ limits: { requestTimeout: 1s } }',
    /:3:39: balancer.limits.requestTimeout: 1s is less than `headersTimeout` \(10s\), which is a part of it$/,
  ],
  [
    '{ limits: { connections: 10, connectionsPerAddress: 20 } }',
    /:3:63: .*connectionsPerAddress: 20 is more than `connections` \(10\), of which it is a part$/,
  ],
  ['{ weights: { shop-3: 2 } }', /:3:32: balancer.weights\.shop-3: "shop-3" is no instance of this cluster/],
  ['{ weights: { shop-1: 0 } }', /:3:32: balancer.weights\.shop-1: expected a whole number from 1 to 100/],
  ['{ pages: { 200: a.html } }', /:3:22: balancer.pages\.200: expected the status of an error page/],
  ['{ pages: { 503: "" } }', /:3:27: balancer.pages\.503: expected the path of a file, found ""/],
  ['{ accessLog: {} }', /:3:13: balancer.accessLog.file: expected the path of a file, or "-"/],
  [
    '{ accessLog: { file: a, sample: 2 } }',
    /:3:43: .*sample: expected a number from 0 to 1, found the number 2/,
  ],
  ['{ idempotency: true }', /:3:26: balancer.idempotency: expected a map, found true/],
  ['{ idempotency: { keep: 1s } }', /:3:34: balancer.idempotency.keep: expected a duration from 1m to 366d/],
  [
    '{ engine: haproxy, idempotency: {} }',
    /:3:43: balancer.idempotency: `engine: haproxy` cannot do this: HAProxy cannot ask the arbiter/,
  ],
  [
    '{ engine: haproxy, limits: { bodyRate: 1KB } }',
    /:3:50: balancer.limits.bodyRate: `engine: haproxy` cannot do this/,
  ],
  [
    '{ engine: haproxy, limits: { buffer: 1MB } }',
    /:3:48: balancer.limits.buffer: `engine: haproxy` cannot do this: HAProxy has one size of buffer/,
  ],
  [
    '{ engine: haproxy, limits: { replayBody: 2MB } }',
    /:3:52: balancer.limits.replayBody: `engine: haproxy` cannot do this: it keeps 1MB of a body at most/,
  ],
  [
    "{ engine: haproxy, deny: ['^/a', '^/[^]b'] }",
    /:3:44: balancer.deny\[1\]: `engine: haproxy` cannot do this: only JavaScript knows/,
  ],
];

for (const [section, expected] of refusals) {
  test(`P10: refused, and says why: balancer: ${section}`, () => {
    const lines = problems(`${minimal}balancer: ${section}\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
  });
}

const healthRefusals: readonly [expect: string, expected: RegExp][] = [
  ['{ status: 99 }', /:2:48: app.health.expect.status: expected a status from 200 to 599, .* the number 99/],
  ['{ status: 299-200 }', /:2:48: app.health.expect.status: expected a status from 200 to 599, or a range/],
  ['{ status: ok }', /:2:48: app.health.expect.status: expected a status from 200 to 599, .*found "ok"/],
  [
    '{ body: "[" }',
    /:2:46: app.health.expect.body: expected a regular expression: Unterminated character class/,
  ],
];

for (const [expect, expected] of healthRefusals) {
  test(`P10: refused, and says why: app.health.expect: ${expect}`, () => {
    const lines = problems(`cluster: shop\napp: { command: x, health: { expect: ${expect} } }\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
  });
}

test('the engine HAProxy accepts the defaults: only what is written is a wish', () => {
  assert.equal(balancer('{ engine: haproxy }').engine, 'haproxy');
});
