/**
 * The balancer's own page for those who run it: metrics for Prometheus, everything as JSON, and a verdict for whoever
 * chooses between balancers. It belongs on the loopback address; it only reads, and it holds no secret. It answers
 * from memory, so it goes on while the arbiter is away.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CertificateLife } from '../balancer/certificates.ts';
import type { Address, EngineStatus, SocketShelf } from '../balancer/engine.ts';
import type { Loss } from '../balancer/kill-ledger.ts';
import { prometheusContentType, prometheusText } from '../balancer/metrics.ts';
import { HoldfastError } from '../support/errors.ts';

export interface AdminSources {
  readonly status: () => EngineStatus;
  readonly losses: () => readonly Loss[];
  readonly certificates: () => readonly CertificateLife[];
  /** Given to every metric. */
  readonly labels: () => Readonly<Record<string, string>>;
}

export interface Admin {
  /** Of the pages, without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

interface Page {
  readonly status: 200 | 503;
  readonly type: string;
  readonly body: string;
}

const json = 'application/json';

const pages: Readonly<Record<string, (sources: AdminSources) => Page | Promise<Page>>> = {
  '/metrics': async ({ status, labels }) => ({
    status: 200,
    type: prometheusContentType,
    body: await prometheusText(status(), labels()),
  }),
  '/status': ({ status, losses, certificates }) => ({
    status: 200,
    type: json,
    body: `${JSON.stringify({ ...status(), losses: losses(), certificates: certificates() }, null, 2)}\n`,
  }),
  '/health': ({ status }) => healthPage(status()),
};

/** A balancer that can reach no instance is of no use to users, even if no other one can either. */
function healthPage({ instances }: Pick<EngineStatus, 'instances'>): Page {
  if (instances.some(({ healthy }) => healthy)) return { status: 200, type: 'text/plain', body: 'OK\n' };
  const reason =
    instances.length === 0 ? 'the routing table names no instance' : 'no instance passes its checks';
  return { status: 503, type: json, body: `${JSON.stringify({ reason })}\n` };
}

/** Rejects with LISTEN_FAILED. Port 0 takes a free one. `sockets`: where the page of an earlier process left its own. */
export async function openAdmin(
  listen: Address,
  sources: AdminSources,
  sockets?: SocketShelf,
): Promise<Admin> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    void answer(request, response, sources);
  });
  const name = `admin on ${listen.host}:${listen.port}`;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(listenFailed(listen, cause)));
    const inherited = sockets?.take(name);
    if (inherited === undefined) server.listen(listen.port, listen.host, resolve);
    else server.listen(inherited, resolve);
  });
  sockets?.keep(name, (server as unknown as { _handle: object })._handle);
  const { port } = server.address() as AddressInfo;
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return {
    url: `http://${host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  sources: AdminSources,
): Promise<void> {
  const path = (request.url ?? '/').split('?')[0] ?? '/';
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  if (!page) {
    const known = Object.keys(pages).join(', ');
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`The pages are ${known}\n`);
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD', 'content-type': 'text/plain' }).end('GET or HEAD\n');
    return;
  }
  const { status, type, body } = await page(sources);
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}

const listenFailed = ({ host, port }: Address, cause: Error): HoldfastError =>
  new HoldfastError(
    'LISTEN_FAILED',
    `The balancer's admin page cannot listen on ${host}:${port}: ${cause.message}.`,
    { cause, remedy: 'Choose another address for it; port 0 takes a free one.' },
  );
