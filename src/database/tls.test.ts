import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openArbiter } from './arbiter.ts';
import { startEmbeddedPostgres } from './embedded.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

test('TLS: the certificate of the arbiter is verified as sslmode says', {
  skip: hasOpenssl ? false : 'openssl is not installed; it makes the certificate',
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-tls-'));
  const [certificate, key] = [join(folder, 'server.crt'), join(folder, 'server.key')];
  const subject = ['-subj', '/CN=arbiter', '-addext', 'subjectAltName=DNS:localhost'];
  const made = ['-keyout', key, '-out', certificate, '-days', '2', '-nodes'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', ...subject, ...made], { stdio: 'ignore' });
  const settings = ['ssl=on', `ssl_cert_file=${certificate}`, `ssl_key_file=${key}`];
  const server = await startEmbeddedPostgres(join(folder, 'postgres'), {
    database: 'tls',
    serverFlags: settings.flatMap((setting) => ['-c', setting]),
  });
  const ask = async (host: string, parameters: string) => {
    const arbiter = openArbiter({ url: `${server.url.replace('127.0.0.1', host)}?${parameters}` });
    const encrypted = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()';
    return arbiter.query<{ ssl: boolean }>(encrypted).finally(() => arbiter.close());
  };
  try {
    assert.deepEqual(await ask('127.0.0.1', 'sslmode=disable'), [{ ssl: false }]);
    assert.deepEqual(await ask('127.0.0.1', 'sslmode=require'), [{ ssl: true }]);
    assert.deepEqual(await ask('127.0.0.1', `sslmode=verify-ca&sslrootcert=${certificate}`), [{ ssl: true }]);
    assert.deepEqual(await ask('localhost', `sslmode=verify-full&sslrootcert=${certificate}`), [
      { ssl: true },
    ]);
    await assert.rejects(ask('127.0.0.1', `sslmode=verify-full&sslrootcert=${certificate}`), {
      code: 'ARBITER_UNAVAILABLE',
      message: /127\.0\.0\.1/,
    });
    await assert.rejects(ask('localhost', 'sslmode=verify-full'), { message: /self-signed certificate/ });
  } finally {
    await server.stop();
    await rm(folder, { recursive: true });
  }
});
