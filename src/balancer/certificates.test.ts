import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { connect as connectHttp2, createSecureServer } from 'node:http2';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { generate } from 'selfsigned';
import {
  answers,
  type CertificateText,
  echo,
  eventually,
  keptLog,
  listening,
  makeCertificate,
  nameSeen,
  save,
  temporaryFolder,
  visit,
} from './certificates.fixture.ts';
import { type Certificates, type CertificatesOptions, openCertificates } from './certificates.ts';
import type { TlsOptions } from './engine.ts';

let shop: CertificateText;
let wild: CertificateText;
let renewed: CertificateText;
before(async () => {
  shop = await makeCertificate(['shop', 'shop.example.com', 'www.shop.example.com'], { untilDays: 40.5 });
  wild = await makeCertificate(['wild', '*.example.com'], { untilDays: 12.5 });
  renewed = await makeCertificate(['renewed', 'shop.example.com']);
});

const lookEveryMs = 100;

async function opened(
  t: TestContext,
  tls: TlsOptions,
  options: CertificatesOptions = {},
): Promise<{ certificates: Certificates; lines: string[] }> {
  const { log, lines } = keptLog();
  const certificates = await openCertificates(tls, log, { lookEveryMs, ...options });
  t.after(() => certificates.close());
  return { certificates, lines };
}

test('the certificate is the one for the name asked for, then the one whose wildcard fits, else the first', async (t) => {
  const folder = await temporaryFolder(t);
  const { certificates } = await opened(t, {
    certificates: [await save(folder, 'wild', wild), await save(folder, 'shop', shop)],
  });
  const port = await echo(t, certificates);
  const seenFor = async (servername: string) => nameSeen(await visit(t, port, { servername }));
  assert.equal(await seenFor('shop.example.com'), 'shop', 'an exact name beats an earlier wildcard');
  assert.equal(await seenFor('WWW.Shop.Example.Com'), 'shop');
  assert.equal(await seenFor('blog.example.com'), 'wild');
  assert.equal(await seenFor('a.blog.example.com'), 'wild', 'two labels: no name fits, so the first');
  assert.equal(await seenFor('elsewhere.test'), 'wild');
  assert.equal(await seenFor(''), 'wild');
});

test('a wildcard stands for exactly one label', async (t) => {
  const folder = await temporaryFolder(t);
  const { certificates } = await opened(t, {
    certificates: [await save(folder, 'shop', shop), await save(folder, 'wild', wild)],
  });
  const port = await echo(t, certificates);
  const seenFor = async (servername: string) => nameSeen(await visit(t, port, { servername }));
  assert.equal(await seenFor('blog.example.com'), 'wild');
  assert.equal(await seenFor('a.blog.example.com'), 'shop');
  assert.equal(await seenFor('example.com'), 'shop');
});

test('how many whole days are left is told for each certificate', async (t) => {
  const folder = await temporaryFolder(t);
  const files = [await save(folder, 'shop', shop), await save(folder, 'wild', wild)];
  const { certificates } = await opened(t, { certificates: files });
  assert.deepEqual(certificates.daysLeft(), [
    { certificate: files[0]?.certificate, names: ['shop.example.com', 'www.shop.example.com'], daysLeft: 40 },
    { certificate: files[1]?.certificate, names: ['*.example.com'], daysLeft: 12 },
  ]);
});

test('a renewed certificate is for new connections; one that is open goes on with the old', async (t) => {
  const folder = await temporaryFolder(t);
  const { certificates, lines } = await opened(t, { certificates: [await save(folder, 'shop', shop)] });
  const port = await echo(t, certificates);
  const open = await visit(t, port, { servername: 'shop.example.com' });
  assert.equal(await answers(open, 'before'), 'before');

  await save(folder, 'shop', renewed);
  await eventually(
    'a name is answered with the renewed certificate',
    async () => nameSeen(await visit(t, port, { servername: 'shop.example.com' })) === 'renewed',
  );
  assert.equal(nameSeen(await visit(t, port)), 'renewed', 'and so are clients that name no host');
  assert.equal(await answers(open, 'after'), 'after');
  assert.equal(nameSeen(open), 'shop');
  assert.match(lines.at(-1) ?? '', /shop\.crt is renewed/);
});

test('a secret that is renewed by turning a symbolic link is noticed', async (t) => {
  const folder = await temporaryFolder(t);
  for (const [version, text] of [['1', shop] as const, ['2', renewed] as const]) {
    await mkdir(join(folder, version));
    await save(join(folder, version), 'tls', text);
  }
  await symlink('1', join(folder, 'current'));
  await mkdir(join(folder, 'mounted'));
  for (const name of ['tls.crt', 'tls.key'])
    await symlink(join('..', 'current', name), join(folder, 'mounted', name));
  const { certificates } = await opened(t, {
    certificates: [{ certificate: join(folder, 'mounted/tls.crt'), key: join(folder, 'mounted/tls.key') }],
  });
  const port = await echo(t, certificates);
  assert.equal(nameSeen(await visit(t, port)), 'shop');
  await symlink('2', join(folder, 'next'));
  await rename(join(folder, 'next'), join(folder, 'current'));
  await eventually('the new secret is served', async () => nameSeen(await visit(t, port)) === 'renewed');
});

test('P10: a broken renewal leaves the old certificate in use and is said once, until it is mended', async (t) => {
  const folder = await temporaryFolder(t);
  const files = await save(folder, 'shop', shop);
  const other = await save(folder, 'wild', wild);
  const { certificates, lines } = await opened(t, { certificates: [files, other] });
  const port = await echo(t, certificates);

  await writeFile(files.certificate, renewed.certificate);
  await eventually('the log tells of it', () => lines.length > 0);
  assert.match(lines[0] ?? '', /shop\.key does not belong to the certificate in .*shop\.crt.*in use stays/);
  assert.equal(nameSeen(await visit(t, port)), 'shop');

  await save(folder, 'wild', await makeCertificate(['wilder', '*.example.com']));
  await eventually('the other one is renewed all the same', () => lines.length > 1);
  assert.equal(nameSeen(await visit(t, port, { servername: 'a.example.com' })), 'wilder');
  assert.match(lines[1] ?? '', /wild\.crt is renewed/);

  await rm(files.certificate);
  await eventually('that the file is gone is said too', () => lines.length > 2);
  assert.match(lines[2] ?? '', /there is no such file.*in use stays/);
  await save(folder, 'shop', renewed);
  await eventually('what was mended is used', async () => nameSeen(await visit(t, port)) === 'renewed');
  assert.equal(lines.length, 4);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a session of one process is resumed by another that has the same ticket keys, with ${version}`, async (t) => {
    const folder = await temporaryFolder(t);
    const tls = { certificates: [await save(folder, 'shop', shop), await save(folder, 'wild', wild)] };
    const ticketKeys = randomBytes(48);
    const one = await echo(t, (await opened(t, tls, { ticketKeys })).certificates);
    const other = await echo(t, (await opened(t, tls, { ticketKeys })).certificates);
    const stranger = await echo(t, (await opened(t, tls)).certificates);
    // A name of the second certificate: its context, too, must know the keys.
    const options = { servername: 'a.example.com', minVersion: version, maxVersion: version };

    const first = await visit(t, one, options);
    await answers(first, 'anything'); // with TLS 1.3 the ticket comes after the handshake
    const session = first.getSession();
    assert.equal(first.isSessionReused(), false);
    assert.equal((await visit(t, other, { ...options, session })).isSessionReused(), true);
    assert.equal((await visit(t, stranger, { ...options, session })).isSessionReused(), false);

    await save(folder, 'shop', renewed);
    await eventually('the certificate is renewed', async () => nameSeen(await visit(t, other)) === 'renewed');
    assert.equal((await visit(t, other, { ...options, session })).isSessionReused(), true, 'after a renewal');
  });
}

test('TLS 1.1 is refused, TLS 1.2 only if the options allow it', async (t) => {
  const folder = await temporaryFolder(t);
  const files = [await save(folder, 'shop', shop)];
  const usual = await echo(t, (await opened(t, { certificates: files })).certificates);
  const strict = await echo(
    t,
    (await opened(t, { certificates: files, minVersion: 'TLSv1.3' })).certificates,
  );
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  await assert.rejects(visit(t, usual, old), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' });
  const twelve = await visit(t, usual, { maxVersion: 'TLSv1.2' });
  assert.match(twelve.getCipher().name, /^ECDHE-ECDSA-(AES\d+-GCM|CHACHA20)/);
  await assert.rejects(visit(t, strict, { maxVersion: 'TLSv1.2' }), {
    code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
  });
  assert.equal((await visit(t, strict)).getProtocol(), 'TLSv1.3');
});

test('HTTP/2 is offered when it is switched on, and never otherwise', async (t) => {
  const folder = await temporaryFolder(t);
  const files = [await save(folder, 'shop', shop)];
  const ALPNProtocols = ['h2', 'http/1.1'];
  const plain = await echo(t, (await opened(t, { certificates: files })).certificates);
  assert.equal((await visit(t, plain, { ALPNProtocols })).alpnProtocol, 'http/1.1');

  const { certificates } = await opened(t, { certificates: files, http2: true });
  const server = createSecureServer({ ...certificates.serverOptions, allowHTTP1: true });
  certificates.keepCurrent(server);
  server.on('stream', (stream) => stream.respond({ ':status': 204 }, { endStream: true }));
  const port = await listening(t, server);
  const client = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  t.after(() => client.destroy());
  const status = await new Promise((done, reject) => {
    client.on('error', reject);
    client.request({ ':path': '/' }).on('response', (headers) => done(headers[':status']));
  });
  assert.equal(status, 204);
  assert.equal((await visit(t, port, { ALPNProtocols: ['http/1.1'] })).alpnProtocol, 'http/1.1');
});

test('a socket without a TLS server gets the context for a name', async (t) => {
  const folder = await temporaryFolder(t);
  const { certificates } = await opened(t, {
    certificates: [await save(folder, 'shop', shop), await save(folder, 'wild', wild)],
  });
  const server = createServer((raw) => {
    const secureContext = certificates.contextFor(undefined);
    const socket = new TLSSocket(raw, { isServer: true, ...certificates.serverOptions, secureContext });
    socket.on('error', () => socket.destroy());
  });
  const port = await listening(t, server);
  assert.equal(nameSeen(await visit(t, port, { servername: 'a.example.com' })), 'wild');
  assert.equal(nameSeen(await visit(t, port)), 'shop');
});

test('P10: a certificate that the TLS library refuses is named with its reason', async (t) => {
  const folder = await temporaryFolder(t);
  const weak = await generate([{ name: 'commonName', value: 'weak' }], {
    keySize: 1024,
    algorithm: 'sha256',
  });
  const files = await save(folder, 'weak', { certificate: weak.cert, key: weak.private });
  await assert.rejects(openCertificates({ certificates: [files] }, keptLog().log), {
    code: 'CERTIFICATE_INVALID',
    message: /weak\.crt cannot be served: .*key too small/,
    remedy: /2048 bits/,
  });
});

test('P10: TLS without any certificate is refused', async () => {
  await assert.rejects(openCertificates({ certificates: [] }, keptLog().log), {
    code: 'CERTIFICATE_INVALID',
    message: /no certificate is named/,
  });
});
