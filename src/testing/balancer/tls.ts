import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import type { TlsOptions } from '../../balancer/engine.ts';
import { certificatesFor, makeCertificate, type TestCertificate } from './certificates.ts';
import { type Cleanup, temporaryFolder } from './cleanup.ts';
import { arrivedHeaders, ask, raw } from './client.ts';
import { proxyLine } from './proxy-header.ts';
import { connectRaw, connectSecure } from './raw-connection.ts';
import { belongsTo, type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

/** TLS towards clients: which certificate, which version, and how a new certificate comes into use. */
export function tlsTests(suite: Suite): void {
  certificateTests(suite);
  reloadTests(suite);
  versionTests(suite);
  schemeTests(suite);
  redirectTests(suite);
  streamTests(suite);
}

const secure = ({ ca, name }: TestCertificate) => ({ ca, servername: name });

const answerBy = (scene: Scene, certificate: TestCertificate) =>
  scene.ask('/whoami', { secure: secure(certificate) });

function certificateTests({ start, test }: Suite): void {
  test('a client gets the certificate for the name that it asks for', async (t) => {
    const certificates = await certificatesFor(t, 'shop.example.com', 'admin.example.com');
    const scene = await setScene(t, start, { engine: { tls: { certificates } } });
    for (const certificate of certificates) assert.equal((await answerBy(scene, certificate)).status, 200);
  });

  test('a client that names no host, or an unknown one, gets the first certificate', async (t) => {
    const certificates = await certificatesFor(t, 'shop.example.com', 'admin.example.com');
    const scene = await setScene(t, start, { engine: { tls: { certificates } } });
    for (const servername of ['', 'other.example.com']) {
      const socket = tls.connect({
        port: scene.port,
        host: '127.0.0.1',
        servername,
        rejectUnauthorized: false,
      });
      t.after(() => void socket.destroy());
      await once(socket, 'secureConnect');
      assert.equal(socket.getPeerCertificate().subject.CN, 'shop.example.com', servername);
    }
  });

  test('a certificate made for development names what it was asked to, and is the same after a restart', async (t) => {
    const folder = await temporaryFolder(t);
    const engine = { tls: { certificates: [], selfSigned: { names: ['shop.test', 'localhost'], folder } } };
    const scene = await setScene(t, start, { engine });
    const other = await start({ listen: { host: '127.0.0.1', port: 0 }, ...engine });
    t.after(() => other.close({ graceMs: 0 }));
    const prints: string[] = [];
    for (const port of [scene.port, other.status().listen.port]) {
      const options = { port, host: '127.0.0.1', servername: 'shop.test', rejectUnauthorized: false };
      const socket = tls.connect(options);
      t.after(() => void socket.destroy());
      await once(socket, 'secureConnect');
      const { subjectaltname = '', fingerprint256 } = socket.getPeerCertificate();
      assert.match(subjectaltname, /DNS:shop\.test/);
      assert.match(subjectaltname, /DNS:localhost/);
      prints.push(fingerprint256);
    }
    assert.equal(prints[0], prints[1]);
  });
}

async function printServed(t: Cleanup, scene: Scene): Promise<string> {
  const options = { port: scene.port, host: '127.0.0.1', servername: 'shop.example.com' };
  const socket = tls.connect({ ...options, rejectUnauthorized: false });
  t.after(() => void socket.destroy());
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

function reloadTests({ start, test }: Suite): void {
  test('a certificate whose files change is used for new connections, and no connection is dropped', async (t) => {
    const [old] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [old] } } });
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const peers = new Set<number>();
    agent.on('free', (socket: net.Socket) => peers.add(socket.localPort ?? 0));
    const kept = () => scene.ask('/whoami', { agent, secure: secure(old) });
    assert.equal((await kept()).status, 200);
    const before = await printServed(t, scene);
    await makeCertificate(scene.folder, 'shop.example.com', old);
    await until('the new certificate is served', async () => (await printServed(t, scene)) !== before);
    assert.equal((await kept()).status, 200);
    assert.equal(peers.size, 1, 'the same connection before and after');
  });

  test('P10: files that are no certificate are not used: the one before stays', async (t) => {
    const [old] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [old] } } });
    const before = await printServed(t, scene);
    await writeFile(old.certificate, 'this is no certificate');
    const startedMs = performance.now();
    while (performance.now() - startedMs < 1_200) assert.equal(await printServed(t, scene), before);
    await makeCertificate(scene.folder, 'shop.example.com', old);
    await until('the next good one is served', async () => (await printServed(t, scene)) !== before);
  });
}

function versionTests({ start, test }: Suite): void {
  const connectWith = async (t: Cleanup, scene: Scene, version: tls.SecureVersion): Promise<string> => {
    const socket = tls.connect({
      port: scene.port,
      host: '127.0.0.1',
      minVersion: version,
      maxVersion: version,
      rejectUnauthorized: false,
      ciphers: 'DEFAULT:@SECLEVEL=0', // or our own client would refuse before it asks
    });
    t.after(() => void socket.destroy());
    const outcome = once(socket, 'secureConnect').then(() => String(socket.getProtocol()));
    return outcome.catch((error: NodeJS.ErrnoException) => String(error.code));
  };

  test('TLS 1.2 and 1.3 are spoken, and TLS 1.1 is refused', async (t) => {
    const certificates = await certificatesFor(t, 'shop.example.com');
    const scene = await setScene(t, start, { engine: { tls: { certificates } } });
    assert.equal(await connectWith(t, scene, 'TLSv1.3'), 'TLSv1.3');
    assert.equal(await connectWith(t, scene, 'TLSv1.2'), 'TLSv1.2');
    assert.match(await connectWith(t, scene, 'TLSv1.1'), /ALERT_PROTOCOL_VERSION|ECONNRESET/);
  });

  test('a higher lowest version is kept', async (t) => {
    const certificates = await certificatesFor(t, 'shop.example.com');
    const options: TlsOptions = { certificates, minVersion: 'TLSv1.3' };
    const scene = await setScene(t, start, { engine: { tls: options } });
    assert.equal(await connectWith(t, scene, 'TLSv1.3'), 'TLSv1.3');
    assert.match(await connectWith(t, scene, 'TLSv1.2'), /ALERT_PROTOCOL_VERSION|ECONNRESET/);
  });

  test('P10: plain HTTP where TLS is spoken is not served', async (t) => {
    const certificates = await certificatesFor(t, 'shop.example.com');
    const scene = await setScene(t, start, { engine: { tls: { certificates } } });
    const connection = connectRaw(t, scene.port, 'GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n');
    await connection.untilClosed(3_000);
    assert.ok(!connection.statuses.includes(200), connection.received);
    assert.deepEqual(await scene.allRecords(), []);
  });
}

function schemeTests({ start, test }: Suite): void {
  test('the instance is told https, the cookie is Secure, and the browser is told to come by https again', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const options: TlsOptions = { certificates: [certificate], hstsMs: 31_536_000_000 };
    const scene = await setScene(t, start, { engine: { tls: options } });
    const headers = { Host: 'shop.example.com' };
    const reply = await scene.ask('/echo', { secure: secure(certificate), headers });
    const seen = arrivedHeaders(reply.body);
    assert.deepEqual(seen('x-forwarded-proto'), ['https']);
    assert.deepEqual(seen('x-forwarded-port'), ['443']);
    assert.match(reply.headers['set-cookie']?.[0] ?? '', /^holdfast=.*; Secure$/);
    assert.match(reply.headers['strict-transport-security'] ?? '', /^max-age=31536000\b/);
  });

  test('without an age no browser is told to come by https again', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [certificate] } } });
    assert.equal((await answerBy(scene, certificate)).headers['strict-transport-security'], undefined);
  });
}

function redirectTests({ start, test }: Suite): void {
  test('plain HTTP is answered with a redirect to https, and no instance sees it', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const redirectFrom = { host: '127.0.0.1', port: await freePort() };
    const scene = await setScene(t, start, {
      engine: { tls: { certificates: [certificate], redirectFrom } },
    });
    for (const method of ['GET', 'HEAD', 'POST']) {
      const headers = { Host: `shop.example.com:${redirectFrom.port}` };
      const reply = await ask({ port: redirectFrom.port, path: '/whoami?a=b', method, headers });
      assert.ok([301, 308].includes(reply.status), String(reply.status));
      assert.match(reply.headers.location ?? '', /^https:\/\/shop\.example\.com(:\d+)?\/whoami\?a=b$/);
    }
    assert.deepEqual(await scene.allRecords(), []);
  });

  test('P10: the redirect goes to no place that a client invents', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const redirectFrom = { host: '127.0.0.1', port: await freePort() };
    await setScene(t, start, { engine: { tls: { certificates: [certificate], redirectFrom } } });
    for (const head of [
      'GET / HTTP/1.1\r\nHost: a/b@evil.example\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: a\r\nHost: evil.example\r\n\r\n',
      'GET / HTTP/1.1\r\n\r\n',
      'GET //evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    ]) {
      const connection = connectRaw(t, redirectFrom.port, head);
      await connection.untilReceived(/\r\n\r\n/);
      assert.doesNotMatch(connection.received, /location: *(https:\/\/[^/]*evil|\/\/)/i);
    }
  });
}

function streamTests({ start, test }: Suite): void {
  test('a WebSocket goes through TLS', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [certificate], http2: true } } });
    const connection = connectSecure(t, scene.port, secure(certificate));
    connection.send(
      `GET /socket HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: ${belongsTo('shop-2').Cookie}\r\n\r\n`,
    );
    await connection.untilReceived(/^HTTP\/1\.1 101 [\s\S]*shop-2:$/);
    connection.send('hello');
    await connection.untilReceived(/shop-2:hello$/);
  });

  test('a large download by TLS arrives whole, at the pace of the reader', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [certificate] } } });
    const reply = await scene.ask('/big?chunks=256', { secure: secure(certificate) });
    assert.equal(reply.body.length, 256 * 64 * 1024);
  });

  // What clients make of the end of a TLS connection differs; a chunked body that breaks off is clear to all of them.
  test('by TLS too, a response that ends with its connection is not taken for whole when the connection breaks', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const scene = await setScene(t, start, { engine: { tls: { certificates: [certificate] } } });
    const options = { secure: secure(certificate) };
    await assert.rejects(scene.ask(raw('HTTP/1.1 200 OK\r\n\r\nnot to the end', 'reset'), options));
    const whole = await scene.ask(raw('HTTP/1.1 200 OK\r\n\r\nto the end', 'end'), options);
    assert.equal(whole.body, 'to the end');
  });

  test('a PROXY header comes before TLS', async (t) => {
    const [certificate] = (await certificatesFor(t, 'shop.example.com')) as [TestCertificate];
    const proxyProtocol = { from: ['127.0.0.1'] };
    const scene = await setScene(t, start, {
      engine: { tls: { certificates: [certificate] }, proxyProtocol },
    });
    const plain = net.connect(scene.port, '127.0.0.1');
    t.after(() => void plain.destroy());
    plain.write(proxyLine('203.0.113.9'));
    const connection = connectSecure(t, scene.port, { ...secure(certificate), socket: plain });
    connection.send('GET /echo HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n');
    await connection.untilReceived(/"bytes":0\}/);
    const body = /\{.*\}/.exec(connection.received)?.[0] ?? '{}';
    assert.deepEqual(arrivedHeaders(body)('x-forwarded-for'), ['203.0.113.9']);
  });
}

/** Free by courtesy, until somebody listens there. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
