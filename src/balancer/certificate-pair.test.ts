import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { canonicalName, namesOf, readPair } from './certificate-pair.ts';
import { type CertificateText, makeCertificate, save, temporaryFolder } from './certificates.fixture.ts';

let shop: CertificateText;
let other: CertificateText;
before(async () => {
  shop = await makeCertificate(['shop', 'Shop.Example.com']);
  other = await makeCertificate(['other', 'other.example.com']);
});

/** What is wrong with these texts, and what to do. */
async function complaint(
  folder: string,
  text: Partial<CertificateText>,
  nowMs = Date.now(),
): Promise<string> {
  const files = await save(folder, 'shop', { ...shop, ...text });
  const error = await readPair(files, nowMs).then(
    () => assert.fail('nothing was wrong'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof HoldfastError && error.code === 'CERTIFICATE_INVALID', String(error));
  assert.ok(error.remedy, 'there is something to do');
  const said = `${error.message} → ${error.remedy}`;
  assert.ok(!said.includes('PRIVATE KEY-----\n'), 'a key is never quoted');
  return said.replaceAll(folder, '');
}

test('a certificate and its key are read, with names and end', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await save(folder, 'shop', shop);
  const pair = await readPair(files, Date.now());
  assert.deepEqual(pair.names, ['shop.example.com']);
  assert.equal(pair.validUntilMs, new X509Certificate(shop.certificate).validToDate.getTime());
  assert.deepEqual([pair.certificate, pair.key, pair.files], [shop.certificate, shop.key, files]);
});

test('P10: a key that belongs to another certificate is named, with the certificate', async (t) => {
  const said = await complaint(await temporaryFolder(t), { key: other.key });
  assert.match(said, /^The key \/shop\.key does not belong to the certificate in \/shop\.crt\./);
  assert.match(said, /same renewal/);
});

test("P10: a chain that does not begin with the server's own certificate is put in order", async (t) => {
  const folder = await temporaryFolder(t);
  const said = await complaint(folder, { certificate: `${other.certificate}\n${shop.certificate}` });
  assert.match(said, /does not belong to the first certificate in \/shop\.crt.*own certificate first/);
  const right = await save(folder, 'right', {
    ...shop,
    certificate: `${shop.certificate}\n${other.certificate}`,
  });
  assert.deepEqual((await readPair(right, Date.now())).names, ['shop.example.com']);
});

test('P10: outside its time a certificate is refused, with the moment', async (t) => {
  const folder = await temporaryFolder(t);
  const { validToDate, validFromDate } = new X509Certificate(shop.certificate);
  const late = await complaint(folder, {}, validToDate.getTime() + 1);
  assert.match(late, new RegExp(`/shop\\.crt ended on ${validToDate.toISOString()}.*Renew it`));
  const early = await complaint(folder, {}, validFromDate.getTime() - 1);
  assert.match(early, new RegExp(`/shop\\.crt begins on ${validFromDate.toISOString()}.*clock`));
});

test('P10: what is no PEM file, or a damaged one, is said with the file', async (t) => {
  const folder = await temporaryFolder(t);
  const damaged = shop.certificate.replace(/\n[A-Za-z0-9+/]{8}/, '\nAAAAAAAA');
  assert.match(
    await complaint(folder, { certificate: 'x' }),
    /^\/shop\.crt holds no certificate in PEM format/,
  );
  assert.match(await complaint(folder, { certificate: shop.key }), /^\/shop\.crt holds no certificate/);
  assert.match(await complaint(folder, { certificate: damaged }), /^Certificate 1 in \/shop\.crt is damaged/);
  const broken = `${shop.certificate}\n${damaged}`;
  assert.match(await complaint(folder, { certificate: broken }), /^Certificate 2 in \/shop\.crt is damaged/);
  assert.match(await complaint(folder, { key: 'x' }), /^\/shop\.key holds no private key/);
  assert.match(await complaint(folder, { key: shop.certificate }), /^\/shop\.key holds no private key/);
});

for (const type of ['pkcs8', 'sec1'] as const) {
  test(`P10: a key with a passphrase (${type}) is refused with the command that takes it off`, async (t) => {
    const key = createPrivateKey(shop.key)
      .export({ type, format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
      .toString();
    assert.match(
      await complaint(await temporaryFolder(t), { key }),
      /^The key \/shop\.key is protected by a passphrase\. → .*openssl pkey -in \/shop\.key/,
    );
  });
}

test('P10: a file that is not there, or is a folder, is named with the reason', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await save(folder, 'shop', shop);
  await assert.rejects(readPair({ ...files, key: join(folder, 'none.key') }, Date.now()), {
    code: 'CERTIFICATE_INVALID',
    message: `The key ${folder}/none.key cannot be read: there is no such file.`,
  });
  await assert.rejects(readPair({ ...files, certificate: folder }, Date.now()), {
    message: `The certificate ${folder} cannot be read: it is a folder.`,
  });
});

test('P10: a file that this user may not read is named with the reason', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await save(folder, 'shop', shop);
  await writeFile(files.key, shop.key);
  await chmod(files.key, 0o000);
  // Root may read everything, so it becomes somebody else for a moment.
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await assert.rejects(readPair(files, Date.now()), { message: /this user may not read it/ });
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test('the common name counts only where there is no list of names', async () => {
  const unnamed = await makeCertificate(['Only.Example.com', 'a.example.com']);
  assert.deepEqual(namesOf(new X509Certificate(unnamed.certificate)), ['a.example.com']);
  const facts = { subjectAltName: undefined, subject: 'C=NL\nO=Shop\nCN=Only.Example.com' };
  assert.deepEqual(namesOf(facts), ['only.example.com']);
  assert.deepEqual(namesOf({ subjectAltName: undefined, subject: 'O=Shop' }), []);
});

test('names are read whatever stands between them', () => {
  const subjectAltName =
    'DNS:a.example.com, URI:http://c.example.com/, DirName:"CN=x, DNS:evil.example.com", DNS:"bad.example.com, x", IP Address:0:0:0:0:0:0:0:1, DNS:*.B.example.com, IP Address:10.0.0.7';
  assert.deepEqual(namesOf({ subjectAltName, subject: '' }), [
    'a.example.com',
    '::1',
    '*.b.example.com',
    '10.0.0.7',
  ]);
});

test('a name has one spelling', () => {
  assert.equal(canonicalName('Shop.Example.COM.'), 'shop.example.com');
  assert.equal(canonicalName('2001:DB8:0:0:0:0:0:1'), '2001:db8::1');
  assert.equal(canonicalName('127.0.0.1'), '127.0.0.1');
});
