import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isIdempotent } from '../../protocol/replay.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { HoldfastError } from '../../support/errors.ts';
import {
  type Engine,
  type EngineOptions,
  type EngineSettings,
  type EngineStatus,
  resolveOptions,
} from '../engine.ts';
import { type Downstream, HttpDownstream, TunnelDownstream } from './downstream.ts';
import { Exchange, type ExchangeContext } from './exchange.ts';
import { HeldBody } from './held-body.ts';
import { badRequest, type Refusal, rawRefusal } from './refusal.ts';
import { checkRequest, mayUpgrade, type RequestHead } from './request-check.ts';
import { outgoingRequest } from './request-head.ts';
import { Roster } from './roster.ts';

/**
 * The embedded engine: a reverse proxy on Node's own HTTP server and client. This file is its outer edge: it accepts
 * connections, refuses what is not clean HTTP, and hands each request to an exchange. One timer for the whole engine
 * looks after every limit on time.
 */
const tickMs = 100;

/** So that a refused client can read the refusal before the connection goes. */
const refusalLingerMs = 1_000;

export async function startEmbeddedEngine(options: EngineOptions): Promise<Engine> {
  const engine = new EmbeddedEngine(resolveOptions(options));
  await engine.listen();
  return engine;
}

class EmbeddedEngine implements Engine {
  readonly #settings: EngineSettings;
  readonly #server: http.Server;
  readonly #context: ExchangeContext;
  /** The latest exchange of each client connection. */
  readonly #latest = new WeakMap<Duplex, Exchange>();
  /** Connections that were refused something and are being closed: nothing more is said on them. */
  readonly #refused = new WeakSet<Duplex>();
  /** Connections that the HTTP server gave away: it neither counts nor closes them any more. */
  readonly #upgraded = new Set<Socket>();
  #ticking: NodeJS.Timeout | undefined;
  #address: { host: string; port: number };
  #isClosing = false;
  #closed: Promise<void> | undefined;

  constructor(settings: EngineSettings) {
    this.#settings = settings;
    this.#address = settings.listen;
    const roster = new Roster(settings, { news: () => this.#spreadNews() });
    this.#context = { roster, settings, held: new Set(), waiting: new Set(), tunnels: new Set() };
    this.#server = this.#createServer();
  }

  async listen(): Promise<void> {
    const { host, port } = this.#settings.listen;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen({ host, port }, resolve);
      });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new HoldfastError('LISTEN_FAILED', `The balancer cannot listen on ${host}:${port} (${code}).`, {
        remedy: 'Stop what uses the address, or set another one in balancer.listen.',
        cause: error,
      });
    }
    this.#server.on('error', (error) => {
      this.#settings.log.error({ reason: error.message }, 'the balancer could not accept a connection');
    });
    const address = this.#server.address() as AddressInfo;
    this.#address = { host: address.address, port: address.port };
    this.#ticking = setInterval(() => this.#tick(), tickMs);
  }

  apply(table: RoutingTable): void {
    if (this.#isClosing) return;
    this.#context.roster.apply(table);
    this.#spreadNews();
  }

  status(): EngineStatus {
    return { listen: this.#address, instances: this.#context.roster.traffic() };
  }

  close({ graceMs = 10_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(graceMs);
    return this.#closed;
  }

  async #close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const limit = setTimeout(() => {
      this.#server.closeAllConnections();
      for (const socket of this.#upgraded) socket.destroy();
    }, graceMs);
    await closed;
    clearTimeout(limit);
    clearInterval(this.#ticking);
    this.#context.roster.close();
  }

  #createServer(): http.Server {
    const { limits } = this.#settings;
    const server = http.createServer({
      insecureHTTPParser: false,
      requireHostHeader: true,
      maxHeaderSize: limits.headerBytes,
      headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.clientIdleMs,
      connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
      shouldUpgradeCallback: (request) =>
        mayUpgrade({ method: request.method ?? '', rawHeaders: request.rawHeaders }),
    });
    // Headers past the count would be dropped in silence; one more than allowed is enough to notice.
    server.maxHeadersCount = limits.headerCount + 1;
    server.maxConnections = limits.connections;
    server.on('request', (request, response) => this.#onRequest(request, response));
    server.on('checkContinue', (request, response) => this.#onRequest(request, response));
    server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket as Socket, head));
    server.on('connect', (_request, socket) => {
      this.#refuseSocket(socket, { status: 405, text: 'This server is no proxy for other addresses.' });
    });
    server.on('clientError', (error, socket) => this.#onClientError(error, socket));
    return server;
  }

  #onRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
    request.on('error', () => undefined); // the client went away; the response's 'close' says so
    const { socket } = request;
    const downstream = new HttpDownstream(response, {
      isClosing: () => this.#isClosing,
      onLastResponse: () => this.#refused.add(socket),
    });
    this.#begin(request, downstream, undefined);
  }

  #onUpgrade(request: http.IncomingMessage, socket: Socket, head: Buffer): void {
    const downstream = new TunnelDownstream(socket, head);
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    if (mayUpgrade(headOf(request))) this.#begin(request, downstream, request.headers.upgrade ?? '');
    else downstream.refuse(badRequest('this request cannot be upgraded'));
  }

  #begin(request: http.IncomingMessage, downstream: Downstream, upgrade: string | undefined): void {
    const { limits, nowMs } = this.#settings;
    const head = headOf(request);
    const check = checkRequest(head, limits);
    if (check.refusal) {
      downstream.refuse(check.refusal, true);
      return;
    }
    const checked = check.request;
    const facts = {
      head,
      checked,
      peerAddress: request.socket.remoteAddress ?? '',
      encrypted: false,
      upgrade,
    };
    const outgoing = outgoingRequest(facts, this.#settings);
    const body = checked.hasBody
      ? new HeldBody(request, {
          holdBytes: isIdempotent(head.method) ? limits.replayBodyBytes : 0,
          maxBytes: limits.bodyBytes,
          nowMs,
          onTooLarge: () => exchange.bodyTooLarge(),
        })
      : undefined;
    const { expectsContinue } = checked;
    const exchange = new Exchange(this.#context, downstream, { outgoing, body, expectsContinue });
    this.#latest.set(request.socket, exchange);
    exchange.start();
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const exchange = this.#latest.get(socket);
    if (exchange !== undefined && !exchange.isOver) {
      // Broken in the middle of a body: that request is refused. Broken after it (the next one): only cut.
      const canSay = exchange.isReceiving && !exchange.hasStartedResponse;
      if (canSay) exchange.refuse(clientErrorRefusal(error), true);
      else exchange.cut();
      return;
    }
    if (this.#refused.has(socket)) return;
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else this.#refuseSocket(socket, clientErrorRefusal(error));
  }

  #refuseSocket(socket: Duplex, refusal: Refusal): void {
    if (this.#refused.has(socket)) return;
    this.#refused.add(socket);
    socket.on('error', () => undefined); // it is being closed anyway
    socket.end(rawRefusal(refusal));
    setTimeout(() => socket.destroy(), refusalLingerMs).unref();
  }

  #spreadNews(): void {
    const { held, waiting, tunnels } = this.#context;
    for (const exchange of [...held, ...waiting, ...tunnels]) exchange.reconsider();
  }

  #tick(): void {
    const nowMs = this.#settings.nowMs();
    const { held, waiting } = this.#context;
    for (const exchange of [...held, ...waiting]) exchange.tick(nowMs);
  }
}

const headOf = (request: http.IncomingMessage): RequestHead => ({
  method: request.method ?? '',
  url: request.url ?? '',
  rawHeaders: request.rawHeaders,
});

function clientErrorRefusal(error: NodeJS.ErrnoException & { reason?: string }): Refusal {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, text: 'The headers of the request are too large.' };
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { status: 413, text: 'The chunk extensions of the request are too large.' };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, text: 'The request did not arrive in time.' };
    default:
      return badRequest(error.reason ? `it is not valid HTTP (${error.reason})` : 'it is not valid HTTP');
  }
}
