import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readPair } from './certificate-pair.ts';
import { echo, keptLog, temporaryFolder, visit } from './certificates.fixture.ts';
import { openCertificates } from './certificates.ts';
import { selfSignedFiles } from './self-signed.ts';

const dayMs = 86_400_000;
const nowMs = Date.now();

test('a client that trusts the self-signed certificate reaches this machine by each of its names', async (t) => {
  const folder = join(await temporaryFolder(t), 'new');
  const selfSigned = { names: ['shop.test', '10.1.2.3'], folder };
  const certificates = await openCertificates({ certificates: [], selfSigned }, keptLog().log);
  t.after(() => certificates.close());
  const port = await echo(t, certificates);
  const ca = readFileSync(join(folder, 'self-signed.pem'));
  for (const name of ['localhost', 'shop.test']) {
    const socket = await visit(t, port, { ca, servername: name, rejectUnauthorized: true });
    assert.equal(socket.authorized, true);
  }
  const byAddress = await visit(t, port, { ca, host: '127.0.0.1', rejectUnauthorized: true });
  assert.equal(byAddress.authorized, true);
  await assert.rejects(visit(t, port, { ca, servername: 'other.test', rejectUnauthorized: true }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  });
  assert.deepEqual(certificates.daysLeft()[0]?.names, [
    'localhost',
    '127.0.0.1',
    '::1',
    'shop.test',
    '10.1.2.3',
  ]);
  assert.ok((certificates.daysLeft()[0]?.daysLeft ?? 0) > 390);
});

test('it has an EC key on P-256, in a file that only its owner may read', async (t) => {
  const folder = await temporaryFolder(t);
  const { key, certificate } = await selfSignedFiles({ names: [], folder }, nowMs);
  assert.equal(key, certificate);
  assert.equal((await stat(key)).mode & 0o777, 0o600);
  assert.equal(createPrivateKey(await readFile(key)).asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.deepEqual(await readdir(folder), ['self-signed.pem']);
});

test('it is used again until a month before its end, for the names that it has', async (t) => {
  const folder = await temporaryFolder(t);
  const text = async (names: readonly string[], atMs: number) =>
    readFile((await selfSignedFiles({ names, folder }, atMs)).certificate, 'utf8');
  const first = await text(['Shop.test'], nowMs);
  assert.equal(await text(['shop.test'], nowMs + 366 * dayMs), first);
  assert.equal(await text([], nowMs), first);
  const renewed = await text(['shop.test'], nowMs + 368 * dayMs);
  assert.notEqual(renewed, first);
  assert.notEqual(await text(['shop.test', 'more.test'], nowMs + 368 * dayMs), renewed);
});

test('a broken one is made anew', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await selfSignedFiles({ names: [], folder }, nowMs);
  await writeFile(files.certificate, 'broken');
  await selfSignedFiles({ names: [], folder }, nowMs);
  assert.ok((await readPair(files, nowMs)).names.includes('localhost'));
  assert.equal((await stat(files.key)).mode & 0o777, 0o600);
});

test('processes that start together all have the same one', async (t) => {
  const folder = await temporaryFolder(t);
  const texts = await Promise.all(
    Array.from({ length: 5 }, async () =>
      readFile((await selfSignedFiles({ names: [], folder }, nowMs)).certificate, 'utf8'),
    ),
  );
  assert.equal(new Set(texts).size, 1);
  assert.deepEqual(await readdir(folder), ['self-signed.pem']);
});

test('P10: a folder in which nothing can be kept is named', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'file'), '');
  await assert.rejects(selfSignedFiles({ names: [], folder: join(folder, 'file') }, nowMs), {
    code: 'CERTIFICATE_INVALID',
    message: new RegExp(`kept in ${folder}/file: `),
    remedy: /may write/,
  });
});
