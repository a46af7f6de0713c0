import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { HoldfastError } from '../support/errors.ts';
import { silentLog } from '../support/log.ts';
import { type AccessEntry, openAccessLog } from './access-log.ts';

const entry: AccessEntry = {
  requestId: '0af7651916cd43dd8448eb211c80319c',
  client: '203.0.113.7',
  method: 'GET',
  host: 'shop.example.com',
  target: '/cart/7',
  protocol: 'HTTP/1.1',
  tls: 'TLSv1.3',
  status: 200,
  bytesIn: 0,
  bytesOut: 5_120,
  durationMs: 12.3456,
  instance: 'shop-1',
  attempts: 1,
  replayed: false,
  refusedBecause: undefined,
};

const deps = { random: Math.random, wallMs: () => Date.UTC(2025, 0, 2, 3, 4, 5, 6), log: silentLog };

async function written(t: TestContext, entries: readonly AccessEntry[]): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-access-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'access.log');
  const log = openAccessLog({ file, sample: 1 }, deps);
  for (const each of entries) log.write(each);
  await log.close();
  assert.equal(log.droppedLines, 0);
  return (await readFile(file, 'utf8')).split('\n').slice(0, -1);
}

test('a request is a line of JSON', async (t) => {
  const refused = {
    ...entry,
    status: 503,
    instance: undefined,
    tls: undefined,
    refusedBecause: 'no instance',
  };
  const lines = await written(t, [entry, refused]);
  assert.deepEqual(JSON.parse(lines[0] ?? ''), {
    time: '2025-01-02T03:04:05.006Z',
    requestId: '0af7651916cd43dd8448eb211c80319c',
    client: '203.0.113.7',
    method: 'GET',
    host: 'shop.example.com',
    path: '/cart/7',
    protocol: 'HTTP/1.1',
    tls: 'TLSv1.3',
    status: 200,
    bytesIn: 0,
    bytesOut: 5_120,
    durationMs: 12.3,
    instance: 'shop-1',
    attempts: 1,
    replayed: false,
  });
  const second = JSON.parse(lines[1] ?? '') as Record<string, unknown>;
  assert.equal(second.refusedBecause, 'no instance');
  assert.ok(!('instance' in second) && !('tls' in second));
});

test('no secret of a target gets into the log', async (t) => {
  const cases: [target: string, path: string | undefined][] = [
    ['/reset?token=SECRET', '/reset'],
    ['/reset?', '/reset'],
    ['/callback#access_token=SECRET', '/callback'],
    ['/cart;jsessionid=SECRET/7;x=SECRET?y=SECRET', '/cart/7'],
    ['/cart;jsessionid=SECRET', '/cart'],
    ['/reset%3Ftoken=SECRET', '/reset'],
    ['/cart%3bjsessionid=SECRET/7', '/cart/7'],
    ['/callback%23access_token=SECRET', '/callback'],
    ['/caf%C3%A9/a%20b', '/caf%C3%A9/a%20b'],
    ['http://user:SECRET@host/path?SECRET', '/path'],
    ['http://user:SECRET@host', undefined],
    ['user:SECRET@host:443', undefined],
    ['?SECRET', undefined],
    ['', undefined],
    ['*', '*'],
  ];
  const lines = await written(
    t,
    cases.map(([target]) => ({ ...entry, target })),
  );
  assert.doesNotMatch(lines.join('\n'), /SECRET/);
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { path?: string }).path),
    cases.map(([, path]) => path),
  );
});

test('no control character gets into the log, and each entry is one line, whatever a client sends', async (t) => {
  const texts = fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { minLength: 5, maxLength: 5 });
  const nasty = ['\n{"status":200}\n', '\x1b[2J\x07', '\u202e\u2066', '\u2028\u0085\x7f', '\ud800'];
  const samples = [nasty, ...fc.sample(texts, 500)];
  const entries = samples.map(([client = '', method = '', host, path, refusedBecause]) => {
    return { ...entry, client, method, host, target: `/${path}`, refusedBecause };
  });
  const lines = await written(t, entries);
  assert.equal(lines.length, entries.length);
  for (const line of lines) {
    const fields = JSON.parse(line) as Record<string, unknown>;
    assert.equal(fields.requestId, entry.requestId);
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u);
    for (const value of Object.values(fields)) assert.doesNotMatch(String(value), /[\p{Cc}\p{Cf}\p{Cs}]/u);
  }
});

test('errors are always wanted, of the rest the share that is asked for', async () => {
  const wanted = (sample: number, drawn: number, status: number): boolean => {
    const log = openAccessLog({ file: '/dev/null', sample }, { ...deps, random: () => drawn });
    void log.close();
    return log.wants(status);
  };
  for (const status of [500, 502, 503, 504]) assert.equal(wanted(0, 0.99, status), true);
  assert.equal(wanted(0, 0, 200), false);
  assert.equal(wanted(1, 0.999_999, 200), true);
  assert.equal(wanted(0.25, 0.249, 404), true);
  assert.equal(wanted(0.25, 0.25, 404), false);
});

test('P10: a file that cannot be opened is named together with its setting', () => {
  assert.throws(
    () => openAccessLog({ file: '/nowhere/access.log', sample: 1 }, deps),
    (error) =>
      error instanceof HoldfastError &&
      error.code === 'CONFIGURATION_INVALID' &&
      /^balancer\.accessLog\.file: \/nowhere\/access\.log cannot be opened: ENOENT/.test(error.message) &&
      error.remedy !== undefined,
  );
});
