import { join } from 'node:path';
import type { Log } from '../../support/log.ts';
import { readPair } from '../certificate-pair.ts';
import type { CertificateFiles, TlsOptions } from '../engine.ts';
import { stampsOf, watchFiles } from '../file-watch.ts';
import { selfSignedFiles } from '../self-signed.ts';
import { filesIn } from './place.ts';
import { writeWhole } from './whole-file.ts';

/**
 * HAProxy wants a certificate, its chain and its key in one file, and a list of such files, the one for unknown names
 * first. They are made from the files that the configuration names. A renewed certificate is handed over through the
 * runtime socket: no connection is dropped, and nothing is reloaded.
 */
const pemFile = (folder: string, index: number): string => join(folder, `certificate-${index + 1}.pem`);

async function sources(tls: TlsOptions): Promise<readonly CertificateFiles[]> {
  return tls.selfSigned === undefined
    ? tls.certificates
    : [await selfSignedFiles(tls.selfSigned, Date.now())];
}

export async function writeCertificates(tls: TlsOptions, folder: string): Promise<void> {
  const files = await sources(tls);
  for (const [index, pair] of files.entries()) await writeWhole(pemFile(folder, index), await combined(pair));
  const list = files.map((_, index) => `${pemFile(folder, index)}\n`).join('');
  await writeWhole(filesIn(folder).certificates, list);
}

/** Without empty lines: one would end a payload at the runtime socket. */
async function combined(files: CertificateFiles): Promise<string> {
  const { certificate, key } = await readPair(files, Date.now());
  const text = files.certificate === files.key ? certificate : `${certificate}\n${key}`;
  return `${text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .join('\n')}\n`;
}

export interface CertificateWatch {
  close(): Promise<void>;
}

/** Hands each certificate over whose files have changed. `ask` is the runtime socket. */
export async function watchCertificates(
  tls: TlsOptions,
  folder: string,
  ask: (command: string) => Promise<string>,
  log: Log,
): Promise<CertificateWatch> {
  const files = await sources(tls);
  const renew = async (index: number, pair: CertificateFiles) => {
    const path = pemFile(folder, index);
    try {
      const text = await combined(pair);
      await writeWhole(path, text);
      await ask(`set ssl cert ${path} <<\n${text}`);
      await ask(`commit ssl cert ${path}`);
      log.info({ certificate: pair.certificate }, 'the certificate is renewed; new connections get it');
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'a certificate is not renewed; the one in use stays');
    }
  };
  const watches = await Promise.all(
    files.map(async (pair, index) => {
      const paths = [pair.certificate, pair.key];
      const since = await stampsOf(paths);
      return watchFiles({ paths, since, onChange: () => renew(index, pair), everyMs: 2_000, settleMs: 250 });
    }),
  );
  return {
    async close() {
      await Promise.all(watches.map((watch) => watch.close()));
    },
  };
}
