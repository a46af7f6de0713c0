import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RouteOptions } from './engine.ts';
import { isDenied, routeFor } from './path-rules.ts';

const deny = [/^\/\w+-doc\//i];

const spellings: readonly [what: string, targets: readonly string[]][] = [
  ['as it is', ['/api-doc/', '/api-doc/x?a=b', '/API-Doc/x']],
  ['percent-encoded', ['/api%2ddoc/', '/%61pi-doc/', '/api-doc%2f', '/%61%70%69%2D%64%6F%63%2F']],
  ['percent-encoded twice and more often', ['/api%252ddoc/', '/api-doc%252Fx', '/api%2525252ddoc/']],
  ['with dot segments', ['/./api-doc/', '/x/../api-doc/', '/../../api-doc/', '/x/y/.././../api-doc/']],
  [
    'with encoded dot segments',
    ['/x/%2e%2e/api-doc/', '/%2e/api-doc/', '/x/.%2E/api-doc/', '/x/%252e./api-doc/'],
  ],
  [
    'with dot segments that count before slashes are decoded',
    ['/a%2fb/../api-doc/', '/a%2fb/%2e%2e/api-doc/'],
  ],
  [
    'with slashes that stay encoded',
    ['/x%2fy/..%3b/api-doc/', '/x%2Fy/..%5capi-doc/', '/x%2fy/%252e./api-doc/'],
  ],
  ['with doubled slashes', ['//api-doc/', '///api-doc//x', '/x//../../api-doc/', '/x//../api-doc/']],
  [
    'with backslashes',
    ['\\api-doc\\', '/x\\..\\api-doc/', '/api-doc%5cx', '/x/..%5capi-doc/', '/%5capi-doc/'],
  ],
  [
    'with parameters',
    ['/api-doc;v=1/', '/;/api-doc/', '/x/..;/api-doc/', '/x/..;a=b/api-doc;/', '/api-doc%3ba/'],
  ],
  ['with a mark in front of what counts', ['/x%3f/../api-doc/', '/x#/../api-doc/', '/%23/../api-doc/']],
  [
    'with names that Windows reads otherwise',
    ['/api-doc./', '/api-doc%20/', '/api-doc. ./', '/x/..%20/../api-doc/'],
  ],
  ['in the escapes of Windows', ['/api%u002ddoc/', '/x/%u002e%u002e/api-doc/']],
  ['in overlong UTF-8', ['/api-doc%c0%af', '/x/%c0%ae%c0%ae/api-doc/', '/api%c0%addoc/']],
];

for (const [what, targets] of spellings) {
  test(`a denied path is denied ${what}`, () => {
    for (const target of targets) assert.equal(isDenied(target, deny), true, target);
  });
}

test('an expression that looks at the end of the path is not led astray by what is cut off', () => {
  const exact = [/^\/admin$/];
  for (const target of [
    '/admin',
    '/admin?x',
    '/admin%3Fx',
    '/admin#x',
    '/admin%23',
    '/admin%00.png',
    '/admin;x=1',
  ]) {
    assert.equal(isDenied(target, exact), true, target);
  }
  assert.equal(isDenied('/admins', exact), false);
});

test('an expression with letters beyond ASCII meets them as UTF-8, as latin1, escaped or not', () => {
  const german = [/^\/größe$/i];
  const asBytes = Buffer.from('/größe').toString('latin1');
  for (const target of ['/gr%C3%B6%C3%9Fe', '/GR%C3%96%C3%9Fe', '/gr%F6%DFe', asBytes, '/größe']) {
    assert.equal(isDenied(target, german), true, target);
  }
});

test('case is as the expression says', () => {
  assert.equal(isDenied('/ADMIN/', [/^\/admin\//]), false);
  assert.equal(isDenied('/ADMIN/', [/^\/admin\//i]), true);
});

test('an expression that remembers where it was is none the less asked from the beginning', () => {
  const global = [/doc/g];
  for (let i = 0; i < 3; i++) assert.equal(isDenied('/api-doc/', global), true);
});

test('other paths are not denied, however odd they are', () => {
  const targets = [
    '/',
    '*',
    '/docs/api',
    '/x?next=/api-doc/',
    '/x?../api-doc/',
    '/a%20b/%25/100%25%20sure.pdf',
    '/a;v=1/b;w=2//c/./d/../e.',
    '/%',
    '/%zz/%2',
    '/caf%C3%A9/%F6/\xff',
    '/.well-known/acme-challenge/x',
    '/static/app.min.js',
  ];
  for (const target of targets) assert.equal(isDenied(target, deny), false, target);
  assert.equal(isDenied('/api-doc/', []), false);
});

test('a path with no end of readings is denied, and soon', () => {
  const parts = ['/..;', '/%2e%2e;a=b', '/%252e//\\..%5c;x%3b.', '/a.%20', '%2f', '/%c0%af'];
  const target = parts.join('').repeat(200).slice(0, 8_000);
  const startedMs = performance.now();
  assert.equal(isDenied(target, deny), true);
  assert.ok(performance.now() - startedMs < 500);
  assert.equal(isDenied(`/${'x%20y/'.repeat(1_300)}`, deny), false);
});

/** How some well-known readers of paths read one. A reader that refuses it returns undefined. */
const readers: Readonly<Record<string, (path: string) => string | undefined>> = {
  browser: (path) => new URL(path.replace(/^[\\/]+/, '/'), 'http://host').pathname,
  browserThenDecoded: (path) => decode(new URL(path.replace(/^[\\/]+/, '/'), 'http://host').pathname),
  decodedThenNormal: (path) => posix.normalize(decode(path) ?? '/'),
  normalThenDecoded: (path) => decode(posix.normalize(path)),
  decodedTwice: (path) => posix.normalize(decode(decode(path) ?? '/') ?? '/'),
  servlet: (path) => posix.normalize((decode(path.replace(/;[^/]*/g, '')) ?? '/').replaceAll('\\', '/')),
  servletWithEncodedSlashes: (path) =>
    posix.normalize(decode(path.replace(/;[^/]*/g, '').replace(/%(2f|5c)/gi, '%25$1')) ?? '/'),
  plainDecoded: (path) => decode(path),
  twoProxies: (path) => (decode(posix.normalize(decode(path) ?? '/')) ?? '/').replace(/[?#].*/, ''),
};

function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined; // it refuses the request
  }
}

test('no reader finds a denied path behind a target that is not denied', () => {
  const pieces = [
    '/',
    '/',
    '\\',
    '.',
    '..',
    'x',
    'api-doc',
    'api-doc',
    ';',
    ';v=1',
    '%2f',
    '%5c',
    '%2e',
    '%3b',
    '%25',
  ];
  const rare = [
    '%252f',
    '%252e',
    '%2',
    '#',
    '%3f',
    '%00',
    ' ',
    '%20',
    '-doc',
    'api',
    '%61pi',
    '%2ddoc',
    '%2525',
  ];
  const target = fc
    .array(fc.constantFrom(...pieces, ...pieces, ...rare), { minLength: 1, maxLength: 12 })
    .map((parts) => `/${parts.join('')}`);
  let found = 0;
  fc.assert(
    fc.property(target, (text) => {
      for (const [name, reader] of Object.entries(readers)) {
        const path = reader(text);
        if (path === undefined || !/^\/\w+-doc\//i.test(path)) continue;
        found++;
        assert.equal(isDenied(text, deny), true, `${name} reads ${text} as ${path}`);
      }
    }),
    { numRuns: 20_000 },
  );
  assert.ok(found > 1_000, `only ${found} readings were denied paths: the test shows nothing`);
});

test('no spelling made of a denied path step by step slips through', () => {
  const escaped = (letter: string) => `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`;
  type Disguise = (path: string, at: number) => string;
  const atSlash = (path: string, at: number, put: (slash: string) => string): string => {
    const slashes = [...path.matchAll(/\//g)].map((match) => match.index);
    const place = slashes[at % slashes.length];
    if (place === undefined) return path;
    return path.slice(0, place) + put('/') + path.slice(place + 1);
  };
  const disguises: readonly Disguise[] = [
    (path, at) => {
      const place = 1 + (at % (path.length - 1));
      return path.slice(0, place) + escaped(path[place] as string) + path.slice(place + 1);
    },
    (path, at) => atSlash(path, at, () => '//'),
    (path, at) => atSlash(path, at, () => '/./'),
    (path, at) => atSlash(path, at, () => '/x/../'),
    (path, at) => atSlash(path, at, () => ';p=1/'),
    (path, at) => atSlash(path, at, () => '\\'),
    (path) => path.toUpperCase(),
    (path) => `${path}?a=/b`,
  ];
  const step = fc.tuple(fc.constantFrom(...disguises), fc.nat({ max: 1_000 }));
  const base = fc.constantFrom('/api-doc/', '/rest-doc/index.html', '/x_1-doc/a/b');
  fc.assert(
    fc.property(base, fc.array(step, { maxLength: 6 }), (path, made) => {
      let target: string = path;
      for (const [disguise, at] of made) target = disguise(target, at);
      assert.equal(isDenied(target, deny), true, target);
    }),
    { numRuns: 20_000 },
  );
});

const search: RouteOptions = { path: '/api/search', repeatable: true };
const upload: RouteOptions = { path: '/upload/', methods: ['POST', 'PUT'], bodyBytes: 1_000_000 };
const everything: RouteOptions = { path: '/' };

test('a route fits by whole segments', () => {
  const routes = [search, upload];
  for (const target of [
    '/api/search',
    '/api/search/',
    '/api/search/x',
    '/api/search?q=1',
    '/api/search/a%20b',
  ]) {
    assert.equal(routeFor(routes, 'GET', target), search, target);
  }
  for (const target of ['/api/searches', '/api', '/API/search', '/x/api/search', '/', '*', '/?/api/search']) {
    assert.equal(routeFor(routes, 'GET', target), undefined, target);
  }
  assert.equal(routeFor(routes, 'POST', '/upload'), upload);
});

test('a route fits for its methods only', () => {
  assert.equal(routeFor([upload], 'PUT', '/upload/x'), upload);
  assert.equal(routeFor([upload], 'GET', '/upload/x'), undefined);
  assert.equal(routeFor([search], 'POST', '/api/search'), search);
});

test('the first route that fits counts', () => {
  assert.equal(routeFor([everything, search], 'GET', '/api/search'), everything);
  assert.equal(routeFor([search, everything], 'GET', '/api/search'), search);
  assert.equal(routeFor([search, everything], 'GET', '/api'), everything);
});

test('what the standard calls the same path has the same route', () => {
  assert.equal(routeFor([search], 'GET', '/%61pi/%73earch'), search);
  const umlaut: RouteOptions = { path: '/größe' };
  assert.equal(routeFor([umlaut], 'GET', '/gr%C3%B6%C3%9Fe/x'), umlaut);
});

test('P7: a path that a server could read as one outside the route does not have it', () => {
  const odd = [
    '/api/search/../pay',
    '/api/search/%2e%2e/pay',
    '/api/search/..%2fpay',
    '/api/search/..%252fpay',
    '/api/search/..;/pay',
    '/api/search\\..\\pay',
    '/api/search/x/..\\..\\pay',
    '/x/../api/search',
    '//api/search',
    '/api/search%2f..%2fpay',
    '/api%u002fsearch',
    '/api/search;x',
  ];
  for (const target of odd) {
    assert.equal(routeFor([search], 'POST', target), undefined, target);
    assert.equal(routeFor([search, everything], 'POST', target), everything, target);
  }
  assert.equal(routeFor([search], 'POST', '/api/search/x;v=1/a%2fb//c'), search);
});
