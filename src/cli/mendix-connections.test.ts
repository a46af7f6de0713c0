import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { databaseSettings } from '../platform/mendix/life.fixture.ts';
import { silentLog } from '../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { connectionSum, warnOfConnections } from './mendix-connections.ts';

let postgres: TestPostgres;
before(async () => {
  postgres = await startTestPostgres();
});
after(() => postgres.stop());

async function warnings(settings: Record<string, unknown>, instances: number): Promise<string[]> {
  const said: string[] = [];
  const log = { ...silentLog, warn: (_fields: object, message: string) => void said.push(message) };
  await warnOfConnections(settings, instances, log);
  return said;
}

test('pools that fit together into the database are not mentioned', async () => {
  const settings = { ...databaseSettings(postgres.url), ConnectionPoolingMaxActive: 20 };
  assert.deepEqual(await connectionSum(settings, 3), { perInstance: 20, wanted: 60, room: 197 });
  assert.deepEqual(await warnings(settings, 3), []);
});

test('pools that do not fit are said to, with the size that would', async () => {
  assert.deepEqual(await warnings(databaseSettings(postgres.url), 4), [
    "4 runtimes may open 50 connections each to the application's database, 200 together, and it has room for 197: lower ConnectionPoolingMaxActive to 49, or raise max_connections",
  ]);
});

test('another product, and a database that is away, are no matter of this check', async () => {
  assert.equal(await connectionSum({ DatabaseType: 'Oracle' }, 9), undefined);
  const away = { ...databaseSettings(postgres.url), DatabaseHost: '127.0.0.1:1' };
  assert.deepEqual(await warnings(away, 9), []);
});
