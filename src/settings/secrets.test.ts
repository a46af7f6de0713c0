import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { redacted, resolveSecret, withoutUrlPassword } from './secrets.ts';

const places = (env: Record<string, string>, file = 'file-secret\n') => ({ readFile: async () => file, env });

test('a secret comes from a file or a variable, without the newline at its end', async () => {
  assert.equal(await resolveSecret({ file: '/x' }, 'a', places({})), 'file-secret');
  assert.equal(await resolveSecret({ file: '/x' }, 'a', places({}, 'two\r\n')), 'two');
  assert.equal(await resolveSecret({ file: '/x' }, 'a', places({}, 'kept \n\n')), 'kept \n');
  assert.equal(await resolveSecret({ env: 'DB' }, 'a', places({ DB: 'env-secret' })), 'env-secret');
});

test('P10: a secret that is not there names the key and the place, never a value', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-secret-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'empty'), '\n');
  const message = (reference: { file: string } | { env: string }) =>
    resolveSecret(reference, 'database.password').then(
      () => assert.fail('was resolved'),
      (error: unknown) => {
        assert.ok(error instanceof HoldfastError && error.code === 'SECRET_UNAVAILABLE');
        return error.message;
      },
    );
  assert.equal(
    await message({ file: join(folder, 'no') }),
    `database.password: the file ${folder}/no does not exist`,
  );
  assert.equal(await message({ file: folder }), `database.password: the file ${folder} is a folder`);
  assert.equal(
    await message({ file: join(folder, 'empty') }),
    `database.password: the file ${folder}/empty is empty`,
  );
  assert.equal(
    await message({ env: 'HOLDFAST_TEST_UNSET' }),
    'database.password: the environment variable HOLDFAST_TEST_UNSET is not set',
  );
});

test('a document is shown without passwords, and with its references', () => {
  const shown = redacted({
    database: 'postgres://holdfast:hunter2@db1,db2/shop',
    app: {
      command: 'curl https://u:hunter2@host/ && run "postgres://u@h/d?password=hunter2"',
      environment: {
        DB_PASSWORD: 'hunter2',
        API_TOKEN: 12345,
        LOG_LEVEL: 'info',
        SECRET: { file: '/run/secrets/x' },
      },
      settings: { credentials: { user: 'hunter2', list: ['hunter2'] } },
    },
    sessions: { encryptionKey: { env: 'KEY' } },
  });
  assert.deepEqual(shown, {
    database: 'postgres://holdfast:***@db1,db2/shop',
    app: {
      command: 'curl https://u:***@host/ && run "postgres://u@h/d?password=***"',
      environment: {
        DB_PASSWORD: '***',
        API_TOKEN: '***',
        LOG_LEVEL: 'info',
        SECRET: { file: '/run/secrets/x' },
      },
      settings: { credentials: { user: '***', list: ['***'] } },
    },
    sessions: { encryptionKey: { env: 'KEY' } },
  });
});

test('the password is taken out of a database address, and nothing else', () => {
  assert.equal(withoutUrlPassword('postgres://u:p@a:1,b/d?x=1'), 'postgres://u@a:1,b/d?x=1');
  assert.equal(withoutUrlPassword('postgres://u@a/d?password=p&x=1'), 'postgres://u@a/d?x=1');
  assert.equal(withoutUrlPassword('postgres://a:1/d?password=p'), 'postgres://a:1/d');
});
