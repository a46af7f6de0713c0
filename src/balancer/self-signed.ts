/**
 * A certificate that nobody vouches for, so that TLS can be tried on a developer's machine. It is kept and used again
 * until near its end, because whoever told a browser once that it is fine does not want to be asked at every start.
 * Certificate and key share one file, so that processes which start together can never pair the one with a key of the
 * other.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { HoldfastError } from '../support/errors.ts';
import { type CertificatePair, canonicalName, readPair } from './certificate-pair.ts';
import type { CertificateFiles, TlsOptions } from './engine.ts';

const dayMs = 86_400_000;
/** What browsers accept at most. */
const lifeMs = 397 * dayMs;
const renewBeforeMs = 30 * dayMs;
/** Clocks of other machines may be behind. */
const backdatedMs = 3_600_000;

const alwaysNamed = ['localhost', '127.0.0.1', '::1'];

/** The file of a certificate for these names, made if there is none that will do for another month. */
export async function selfSignedFiles(
  { names, folder }: NonNullable<TlsOptions['selfSigned']>,
  wallMs: number,
): Promise<CertificateFiles> {
  const file = join(folder, 'self-signed.pem');
  const files = { certificate: file, key: file };
  const wanted = [...new Set([...alwaysNamed, ...names].map(canonicalName))];
  const existing = await readPair(files, wallMs).catch(() => undefined);
  if (existing && isUsable(existing, wanted, wallMs)) return files;

  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await publish(file, await generate(wanted, wallMs), async () => {
      const other = await readPair(files, wallMs).catch(() => undefined);
      return other !== undefined && isUsable(other, wanted, wallMs);
    });
  } catch (cause) {
    throw new HoldfastError(
      'CERTIFICATE_INVALID',
      `No self-signed certificate can be kept in ${folder}: ${(cause as Error).message}.`,
      { cause, remedy: 'Name a folder in which this user may write.' },
    );
  }
  return files;
}

const isUsable = (pair: CertificatePair, wanted: readonly string[], wallMs: number): boolean =>
  pair.validUntilMs - wallMs > renewBeforeMs && wanted.every((name) => pair.names.includes(name));

async function generate(names: readonly string[], wallMs: number): Promise<string> {
  const { generate: generatePair } = await import('selfsigned'); // heavy, and of no use in production
  const pair = await generatePair([{ name: 'commonName', value: 'Holdfast development' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(wallMs - backdatedMs),
    notAfterDate: new Date(wallMs + lifeMs),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: names.map((name) => (isIP(name) ? { type: 7, ip: name } : { type: 2, value: name })),
      },
    ],
  });
  return `${pair.cert.trim()}\n${pair.private.trim()}\n`;
}

/** Puts the text in its place, whole. Of processes that start together one wins; the others take what it made. */
async function publish(file: string, text: string, isThereAlready: () => Promise<boolean>): Promise<void> {
  const draft = `${file}.${randomUUID()}.tmp`;
  try {
    await writeFile(draft, text, { flag: 'wx', mode: 0o600, flush: true });
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!(await isThereAlready())) await rename(draft, file);
  } finally {
    await rm(draft, { force: true });
  }
}
