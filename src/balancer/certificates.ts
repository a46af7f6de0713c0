/**
 * TLS towards clients: which certificate a client gets, and how a new one comes into use. A connection keeps the
 * certificate with which it began; the next one gets what the files hold now. So nothing is dropped when a
 * certificate is renewed, and a renewal that went wrong is a line in the log and not an outage.
 *
 * Sessions are resumed by tickets alone, under keys that all processes of one balancer share, so that a client that
 * comes back need not meet the same process. The keys live in memory, as long as the balancer.
 */
import { constants, randomBytes } from 'node:crypto';
import {
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TlsOptions as ServerOptions,
} from 'node:tls';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import { type CertificatePair, readPair, refusedByLibrary } from './certificate-pair.ts';
import type { CertificateFiles, TlsOptions } from './engine.ts';
import { stampsOf, watchFiles } from './file-watch.ts';
import { selfSignedFiles } from './self-signed.ts';

export interface Certificates {
  /** For `tls.createServer` and `http2.createSecureServer`; give the server to `keepCurrent` as well. */
  readonly serverOptions: ServerOptions;
  /** Gives the server each new default certificate: the one for clients that name no host. */
  keepCurrent(server: Pick<Server, 'setSecureContext'>): void;
  /** The context for a name that a client asks for; for a `TLSSocket` without a server. */
  contextFor(serverName: string | undefined): SecureContext;
  /** Rounded down; negative after its end. */
  daysLeft(): readonly CertificateLife[];
  close(): Promise<void>;
}

export interface CertificateLife {
  /** The file that holds it. */
  readonly certificate: string;
  readonly names: readonly string[];
  readonly daysLeft: number;
}

export interface CertificatesOptions {
  /** 48 bytes, the same for all processes of one balancer. Left out: this process is alone. */
  readonly ticketKeys?: Buffer;
  /** How often the files are looked at when nothing hints at a change. */
  readonly lookEveryMs?: number;
  readonly wallMs?: () => number;
}

const dayMs = 86_400_000;
const settleMs = 250;

/** Mozilla's "intermediate" of 2025 without its finite-field suites, which no client needs that knows TLS 1.2. */
const ciphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** Rejects with CERTIFICATE_INVALID. */
export async function openCertificates(
  tls: TlsOptions,
  log: Log,
  options: CertificatesOptions = {},
): Promise<Certificates> {
  const wallMs = options.wallMs ?? Date.now;
  const common = contextOptions(tls, options.ticketKeys ?? randomBytes(48));
  const files = tls.selfSigned ? [await selfSignedFiles(tls.selfSigned, wallMs())] : tls.certificates;
  if (files.length === 0) throw noCertificate();
  const servers = new Set<Pick<Server, 'setSecureContext'>>();

  // Looked at before they are read: a change in between is noticed.
  const since = await Promise.all(files.map((one) => stampsOf(pathsOf(one))));
  const served = await Promise.all(files.map((one) => load(one, common, wallMs())));
  let choose = chooser(served);
  const defaultOptions = (): SecureContextOptions => ({ ...common, ...(served[0] as Served).material });

  async function renew(index: number, one: CertificateFiles): Promise<void> {
    try {
      served[index] = await load(one, common, wallMs());
    } catch (error) {
      log.warn({ notice: true }, `${(error as Error).message} The certificate that is in use stays.`);
      return;
    }
    log.info({ notice: true }, `the certificate ${one.certificate} is renewed; new connections get it`);
    choose = chooser(served);
    if (index === 0) for (const server of servers) server.setSecureContext(defaultOptions());
  }

  const watches = files.map((one, index) =>
    watchFiles({
      paths: pathsOf(one),
      since: since[index] as string,
      onChange: () => renew(index, one),
      everyMs: options.lookEveryMs ?? 2_000,
      settleMs,
    }),
  );
  return {
    serverOptions: {
      ...defaultOptions(),
      ALPNProtocols: tls.http2 ? ['h2', 'http/1.1', 'http/1.0'] : ['http/1.1', 'http/1.0'],
      SNICallback: (name, answer) => answer(null, choose(name)),
    },
    keepCurrent: (server) => {
      servers.add(server);
      server.setSecureContext(defaultOptions());
    },
    contextFor: (name) => choose(name),
    daysLeft: () =>
      served.map(({ pair }) => ({
        certificate: pair.files.certificate,
        names: pair.names,
        daysLeft: Math.floor((pair.validUntilMs - wallMs()) / dayMs),
      })),
    async close() {
      await Promise.all(watches.map((watch) => watch.close()));
    },
  };
}

interface Served {
  readonly pair: CertificatePair;
  readonly material: { readonly cert: string; readonly key: string };
  readonly context: SecureContext;
}

async function load(files: CertificateFiles, common: SecureContextOptions, wallMs: number): Promise<Served> {
  const pair = await readPair(files, wallMs);
  const material = { cert: pair.certificate, key: pair.key };
  try {
    return { pair, material, context: createSecureContext({ ...common, ...material }) };
  } catch (error) {
    throw refusedByLibrary(files, error);
  }
}

function contextOptions(tls: TlsOptions, ticketKeys: Buffer): SecureContextOptions {
  return {
    minVersion: tls.minVersion ?? 'TLSv1.2',
    ciphers,
    // Of suites that are all good the client knows best which is cheap for it.
    honorCipherOrder: false,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    ticketKeys,
    sessionTimeout: 3_600,
    // Node's own is made from the command line, which differs between processes of one balancer.
    sessionIdContext: 'holdfast',
  };
}

/** Exact names before wildcards, which stand for one label; who asks for none of them gets the first certificate. */
function chooser(served: readonly Served[]): (serverName: string | undefined) => SecureContext {
  const byName = new Map<string, SecureContext>();
  for (const { pair, context } of served) {
    for (const name of pair.names) if (!byName.has(name)) byName.set(name, context);
  }
  const first = (served[0] as Served).context;
  return (serverName) => {
    if (!serverName) return first;
    const name = serverName.toLowerCase();
    const parent = name.indexOf('.');
    return byName.get(name) ?? (parent > 0 ? byName.get(`*${name.slice(parent)}`) : undefined) ?? first;
  };
}

const pathsOf = ({ certificate, key }: CertificateFiles): string[] => [certificate, key];

const noCertificate = (): HoldfastError =>
  new HoldfastError('CERTIFICATE_INVALID', 'TLS is switched on, and no certificate is named.', {
    remedy: 'Name the files of a certificate and its key, or ask for a self-signed one.',
  });
