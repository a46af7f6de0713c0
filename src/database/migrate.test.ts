import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { openArbiter } from './arbiter.ts';
import { migrate } from './migrate.ts';

describe('migrations', { timeout: 120_000 }, () => {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await startTestPostgres();
  });
  after(() => postgres.stop());

  async function emptyDatabase(name: string): Promise<string> {
    const admin = openArbiter({ url: postgres.url });
    await admin.query(`create database ${name}`, [], { deadlineMs: 20_000 });
    await admin.close();
    return postgres.url.replace(/[^/]*$/, name);
  }
  const files = async () =>
    (await readdir(new URL('./migrations/', import.meta.url))).filter((name) => name.endsWith('.sql')).sort();

  test('eight processes that start at once migrate an empty database once', async () => {
    const url = await emptyDatabase('eight');
    const program = `const { openArbiter } = await import(${JSON.stringify(new URL('./arbiter.ts', import.meta.url))});
      const { migrate } = await import(${JSON.stringify(new URL('./migrate.ts', import.meta.url))});
      const arbiter = openArbiter({ url: process.argv[1], queryDeadlineMs: 20_000 });
      await migrate(arbiter);
      await arbiter.close();`;
    const codes = await Promise.all(
      Array.from({ length: 8 }, () => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', program, url], {
          stdio: 'inherit',
        });
        return new Promise((resolve) => child.once('exit', resolve));
      }),
    );
    assert.deepEqual(codes, Array(8).fill(0));
    const arbiter = openArbiter({ url });
    const applied = await arbiter.query('select name from holdfast.migration order by number');
    await arbiter.close();
    assert.deepEqual(
      applied.map(({ name }) => name),
      await files(),
    );
  });

  test('migrating again changes nothing', async () => {
    const arbiter = openArbiter({ url: await postgres.createDatabase() });
    const before = await arbiter.query('select * from holdfast.migration');
    await migrate(arbiter);
    assert.deepEqual(await arbiter.query('select * from holdfast.migration'), before);
    await arbiter.close();
  });

  test('a migration that fails half-way leaves nothing behind', async () => {
    const url = await emptyDatabase('broken');
    const arbiter = openArbiter({ url });
    await arbiter.query('create schema holdfast');
    await arbiter.query('create table holdfast.lease (in_the_way int)');
    await assert.rejects(migrate(arbiter), { code: '42P07' });
    const [row] = await arbiter.query<{ migration: string | null; member: string | null }>(
      `select to_regclass('holdfast.migration') as migration, to_regclass('holdfast.member') as member`,
    );
    assert.deepEqual(row, { migration: null, member: null });
    await arbiter.query('drop table holdfast.lease');
    await migrate(arbiter);
    await arbiter.close();
  });

  test('a schema that a newer Holdfast left is refused, with both versions in the message', async () => {
    const arbiter = openArbiter({ url: await postgres.createDatabase() });
    const known = (await files()).length;
    await arbiter.query(`insert into holdfast.migration (number, name) values ($1, 'from the future')`, [
      known + 1,
    ]);
    await assert.rejects(migrate(arbiter), {
      code: 'SCHEMA_NEWER',
      message: new RegExp(`version ${known + 1}; this Holdfast knows versions up to ${known}`),
    });
    await arbiter.close();
  });
});
