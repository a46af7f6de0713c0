import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { findConfiguration, loadConfiguration, parseConfiguration } from './load.ts';

const minimal = 'cluster: shop\napp: { command: node server.js }\n';

/** The lines of the error, without the heading. */
function problems(text: string): string[] {
  try {
    parseConfiguration(text, 'holdfast.yaml');
  } catch (error) {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.equal(error.code, 'CONFIGURATION_INVALID');
    return error.message.split('\n').slice(1);
  }
  return [];
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-settings-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

test('a file with only what is required gets defaults for everything else', () => {
  const { configuration } = parseConfiguration(minimal, '/srv/shop/holdfast.yaml');
  const { balancer, ...others } = configuration;
  assert.deepEqual(balancer.listen, { host: '0.0.0.0', port: 8080 });
  assert.deepEqual(others, {
    cluster: 'shop',
    database: undefined,
    app: {
      platform: 'process',
      command: 'node server.js',
      workingDirectory: '/srv/shop',
      instances: [
        { name: 'shop-1', url: undefined },
        { name: 'shop-2', url: undefined },
      ],
      port: undefined,
      url: undefined,
      health: {
        path: '/',
        status: [200, 399],
        body: undefined,
        everyMs: 1_000,
        timeoutMs: 500,
        unhealthyAfter: 2,
        healthyAfter: 2,
        startWithinMs: 60_000,
        restartAfterMs: 30_000,
        requireLease: false,
        listen: { host: '127.0.0.1', port: 0 },
      },
      stop: { drainMs: 30_000, killMs: 10_000 },
      restart: {
        firstPauseMs: 500,
        longestPauseMs: 30_000,
        healthyResetMs: 30_000,
        loopExits: 5,
        loopWithinMs: 60_000,
      },
      environment: {},
      settings: {},
      mendix: undefined,
    },
    sessions: { idleMs: 1_800_000, absoluteMs: 604_800_000, away: 'readonly', encryptionKey: undefined },
    files: undefined,
    lease: { ttlMs: 5_000, heartbeatMs: 1_000 },
    events: [],
    ledger: { keepMs: 2_592_000_000 },
    alarm: undefined,
    fence: undefined,
  });
});

test('every section is read, and comes out with units in its names', () => {
  const { configuration } = parseConfiguration(
    `
cluster: shop
database: { url: "postgres://holdfast@db1:5432,db2/shop?sslmode=verify-full", password: { file: /run/secrets/db } }
app:
  platform: process
  command: node server.js
  workingDirectory: server
  instances: [blue, green]
  port: 3000
  url: https://shop.example.com
  health: { path: /health, every: 2s, timeout: 1s, restartAfter: never, requireLease: true, listen: "[::1]:9000" }
  stop: { drain: 1m, kill: 5s }
  environment: { LOG_LEVEL: info, WORKERS: 4, VERBOSE: true, TOKEN: { env: SHOP_TOKEN } }
  settings: { "com.example.Setting": [1, two, { three: null }] }
balancer: { listen: ":80", engine: haproxy, sticky: { cookie: who }, trustedProxies: [10.0.0.0/8, "::1"], hold: 500ms }
sessions: { idle: 10m, absolute: 1d, away: defer, encryptionKey: { env: KEY } }
files: { s3: { bucket: shop-files, endpoint: "http://minio:9000", forcePathStyle: true } }
lease: { ttl: 10s, heartbeat: 2s }
events:
  nightly: { schedule: "0 2 * * *", timezone: Europe/Amsterdam, run: { post: /jobs/invoices }, retry: { times: 3 } }
  often: { every: 15m, run: { command: ./report }, on: { prefer: green }, overlap: delay, missed: { all: { count: 5, age: 2h } }, lost: abandon, payload: { a: [1] }, limit: 1 }
  week: { weekly: { days: [monday, friday], at: "02:30" }, run: { post: /week }, on: each, missed: all }
  month-end: { monthly: { day: last }, run: gate, missed: none }
  second-tuesday: { monthly: { weekday: tuesday, which: second, at: "9:00:30" }, run: gate }
  leap: { yearly: { month: february, day: 29 }, run: gate }
  scheduler: { on: designated, appointed: { post: /scheduler/on } }
ledger: { keep: 90d }
alarm: { on: [missed], command: ./alarm }
fence: { command: "./power-off" }
`,
    '/srv/shop/holdfast.yaml',
  );
  const { app, balancer, sessions, files, lease, events } = configuration;
  assert.deepEqual(configuration.database, {
    url: 'postgres://holdfast@db1:5432,db2/shop?sslmode=verify-full',
    password: { file: '/run/secrets/db' },
  });
  assert.equal(app.workingDirectory, '/srv/shop/server');
  assert.deepEqual(
    app.instances.map(({ name }) => name),
    ['blue', 'green'],
  );
  assert.equal(app.health.restartAfterMs, Number.POSITIVE_INFINITY);
  assert.deepEqual(app.health.listen, { host: '::1', port: 9000 });
  assert.deepEqual(app.environment, {
    LOG_LEVEL: 'info',
    WORKERS: '4',
    VERBOSE: 'true',
    TOKEN: { env: 'SHOP_TOKEN' },
  });
  assert.deepEqual(app.settings, { 'com.example.Setting': [1, 'two', { three: null }] });
  assert.deepEqual(balancer.listen, { host: '0.0.0.0', port: 80 });
  assert.equal(balancer.limits.holdMs, 500);
  assert.equal(sessions.away, 'defer');
  assert.equal(files?.kind, 's3');
  assert.deepEqual(lease, { ttlMs: 10_000, heartbeatMs: 2_000 });
  const midnight = { hour: 0, minute: 0, second: 0 };
  assert.deepEqual(
    events.map(({ name, calendar }) => [name, calendar?.schedule]),
    [
      ['leap', { kind: 'yearly', month: 2, day: 29, at: midnight }],
      ['month-end', { kind: 'monthly', day: 'last', at: midnight }],
      ['nightly', { kind: 'cron', cron: '0 2 * * *' }],
      ['often', { kind: 'every', everyMs: 900_000 }],
      ['scheduler', undefined],
      [
        'second-tuesday',
        { kind: 'monthlyWeekday', weekday: 2, which: 'second', at: { hour: 9, minute: 0, second: 30 } },
      ],
      ['week', { kind: 'weekly', weekdays: [1, 5], at: { hour: 2, minute: 30, second: 0 } }],
    ],
  );
  const often = events.find(({ name }) => name === 'often');
  assert.deepEqual(often, {
    name: 'often',
    calendar: {
      schedule: { kind: 'every', everyMs: 900_000 },
      timezone: 'UTC',
      dst: { skipped: 'after', repeated: undefined },
      fromMs: undefined,
      untilMs: undefined,
    },
    run: { kind: 'command', command: './report' },
    on: { kind: 'prefer', instance: 'green' },
    overlap: 'delay',
    missed: { kind: 'all', count: 5, ageMs: 7_200_000 },
    lost: { reruns: 0 },
    timeoutMs: 600_000,
    retry: { times: 0, backoffMs: 30_000, maxBackoffMs: 3_600_000 },
    payload: { a: [1] },
    limit: 1,
    appointed: undefined,
    dismissed: undefined,
  });
});

test('P10: every problem is named at once, with file, line, column, what was expected and what was found', () => {
  assert.deepEqual(
    problems(`cluster: Shop
app:
  comand: node server.js
  health: { every: 5 }
balancer:
  engine: haprxy
lease: { heartbeat: 3s }
ttl: 5s
`),
    [
      'holdfast.yaml:1:10: cluster: expected a name of lower-case letters, digits and single hyphens, at most 63 characters, found "Shop"',
      'holdfast.yaml:3:3: app.comand: unknown key; did you mean "command"?',
      'holdfast.yaml:4:20: app.health.every: expected a duration with its unit, such as 500ms, 5s, 10m, 2h or 7d, found the number 5',
      'holdfast.yaml:6:11: balancer.engine: expected embedded or haproxy, found "haprxy"; did you mean "haproxy"?',
      'holdfast.yaml:7:21: lease.heartbeat: 3s is more than a third of ttl (5s): two heartbeats must be able to fail before the lease runs out',
      'holdfast.yaml:8:1: ttl: unknown key; it belongs to lease.ttl; known here: cluster, database, app, balancer, sessions, files, lease, events, ledger, alarm, fence',
    ],
  );
});

/** What follows the minimal file, and the one line that it must be answered with. */
const refusals: readonly [addition: string, expected: RegExp][] = [
  ['sessions:', /:3:10: sessions: expected a map, found nothing \(the key has no value\)$/],
  ['sessions: { idle: 8d }', /:3:\d+: sessions.absolute: expected a duration that is at least `idle`/],
  [
    'balancer: { trustedProxies: [10.0.0.0/33] }',
    /:3:30: balancer.trustedProxies\[0\]: expected an address or a network/,
  ],
  [
    'balancer: { listen: 8080 }',
    /:3:21: balancer.listen: expected an address to listen on.*found the number 8080/,
  ],
  ['balancer: { listen: "1.2.3:80" }', /balancer.listen: expected an address to listen on.*found "1.2.3:80"/],
  ['balancer: { listen: "0.0.0.0:70000" }', /balancer.listen: expected an address to listen on/],
  ['files: { s4: { bucket: b } }', /:3:10: files.s4: unknown key; did you mean "s3"\?/],
  ['database: mysql://db/shop', /:3:11: database: expected a PostgreSQL address/],
  [
    'database: { url: "postgres://u:p@db/x", password: { env: P } }',
    /database.url: expected an address with a user and without a password/,
  ],
  ['lease: { ttl: 500ms }', /lease.ttl: expected a duration from 1s to 1h, found "500ms"/],
];

for (const [addition, expected] of refusals) {
  test(`P10: refused, and says why: ${addition}`, () => {
    const lines = problems(`${minimal}${addition}\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
  });
}

const appRefusals: readonly [app: string, expected: RegExp][] = [
  ['{}', /:2:1: app.command: expected the command that starts an instance/],
  [
    '{ command: x, instances: 0 }',
    /app.instances: expected a whole number from 1 to 100, found the number 0/,
  ],
  [
    '{ command: x, instances: 5000000000 }',
    /app.instances: expected a whole number from 1 to 100, found the number 5000000000/,
  ],
  [
    '{ command: x, instances: three }',
    /app.instances: expected a number of instances, or a list of their names/,
  ],
  ['{ command: x, instances: [a, a] }', /:2:35: app.instances\[1\]: the instance "a" stands here twice/],
  [
    '{ command: x, instances: [{ name: a, url: "http://h:1" }] }',
    /only instances of `platform: external` have a url/,
  ],
  ['{ platform: external, instances: [a] }', /app.instances\[0\]: expected \{name, url\}/],
  ['{ platform: external, instances: 2 }', /app.instances: expected a list of \{name, url\}/],
  [
    '{ platform: external, instances: [{ name: a, url: "https://h" }] }',
    /instances\[0\].url: expected the address of an instance/,
  ],
  [
    '{ platform: external, command: x, instances: [{ name: a, url: "http://h" }] }',
    /there is nothing to start/,
  ],
  ['{ command: x, url: "https://user:hunter2@h" }', /app.url: expected the address that users open/],
  ['{ command: x, environment: { PORT: 1 } }', /:2:35: app.environment.PORT: expected another name/],
  ['{ command: x, environment: { HOLDFAST_X: 1 } }', /expected another name/],
  [
    '{ command: x, environment: { A: [1] } }',
    /environment.A: expected a text, a number, true or false, or a reference/,
  ],
  [
    '{ command: x, restart: { backoff: 1m } }',
    /restart.maxBackoff: expected a duration that is at least `backoff`/,
  ],
];

for (const [app, expected] of appRefusals) {
  test(`P10: refused, and says why: app: ${app}`, () => {
    const lines = problems(`cluster: shop\napp: ${app}\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
    assert.ok(!lines[0]?.includes('hunter2'));
  });
}

const brokenFiles: readonly [what: string, text: string, expected: RegExp][] = [
  ['an empty file', '', /:1:1: the file is empty/],
  ['a file of comments', '# nothing\n', /the file is empty/],
  ['a list', '[1]', /:1:1: the file: expected a map with the keys cluster and app, found a list/],
  ['a tab as indentation', 'app:\n\tcommand: x\n', /:2:1: Tabs are not allowed as indentation/],
  ['a quote that is not closed', 'cluster: "shop\n', /:2:1: Missing closing "quote/],
  ['a key that stands twice', `${minimal}cluster: two\n`, /:3:1: the key "cluster" stands twice in this map/],
  ['two documents', `${minimal}---\n${minimal}`, /:3:1: expected one document/],
  ['an unknown tag', 'cluster: !name shop\n', /:1:10: Unresolved tag: !name/],
  ['an alias without anchor', 'cluster: *shop\n', /:1:10: the alias \*shop has no anchor/],
  [
    'an alias that contains itself',
    'cluster: &shop [*shop]\n',
    /:1:17: cluster\[0\]: this alias contains itself/,
  ],
  ['a map as key', '? { a: 1 }\n: b\n', /expected a plain key/],
  ['the YAML of old', '%YAML 1.1\n---\ncluster: shop\n', /expected YAML 1.2/],
  ['a number that is none', 'cluster: .nan\n', /:1:10: cluster: expected a finite number, found NaN/],
  ['a NUL in a text', 'cluster: "a\\0"\n', /must not contain the character NUL/],
  ['half a character', 'cluster: "\\ud800"\n', /half a Unicode character/],
  [
    'a key that JavaScript treats apart',
    '__proto__: { cluster: shop }\n',
    /:1:1: __proto__: this key cannot be used/,
  ],
  ['thousands of brackets', '['.repeat(5_000), /nested too deeply|nested more than/],
  [
    'a hundred maps in one another',
    `${'{ a: '.repeat(100)}1${' }'.repeat(100)}`,
    /nested more than 64 levels/,
  ],
  ['more than a megabyte', `# ${'x'.repeat(1_100_000)}`, /larger than 1 MB/],
];

for (const [what, text, expected] of brokenFiles) {
  test(`P10: ${what} is refused with its place`, () => {
    assert.match(problems(text)[0] ?? '', expected);
  });
}

test('P10: aliases that multiply are refused', () => {
  const levels = Array.from({ length: 9 }, (_, level) => {
    const inner = Array.from({ length: 9 }, () => (level === 0 ? 'x' : `*l${level - 1}`)).join(', ');
    return `l${level}: &l${level} [${inner}]`;
  });
  assert.match(problems(levels.join('\n'))[0] ?? '', /Excessive alias count/);
});

test('P10: a hundred thousand problems are reported quickly and not all', () => {
  const text = Array.from({ length: 100_000 }, (_, index) => `k${index}: 1`).join('\n');
  const startMs = performance.now();
  const lines = problems(text);
  assert.ok(lines.length <= 51 && lines.at(-1) === '… and more');
  assert.ok(performance.now() - startMs < 10_000);
});

test('a byte order mark, Windows line ends and an alias are fine', () => {
  const text = `\uFEFFcluster: &name shop\r\napp: { command: node server.js, environment: { NAME: *name } }\r\n`;
  const { configuration } = parseConfiguration(text, 'holdfast.yaml');
  assert.deepEqual(configuration.app.environment, { NAME: 'shop' });
});

test('a value that may be a secret is never repeated in an error', () => {
  const text = `cluster: shop
database: { url: "postgres://db/shop", password: hunter2 }
app: { command: x, url: "https://user:hunter2@shop/?q" }
sessions: { encryptionKey: hunter2 }
files: { s3: { bucket: b, secretAccessKey: hunter2 } }
`;
  const lines = problems(text).join('\n');
  assert.match(lines, /database.password: expected a reference to a secret.*not shown/);
  assert.match(lines, /sessions.encryptionKey: expected a reference to a secret/);
  assert.ok(!lines.includes('hunter2'), lines);
});

test('a missing file is answered with `holdfast init`', async (t) => {
  const folder = await temporaryFolder(t);
  await assert.rejects(loadConfiguration(join(folder, 'holdfast.yaml')), (error: HoldfastError) => {
    assert.equal(error.code, 'CONFIGURATION_MISSING');
    assert.match(error.remedy ?? '', /holdfast init/);
    return true;
  });
  await assert.rejects(loadConfiguration(folder), { code: 'CONFIGURATION_MISSING', message: /is a folder/ });
});

test('a file that is not UTF-8 is refused', async (t) => {
  const path = join(await temporaryFolder(t), 'holdfast.yaml');
  await writeFile(path, Buffer.from('cluster: caf\xe9', 'latin1'));
  await assert.rejects(loadConfiguration(path), { code: 'CONFIGURATION_INVALID', message: /not UTF-8/ });
});

test('the nearest file upwards is found', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'a/b'), { recursive: true });
  await writeFile(join(folder, 'holdfast.yaml'), minimal);
  assert.equal(await findConfiguration(join(folder, 'a/b')), join(folder, 'holdfast.yaml'));
  const loaded = await loadConfiguration(join(folder, 'holdfast.yaml'));
  assert.equal(loaded.configuration.app.workingDirectory, folder);
});
