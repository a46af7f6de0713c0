import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { RoutedInstance, RoutingTable } from '../protocol/routing-table.ts';
import { type Log, silentLog } from '../support/log.ts';
import { tableFile } from './table-file.ts';

const routed: RoutedInstance = { instance: 'shop-1', host: '127.0.0.1', port: 3000, state: 'up' };

const table: RoutingTable = {
  cluster: 'shop',
  stickyKey: Buffer.alloc(32, 3).toString('base64url'),
  instances: [routed],
};

async function place(
  t: TestContext,
): Promise<{ path: string; folder: string; log: Log; warnings: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-table-'));
  t.after(() => rm(folder, { recursive: true }));
  const warnings: string[] = [];
  const warn = (fields: object, message: string) => warnings.push(`${message} ${JSON.stringify(fields)}`);
  return { path: join(folder, 'table.json'), folder, log: { ...silentLog, warn }, warnings };
}

test('P9: the table that was saved is the table that is loaded', async (t) => {
  const { path, folder, log, warnings } = await place(t);
  await tableFile(path, log).save(table);
  assert.deepEqual(await tableFile(path, log).load(), table);
  assert.deepEqual(await readdir(folder), ['table.json']);
  assert.deepEqual(warnings, []);
});

test('only its owner may read the file, because it holds the key of the sticky cookie', async (t) => {
  const { path } = await place(t);
  await tableFile(path).save(table);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('of many saves at once the last one wins, and an unchanged table is not written again', async (t) => {
  const { path } = await place(t);
  const file = tableFile(path);
  const ports = [3001, 3002, 3003];
  await Promise.all(ports.map((port) => file.save({ ...table, instances: [{ ...routed, port }] })));
  const loaded = await file.load();
  assert.equal(loaded?.instances[0]?.port, 3003);
  const { mtimeMs, ino } = await stat(path);
  if (loaded) await file.save(loaded);
  assert.deepEqual([(await stat(path)).mtimeMs, (await stat(path)).ino], [mtimeMs, ino]);
});

test('no file is no table, without a word', async (t) => {
  const { path, log, warnings } = await place(t);
  assert.equal(await tableFile(path, log).load(), undefined);
  assert.deepEqual(warnings, []);
});

test('P10: a broken file is named with what is wrong, without its secret, and ignored', async (t) => {
  const { path, log, warnings } = await place(t);
  const good = { version: 1, ...table };
  const broken: [text: string, complaint: RegExp][] = [
    ['', /not JSON/],
    [`{"stickyKey": "${table.stickyKey}", `, /not JSON/],
    ['[]', /not an object/],
    [JSON.stringify({ ...good, version: 2 }), /version is not 1/],
    [JSON.stringify({ ...good, cluster: 1 }), /cluster/],
    [JSON.stringify({ ...good, stickyKey: 'short' }), /stickyKey/],
    [JSON.stringify({ ...good, instances: {} }), /instances is not a list/],
    [JSON.stringify({ ...good, instances: [{ ...routed, port: 0 }] }), /instances\[0\]/],
    [JSON.stringify({ ...good, instances: [routed, { state: 'up' }] }), /instances\[1\]/],
    [JSON.stringify({ ...good, instances: [{ ...routed, state: 'fine' }] }), /instances\[0\]/],
  ];
  for (const [text, complaint] of broken) {
    warnings.length = 0;
    await writeFile(path, text);
    assert.equal(await tableFile(path, log).load(), undefined);
    assert.match(warnings[0] ?? '', complaint);
    assert.ok(warnings[0]?.includes(path));
    assert.ok(!warnings[0]?.includes(table.stickyKey));
  }
});

test('a place that cannot be written is a warning, not an error', async (t) => {
  const { folder, log, warnings } = await place(t);
  await tableFile(join(folder, 'missing', 'table.json'), log).save(table);
  assert.match(warnings[0] ?? '', /could not be written/);
});
