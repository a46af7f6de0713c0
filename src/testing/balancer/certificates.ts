import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import type { CertificateFiles } from '../../balancer/engine.ts';
import { type Cleanup, temporaryFolder } from './cleanup.ts';

/** A certificate of its own authority, and the files that hold it. */
export interface TestCertificate extends CertificateFiles {
  readonly name: string;
  /** What a client trusts to reach it. */
  readonly ca: string;
}

/** Writes a new certificate for this name; over the files of an earlier one where they are given. */
export async function makeCertificate(
  folder: string,
  name: string,
  files: CertificateFiles = { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) },
): Promise<TestCertificate> {
  const pair = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: name }] },
    ],
  });
  await mkdir(folder, { recursive: true });
  await writeFile(files.key, pair.private);
  await writeFile(files.certificate, pair.cert);
  return { ...files, name, ca: pair.cert };
}

/** Certificates for these names, in a folder that goes with the test. */
export async function certificatesFor(t: Cleanup, ...names: string[]): Promise<TestCertificate[]> {
  const folder = await temporaryFolder(t);
  return Promise.all(names.map((name) => makeCertificate(folder, name)));
}
