/** What every measurement needs: instances that cost next to nothing, a certificate, a folder, and the requests. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePort } from '../../src/platform/free-port.ts';
import { type CertificateFiles, nginxInstances } from './configurations.ts';
import { loadCore } from './processes.ts';
import { nginx } from './proxies.ts';

export interface Scene {
  readonly folder: string;
  /** Ports of the two instances. */
  readonly instances: readonly number[];
  readonly certificate: CertificateFiles;
  readonly isQuick: boolean;
  readonly rounds: number;
  /** How often an instance is killed, and how often one is frozen. */
  readonly kills: number;
  readonly freezes: number;
  progress(text: string): void;
  end(): Promise<void>;
}

export const smallBytes = 128;
/** 1 MB, and not 1 MiB: some of the proxies refuse more by default. */
export const largeBytes = 1_000_000;

export async function openScene(
  settings: Pick<Scene, 'isQuick' | 'rounds' | 'kills' | 'freezes' | 'progress'>,
): Promise<Scene> {
  // In memory: a disk must not decide what a proxy can do.
  const root = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const folder = await mkdtemp(join(root, 'holdfast-bench-'));
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeFolder);
  const instancesFolder = join(folder, 'instances');
  await mkdir(join(instancesFolder, 'uploads'), { recursive: true });
  await writeFile(join(instancesFolder, 'large'), Buffer.alloc(largeBytes, 'x'));
  const instances = [await findFreePort(), await findFreePort()];
  const started = await nginx(
    () => nginxInstances(instancesFolder, instances, 'x'.repeat(smallBytes)),
    loadCore,
  )({ port: 0, instances, folder: instancesFolder });
  for (const port of instances) await started.listening(port);
  return {
    ...settings,
    folder,
    instances,
    certificate: makeCertificate(folder),
    async end() {
      await started.stop();
      removeFolder();
    },
  };
}

/** ECDSA P-256, as certificate authorities issue them by default. */
function makeCertificate(folder: string): CertificateFiles {
  const certificate = join(folder, 'shop.pem');
  const key = `${certificate}.key`; // where HAProxy looks for it
  const subject = ['-subj', '/CN=shop.example', '-addext', 'subjectAltName=DNS:shop.example'];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7'];
  execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
  });
  return { certificate, key };
}

/** A request with the eight headers of a browser, and Content-Length where it has a body. */
export function browserRequest(
  line: string,
  { cookie, body }: { cookie?: string | undefined; body?: string } = {},
): string {
  const cookies = ['session=8f14e45fceea167a5a36dedd4bea2543', cookie].filter(Boolean).join('; ');
  const length = body === undefined ? '' : `Content-Length: ${body.length}\r\n`;
  return (
    `${line} HTTP/1.1\r\n` +
    'Host: shop.example\r\n' +
    'Connection: keep-alive\r\n' +
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n' +
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n' +
    'Accept-Language: en-GB,en;q=0.5\r\n' +
    'Accept-Encoding: gzip, deflate, br, zstd\r\n' +
    'Referer: https://shop.example/basket\r\n' +
    `Cookie: ${cookies}\r\n${length}\r\n${body ?? ''}`
  );
}

/** Of nine requests eight come from users who have been here before, on either instance, and one from a new one. */
export const asUsers = (cookies: readonly string[], request: (cookie?: string) => string): string[] => [
  ...Array.from({ length: 8 }, (_, index) => request(cookies[index % cookies.length])),
  request(),
];
