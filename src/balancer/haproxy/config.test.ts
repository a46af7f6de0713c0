import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { forwardHeaders, parseTrustedProxies } from '../../protocol/forwarded.ts';
import type { EngineOptions } from '../engine.ts';
import { digestIn, renderHaproxyConfig } from './config.ts';
import { droppedHeaders } from './config-forwarded.ts';
import { quoted } from './config-text.ts';
import { connectionLua } from './connection-lua.ts';
import { filesIn } from './place.ts';
import { pagesMap } from './refusal-pages.ts';
import { mapNames, type RuntimeState } from './wanted-state.ts';

const where = { folder: '/run/holdfast', slots: 2 };
const listen = { host: '0.0.0.0', port: 8080 };

const render = (options: Partial<EngineOptions> = {}): string =>
  renderHaproxyConfig({ listen, ...options }, where);

/** The lines of one section, without their indentation. */
function section(config: string, title: string): string[] {
  const lines = config.split('\n');
  const start = lines.indexOf(title);
  assert.ok(start >= 0, `a section "${title}"`);
  const length = lines.slice(start + 1).findIndex((line) => line !== '' && !line.startsWith(' '));
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).map((line) => line.trim());
}

function has(lines: readonly string[], ...wanted: readonly string[]): void {
  for (const line of wanted) assert.ok(lines.includes(line), `${line}\nis not in\n${lines.join('\n')}`);
}

test('what may be repeated is repeated elsewhere, what may not is not, and what never left goes elsewhere in any case', () => {
  const config = render();
  has(
    section(config, 'backend app'),
    'retries 3',
    'option redispatch 1',
    'retry-on conn-failure empty-response 0rtt-rejected',
  );
  has(section(config, 'backend once'), 'option redispatch 1', 'retry-on conn-failure', 'http-reuse never');
  has(section(config, 'backend hop'), 'retries 0', 'http-reuse never', 'option http-server-close');
  has(
    section(config, 'frontend entry'),
    'acl repeatable method GET HEAD OPTIONS TRACE PUT DELETE',
    'use_backend hop if !repeatable',
    'default_backend app',
  );
});

test('checks see an instance that accepts connections and does not answer', () => {
  const health = {
    path: '/ready',
    everyMs: 2_000,
    timeoutMs: 300,
    unhealthyAfter: 3,
    status: [200, 204] as const,
    body: 'UP "ok"',
  };
  const config = render({ health });
  has(section(config, 'defaults'), 'timeout check 300ms');
  const app = section(config, 'backend app');
  has(app, 'http-check expect status 200-204', `http-check expect rstring 'UP "ok"'`);
  assert.match(app.find((line) => line.startsWith('http-check send')) ?? '', / uri '\/ready' /);
  const servers = app.find((line) => line.startsWith('default-server')) ?? '';
  assert.match(servers, / inter 2000ms fastinter 50ms fall 3 rise 2 /);
  has(app, '.if !version_atleast(2.7)', 'default-server on-marked-down shutdown-sessions');
});

test('each slot is a server in each backend, and follows the checks of the one in app', () => {
  const config = render();
  has(
    section(config, 'backend app'),
    'server a1 127.0.0.1:1 id 1001 check disabled',
    'server b1 127.0.0.1:1 id 2001 backup track app/a1',
    'server a2 127.0.0.1:1 id 1002 check disabled',
  );
  has(
    section(config, 'backend once'),
    'server a2 127.0.0.1:1 id 1002 track app/a2',
    'server b2 127.0.0.1:1 id 2002 backup track app/a2',
  );
  has(section(config, 'backend any'), 'server c1 127.0.0.1:1 id 1001 disabled');
  for (const backend of ['app', 'once', 'any']) {
    has(
      section(config, `backend ${backend}`),
      'server waiting unix@/run/holdfast/room.sock id 9999 backup maxconn 1',
    );
  }
});

const last: RuntimeState = {
  servers: new Map([[2, { host: '::1', port: 3000, weight: 0, reserveWeight: 64, listed: true }]]),
  maps: {
    owners: new Map([['secretvalue', '2']]),
    cookies: new Map([['2', 'secretvalue']]),
    names: new Map([['2', 'shop-2']]),
    buckets: new Map(),
    flags: new Map(),
  },
};

test('the last instances stand in the file, for whoever starts it, and do not make it another configuration', () => {
  const config = renderHaproxyConfig({ listen }, where, last);
  has(
    section(config, 'backend app'),
    'server a1 127.0.0.1:1 id 1001 check disabled',
    'server a2 [::1]:3000 id 1002 weight 0 check',
    'server b2 [::1]:3000 id 2002 backup track app/a2',
  );
  has(section(config, 'backend any'), 'server c2 [::1]:3000 id 1002');
  assert.equal(digestIn(config), digestIn(render()));
  assert.match(digestIn(config), /^[0-9a-f]{16}$/);
  assert.notEqual(digestIn(config), digestIn(render({ responseTimeoutMs: 1_000 })));
});

test('neither the name of an instance nor the value of its cookie stands in the configuration', () => {
  const config = renderHaproxyConfig({ listen, accessLog: { file: '-', sample: 1 } }, where, last);
  assert.doesNotMatch(config, /secretvalue|shop-2/);
});

test('the cookie is read, hidden from the instance, and set anew where another one answered', () => {
  const sticky = { kind: 'cookie', cookie: 'seat', maxAgeMs: 60_000, sameSite: 'strict' } as const;
  const config = render({ sticky });
  has(
    section(config, 'frontend entry'),
    'http-request set-var(txn.slot) var(txn.sticky),field(1,.),map(/run/holdfast/owners.map) if { var(txn.sticky) -m found }',
    `http-request replace-header Cookie '^(.*;[[:space:]]*)?seat=[^;]*;?[[:space:]]*(.*)$' '\\1\\2' if { req.fhdr(cookie) -m sub -- 'seat=' }`,
  );
  for (const backend of ['app', 'once']) {
    has(
      section(config, `backend ${backend}`),
      'use-server a%[var(txn.slot)] if { var(txn.slot) -m found }',
      'http-response add-header Set-Cookie "seat=%[var(txn.served),map(/run/holdfast/cookies.map)].%[var(txn.user)]; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure" if !{ var(txn.home) -m found } { var(txn.proto) -m str https }',
    );
  }
});

test('by header and by address no cookie is touched', () => {
  for (const sticky of [{ kind: 'address' }, { kind: 'header', header: 'X-Tenant' }] as const) {
    const config = render({ sticky });
    assert.doesNotMatch(config, /set-cookie "|owners\.map/i);
    has(
      section(config, 'backend app'),
      'use-server a%[var(txn.order),field(1,:)] if { var(txn.order),field(1,:) -m found }',
    );
  }
});

test('a route has its own time and its own limit, and is repeatable only where it says so', () => {
  const routes = [
    { path: '/search/', methods: ['POST'], repeatable: true },
    { path: '/upload', bodyBytes: 5_000_000, responseTimeoutMs: 90_000 },
  ];
  const config = render({ routes, limits: { bodyBytes: 1_000 } });
  has(
    section(config, 'frontend entry'),
    "http-request set-var(txn.route) int(0) if !{ var(txn.route) -m found } { method 'POST' } { var(txn.path) -m beg '/search/' }",
    'acl repeatable var(txn.route) -m int 0',
  );
  const refusals = section(config, 'frontend entry').filter((line) =>
    /^http-request .*status 41[13] /.test(line),
  );
  assert.deepEqual(
    refusals.map((line) => line.slice(line.lastIndexOf(' if ') + 4)),
    [
      '{ req.body_size gt 1000 } { var(txn.route) -m int 0 }',
      '{ req.fhdr(transfer-encoding) -m found } { var(txn.route) -m int 1 }',
      '{ req.body_size gt 5000000 } { var(txn.route) -m int 1 }',
      '{ req.body_size gt 1000 } !{ var(txn.route) -m found }',
    ],
  );
  has(
    section(config, 'backend once'),
    'http-request set-timeout server 90000ms if { var(txn.route) -m int 1 }',
  );
});

test('TLS: several certificates, HTTP/2 where it is wanted, redirect and HSTS', () => {
  const tls = {
    certificates: [],
    http2: true,
    minVersion: 'TLSv1.3',
    redirectFrom: { host: '0.0.0.0', port: 8081 },
    hstsMs: 86_400_000,
  } as const;
  const config = render({ tls });
  has(
    section(config, 'frontend entry'),
    'bind 0.0.0.0:8080 ssl crt-list /run/holdfast/certificates.list alpn h2,http/1.1',
    'http-after-response set-header Strict-Transport-Security max-age=86400 if !{ res.hdr(strict-transport-security) -m found }',
  );
  has(
    section(config, 'frontend redirect'),
    'bind 0.0.0.0:8081',
    'http-request redirect code 308 location "https://%[req.fhdr(host),host_only]:8080%[pathq]"',
  );
  assert.match(section(config, 'global').join('\n'), /ssl-min-ver TLSv1\.3/);
  assert.doesNotMatch(render(), /\bssl\b/);
});

test('the PROXY protocol in and out, checks included', () => {
  const config = render({ proxyProtocol: { from: ['10.0.0.0/8', '::1'], to: 'v2' } });
  has(
    section(config, 'frontend entry'),
    'tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 ::1 }',
  );
  assert.match(section(config, 'backend any').join('\n'), /default-server .*send-proxy-v2 check-send-proxy/);
});

test('the headers that are dropped are those that the embedded engine drops', () => {
  const names = [
    ...['forwarded', 'x-real-ip', 'x_real_ip', 'x-forwarded-for', 'x_forwarded_for', 'x-forwarded-anything'],
    ...['x-client-ip', 'x-cluster-client-ip', 'x-original-forwarded-for', 'x-original-host', 'x-remote-addr'],
    ...['x-remote-ip', 'x-scheme', 'x-url-scheme', 'front-end-https', 'true-client-ip', 'cf-connecting-ip'],
    ...[
      'fastly-client-ip',
      'proxy',
      'keep-alive',
      'te',
      'trailer',
      'proxy-authorization',
      'proxy-connection',
    ],
    ...[
      'host',
      'cookie',
      'accept',
      'authorization',
      'x-forward',
      'proxy-status',
      'x-real',
      'x-requested-with',
      'tee',
    ],
  ];
  const pattern = new RegExp(droppedHeaders);
  const { trusted } = parseTrustedProxies([]);
  for (const name of names) {
    const facts = { peerAddress: '203.0.113.9', encrypted: false, host: 'a', trusted };
    const passes = forwardHeaders([name, 'x'], facts).passed.length > 0;
    assert.equal(pattern.test(name), !passes, name);
  }
});

test('what we did not write ourselves stands for itself in the file', () => {
  assert.equal(quoted(`it's "$HOME" # no \\comment`), `'it'\\''s "$HOME" # no \\comment'`);
});

const binary = process.env.HAPROXY ?? 'haproxy';
const skip = spawnSync(binary, ['-v']).status === 0 ? false : 'there is no haproxy on this machine';

const token = fc.string({ unit: fc.constantFrom(...`abZ09!#$%&'*+.^_\`|~-`), minLength: 1, maxLength: 12 });
const path = fc
  .string({ unit: fc.constantFrom(...`abz/_- '"\\#$%.{}`), maxLength: 12 })
  .map((text) => `/${text}`);
const anyOptions: fc.Arbitrary<EngineOptions> = fc.record({
  listen: fc.constantFrom(
    { host: '127.0.0.1', port: 65_000 },
    { host: '::1', port: 65_000 },
    { host: '::', port: 65_000 },
  ),
  sticky: fc.oneof(
    fc.record({ kind: fc.constant('cookie' as const), cookie: token, session: token }),
    fc.record({ kind: fc.constant('application' as const), cookie: token, session: token }),
    fc.record({ kind: fc.constant('header' as const), header: fc.constantFrom('X-Tenant', 'x_tenant') }),
    fc.constant({ kind: 'address' as const }),
  ),
  trustedProxies: fc.constantFrom([], ['10.0.0.0/8', 'fd00::/8', '192.0.2.1']),
  proxyProtocol: fc.constantFrom({}, { from: ['127.0.0.1'] }, { from: [], to: 'v1' as const }),
  deny: fc.constantFrom([], ['-x'], [`^/it's "\\$secret" # [a-z]{2,3}$`, '^/\\w+-doc/']),
  routes: fc.array(
    fc.record({
      path,
      repeatable: fc.boolean(),
      bodyBytes: fc.constantFrom(10, 10_000_000),
      responseTimeoutMs: fc.constantFrom(1, 1_000),
    }),
    { maxLength: 2 },
  ),
  health: fc.record({ path, body: fc.constantFrom('^ok$', `it's "fine"`) }),
  limits: fc.constantFrom(
    {},
    { connectionsPerAddress: 3, requestsPerInstance: 2, bodyBytes: 1_000, holdMs: 0, replayBodyBytes: 0 },
    { connections: 1, headerCount: 1, headerBytes: 100, bodyBytes: 10_000_000_000 },
  ),
  slowStartMs: fc.constantFrom(0, 500),
  accessLog: fc.constantFrom({ file: '-', sample: 1 }, { file: '-', sample: 0.25 }, { file: '-', sample: 0 }),
});

test('HAProxy accepts the configuration of whatever options there are', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-'));
  t.after(() => rm(folder, { recursive: true }));
  const files = filesIn(folder);
  await writeFile(files.lua, connectionLua);
  await writeFile(files.pages, pagesMap({}));
  for (const map of mapNames) await writeFile(files[map], '');
  await fc.assert(
    fc.asyncProperty(anyOptions, async (options) => {
      await writeFile(files.config, renderHaproxyConfig(options, { folder, slots: 2 }));
      const { status, stdout, stderr } = spawnSync(binary, ['-c', '-f', files.config], { encoding: 'utf8' });
      const complaints = `${stdout}${stderr}`.split('\n').filter((line) => /ALERT|WARNING/.test(line));
      assert.deepEqual([status, complaints], [0, []]);
    }),
    { numRuns: 25 },
  );
});
