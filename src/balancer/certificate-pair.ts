/**
 * A certificate and its key, read and checked before any client is served with them. Whatever is wrong with the
 * files is found here and not in a handshake: there it would be an alert of one byte in some browser. The text of a
 * key appears in no message.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { HoldfastError } from '../support/errors.ts';
import type { CertificateFiles } from './engine.ts';

export interface CertificatePair {
  readonly files: CertificateFiles;
  /** PEM: the certificate, then its chain. */
  readonly certificate: string;
  readonly key: string;
  /** Host names and addresses that it is for, in lower case; a wildcard as it stands. */
  readonly names: readonly string[];
  readonly validUntilMs: number;
}

/** Rejects with CERTIFICATE_INVALID, which names the file and what to do about it. */
export async function readPair(files: CertificateFiles, wallMs: number): Promise<CertificatePair> {
  const certificate = await read(files.certificate, 'certificate');
  const key = await read(files.key, 'key');
  const [own, ...chain] = parseChain(files.certificate, certificate);
  const privateKey = parseKey(files.key, key);
  if (!own.checkPrivateKey(privateKey)) {
    const later = chain.some((one) => one.checkPrivateKey(privateKey));
    throw wrong(
      `The key ${files.key} does not belong to the ${later ? 'first ' : ''}certificate in ${files.certificate}.`,
      later
        ? "Put the server's own certificate first, then those that signed it, in their order."
        : 'Give the key with which this certificate was requested; both files must be of the same renewal.',
    );
  }
  refuseOutsideValidity(files.certificate, own, wallMs);
  return { files, certificate, key, names: namesOf(own), validUntilMs: own.validToDate.getTime() };
}

/** The names of a certificate. The subject's common name counts only where there is no list of names, as of old. */
export function namesOf(certificate: Pick<X509Certificate, 'subjectAltName' | 'subject'>): string[] {
  // Node writes what could be misread between quotation marks; that is no name of a host.
  const entries = (certificate.subjectAltName ?? '').matchAll(
    /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy,
  );
  const names = [...entries]
    .filter(([, kind, value]) => (kind === 'DNS' || kind === 'IP Address') && !value?.startsWith('"'))
    .map(([, , value = '']) => canonicalName(value));
  if (names.length > 0) return names;
  const commonName = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  return commonName === undefined ? [] : [canonicalName(commonName)];
}

/** One spelling for each name: lower case, IPv6 in its shortest form. */
export function canonicalName(name: string): string {
  const text = name.toLowerCase().replace(/\.$/, '');
  if (!text.includes(':') || !URL.canParse(`http://[${text}]`)) return text;
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}

/** A certificate that the TLS library refuses, for a reason that only it knows. */
export const refusedByLibrary = ({ certificate }: CertificateFiles, cause: unknown): HoldfastError =>
  wrong(
    `The certificate ${certificate} cannot be served: ${(cause as Error).message}.`,
    'Request a new one with an RSA key of at least 2048 bits or an EC key on P-256.',
    cause,
  );

async function read(file: string, what: 'certificate' | 'key'): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: 'there is no such file',
      EACCES: 'this user may not read it',
      EISDIR: 'it is a folder',
    };
    throw wrong(
      `The ${what} ${file} cannot be read: ${reasons[code ?? ''] ?? message}.`,
      'Correct the path, or let the user who runs the balancer read the file.',
      cause,
    );
  }
}

const certificateBlock =
  /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;

function parseChain(file: string, text: string): [X509Certificate, ...X509Certificate[]] {
  const [own, ...chain] = [...text.matchAll(certificateBlock)].map(([block], index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw wrong(
        `Certificate ${index + 1} in ${file} is damaged.`,
        'Copy the file again from where it was issued.',
        cause,
      );
    }
  });
  if (own) return [own, ...chain];
  throw wrong(
    `${file} holds no certificate in PEM format.`,
    'Give a file with a line "-----BEGIN CERTIFICATE-----"; one in DER format is converted by `openssl x509 -inform der`.',
  );
}

function parseKey(file: string, text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    if (/BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(text)) {
      throw wrong(
        `The key ${file} is protected by a passphrase.`,
        `Keep a copy without one, which only the balancer's user can read: \`openssl pkey -in ${file} -out …\`.`,
      );
    }
    throw wrong(
      `${file} holds no private key in PEM format.`,
      'Give a file with a line "-----BEGIN PRIVATE KEY-----" (or RSA or EC PRIVATE KEY).',
      cause,
    );
  }
}

function refuseOutsideValidity(file: string, certificate: X509Certificate, wallMs: number): void {
  const { validFromDate: from, validToDate: until } = certificate;
  if (wallMs > until.getTime()) {
    throw wrong(
      `The certificate ${file} ended on ${until.toISOString()}.`,
      'Renew it; no browser accepts it any more.',
    );
  }
  if (wallMs < from.getTime()) {
    throw wrong(
      `The certificate ${file} begins on ${from.toISOString()}, and here it is ${new Date(wallMs).toISOString()}.`,
      "Wait until then, or set this machine's clock.",
    );
  }
}

const wrong = (message: string, remedy: string, cause?: unknown): HoldfastError =>
  new HoldfastError('CERTIFICATE_INVALID', message, { remedy, cause });
