/** Certificates of a test's own, and what a real client sees of them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
import { generate } from 'selfsigned';
import { type Log, silentLog } from '../support/log.ts';
import type { Certificates } from './certificates.ts';
import type { CertificateFiles } from './engine.ts';

const dayMs = 86_400_000;

export interface CertificateText {
  readonly certificate: string;
  readonly key: string;
}

/** The first name is the common name too. Days are counted from now. */
export async function makeCertificate(
  names: readonly string[],
  { fromDays = -1, untilDays = 90 } = {},
): Promise<CertificateText> {
  const pair = await generate([{ name: 'commonName', value: names[0] ?? '' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() + fromDays * dayMs),
    notAfterDate: new Date(Date.now() + untilDays * dayMs),
    extensions: [
      { name: 'subjectAltName', altNames: names.slice(1).map((value) => ({ type: 2, value })) },
      { name: 'extKeyUsage', serverAuth: true },
    ],
  });
  return { certificate: pair.cert, key: pair.private };
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-certificates-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

export async function save(folder: string, name: string, text: CertificateText): Promise<CertificateFiles> {
  const files = { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  await writeFile(files.certificate, text.certificate);
  await writeFile(files.key, text.key, { mode: 0o600 });
  return files;
}

/** A log that keeps what it is told. */
export function keptLog(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (_fields: object, message: string) => lines.push(message);
  return { log: { ...silentLog, info: keep, warn: keep }, lines };
}

/** A TLS server with these certificates that sends back what it is sent; gives its port. */
export async function echo(t: TestContext, certificates: Certificates): Promise<number> {
  const server = createServer(certificates.serverOptions, (socket) => socket.pipe(socket));
  certificates.keepCurrent(server);
  return listening(t, server);
}

/** Listens until the test ends; then cuts what is connected. */
export async function listening(t: TestContext, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', (socket) => open.add(socket));
  server.on('secureConnection', (socket: TLSSocket) => socket.on('error', () => socket.destroy()));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Connects without asking who vouches for the certificate; the test looks at what it got. */
export async function visit(
  t: TestContext,
  port: number,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
  t.after(() => socket.destroy());
  await new Promise<void>((done, reject) => {
    socket.once('secureConnect', done);
    socket.once('error', reject);
  });
  return socket;
}

export const nameSeen = (socket: TLSSocket): string => String(socket.getPeerCertificate().subject.CN);

export async function answers(socket: TLSSocket, text: string): Promise<string> {
  const answer = new Promise<string>((done) => socket.once('data', (bytes) => done(bytes.toString())));
  socket.write(text);
  return answer;
}

export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpMs = performance.now() + 15_000;
  while (!(await condition())) {
    if (performance.now() > giveUpMs) throw new Error(`It never came true that ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
