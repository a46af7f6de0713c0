import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { isHost, plainAddress } from '../../protocol/forwarded.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Certificates } from '../certificates.ts';
import type { Address, SocketShelf } from '../engine.ts';
import { readProxyHeader } from '../proxy-protocol.ts';
import { ClientConnection } from './client-connection.ts';
import { serveStreams } from './client-streams.ts';
import type { Client, DataPath } from './data-path.ts';
import type { Exchange } from './exchange.ts';
import type { ClientFacts } from './request-intake.ts';
import { adoptSocket, readOrdinarily, SocketBuffer } from './socket-reader.ts';

/**
 * The door: it accepts connections, counts them, hears the PROXY header where a proxy sends one, speaks TLS where that is
 * asked for, and hands each connection to what understands its protocol.
 */
export interface ListenerOptions {
  readonly path: DataPath;
  readonly certificates: Certificates | undefined;
  /** Several processes may listen on the port. */
  readonly sharesPort: boolean;
  /** A socket that listens already, from an earlier process. */
  readonly inherited: ListeningSocket | undefined;
}

/** A listening socket apart from whoever accepts from it: what travels from one process to the next. */
export interface ListeningSocket {
  close(): void;
}

export interface Listener {
  readonly address: Address;
  readonly socket: ListeningSocket;
  /** Takes no more connections. */
  stop(): void;
}

const backlog = 4_096;

export async function openListener(options: ListenerOptions): Promise<Listener> {
  const door = new Door(options);
  await door.listen();
  return door;
}

class Door implements Listener {
  readonly #server: net.Server;
  address: Address;
  readonly #options: ListenerOptions;
  readonly #path: DataPath;
  readonly #secure: tls.Server | undefined;
  readonly #byAddress = new Map<string, number>();
  /** Whose connections are under those of TLS, by the address and port of the peer. */
  readonly #securing = new Map<string, { readonly arrival: Arrival; readonly facts: ClientFacts }>();
  #open = 0;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#path = options.path;
    this.address = options.path.settings.listen;
    this.#secure = options.certificates && this.#secureServer(options.certificates);
    // Where nothing has to be read before the connection is handed over, its handle can be moved into another socket.
    const isPlain = this.#secure === undefined && this.#path.settings.proxyProtocolFrom === undefined;
    this.#server = net.createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
      pauseOnConnect: isPlain,
    });
    this.#server.on('connection', (socket) => this.#accept(socket, isPlain));
  }

  async listen(): Promise<void> {
    const { settings } = this.#path;
    const { host, port } = settings.listen;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        const { inherited, sharesPort } = this.#options;
        if (inherited !== undefined) this.#server.listen(inherited, backlog, resolve);
        else if (sharesPort || port === 0)
          this.#server.listen({ host, port, backlog, reusePort: true }, resolve);
        else {
          // Others may join later, when there are workers. That nobody listens here yet is seen by asking for the
          // address alone: with `reusePort`, two balancers would share it without a word.
          const alone = net.createServer().once('error', reject);
          alone.listen({ host, port, exclusive: true }, () =>
            alone.close(() => this.#server.listen({ host, port, backlog, reusePort: true }, resolve)),
          );
        }
      });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new HoldfastError('LISTEN_FAILED', `The balancer cannot listen on ${host}:${port} (${code}).`, {
        remedy: 'Stop what uses the address, or set another one in balancer.listen.',
        cause: error,
      });
    }
    this.#server.on('error', (error) => {
      settings.log.error({ reason: error.message }, 'the balancer could not accept a connection');
    });
    const at = this.#server.address() as net.AddressInfo;
    this.address = { host: at.address, port: at.port };
  }

  get socket(): ListeningSocket {
    return listeningSocket(this.#server);
  }

  stop(): void {
    this.#server.close();
  }

  #accept(socket: net.Socket, isPlain: boolean): void {
    const { limits, proxyProtocolFrom } = this.#path.settings;
    const peer = plainAddress(socket.remoteAddress ?? '') ?? '';
    if (peer === '' || this.#open >= limits.connections) {
      socket.destroy();
      return;
    }
    this.#path.accepted++;
    const facts = clientFacts(socket, peer);
    if (isPlain) {
      if (this.#hasRoomFor(peer)) this.#servePlain(socket, facts);
      else socket.destroy();
      return;
    }
    socket.on('error', () => undefined); // 'close' follows and is what counts
    this.#open++;
    socket.once('close', () => this.#open--);
    const arrival = new Arrival(socket);
    this.#path.clients.add(arrival);
    socket.once('close', () => this.#path.gone(arrival));
    if (proxyProtocolFrom?.trusts(peer)) this.#hearProxy(arrival, facts);
    else this.#welcome(arrival, facts);
  }

  #hasRoomFor(address: string): boolean {
    return (this.#byAddress.get(address) ?? 0) < this.#path.settings.limits.connectionsPerAddress;
  }

  /** Counts a connection of this client, until it closes. */
  #count(socket: net.Socket, address: string): void {
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
    socket.once('close', () => this.#left(address));
  }

  #left(peer: string): void {
    const count = (this.#byAddress.get(peer) ?? 1) - 1;
    if (count > 0) this.#byAddress.set(peer, count);
    else this.#byAddress.delete(peer);
  }

  /** The fast way: no TLS, and nothing to be heard before HTTP. */
  #servePlain(accepted: net.Socket, facts: ClientFacts): void {
    const buffer = new SocketBuffer();
    let client: ClientConnection | undefined;
    const socket = adoptSocket(accepted, buffer, {
      onBytes: (bytes, from, to, owned) => client?.onBytes(bytes, from, to, owned),
    });
    client = new ClientConnection(this.#path, socket, buffer, facts);
    this.#path.clients.add(client);
    this.#open++;
    socket.once('close', () => this.#open--);
    this.#count(socket, facts.address);
    socket.resume();
  }

  #welcome(arrival: Arrival, facts: ClientFacts): void {
    const { socket } = arrival;
    if (!this.#hasRoomFor(facts.address)) {
      socket.destroy();
      return;
    }
    this.#count(socket, facts.address);
    if (this.#secure === undefined) {
      this.#path.gone(arrival);
      this.#serveOrdinary(socket, facts, socket);
      return;
    }
    const key = peerKey(socket);
    this.#securing.set(key, { arrival, facts });
    socket.once('close', () => this.#securing.delete(key));
    this.#secure.emit('connection', socket);
  }

  #serveOrdinary(socket: net.Socket, facts: ClientFacts, transport: net.Socket): void {
    const client = new ClientConnection(this.#path, socket, undefined, facts, transport);
    this.#path.clients.add(client);
    readOrdinarily(socket, client);
  }

  #secureServer(certificates: Certificates): tls.Server {
    const { headersTimeoutMs } = this.#path.settings.limits;
    const server = tls.createServer({ ...certificates.serverOptions, handshakeTimeout: headersTimeoutMs });
    certificates.keepCurrent(server);
    server.on('secureConnection', (socket) => {
      socket.on('error', () => undefined); // as above
      const known = this.#securing.get(peerKey(socket));
      if (known === undefined) {
        socket.destroy();
        return;
      }
      this.#path.gone(known.arrival);
      const encrypted = { ...known.facts, encrypted: true, tlsVersion: socket.getProtocol() ?? 'TLS' };
      if (socket.alpnProtocol === 'h2') serveStreams(this.#path, socket, encrypted);
      else this.#serveOrdinary(socket, encrypted, known.arrival.socket);
    });
    server.on('tlsClientError', (error, socket) => {
      this.#path.settings.log.debug({ reason: error.message }, 'a client could not agree on TLS');
      socket.destroy();
    });
    return server;
  }

  /** The first bytes say for whom the proxy speaks. */
  #hearProxy(arrival: Arrival, facts: ClientFacts): void {
    const { socket } = arrival;
    let heard: Buffer = Buffer.alloc(0);
    const patience = setTimeout(() => socket.destroy(), this.#path.settings.limits.headersTimeoutMs);
    socket.once('close', () => clearTimeout(patience));
    const hear = (piece: Buffer) => {
      heard = Buffer.concat([heard, piece]);
      const header = readProxyHeader(heard, 0, heard.length);
      if (header.kind === 'incomplete') return;
      clearTimeout(patience);
      socket.off('data', hear);
      if (header.kind === 'invalid') {
        this.#path.settings.log.debug(
          { peer: facts.address, reason: header.reason },
          'an invalid PROXY header',
        );
        socket.destroy();
        return;
      }
      socket.pause();
      const rest = heard.subarray(header.consumedBytes);
      if (rest.length > 0) socket.unshift(rest);
      const { source, destination } = header;
      const told = source === undefined ? {} : { address: source.address, port: source.port };
      const at =
        destination === undefined ? {} : { localAddress: destination.address, localPort: destination.port };
      this.#welcome(arrival, { ...facts, ...told, ...at });
      if (this.#secure === undefined) socket.resume();
    };
    socket.on('data', hear);
  }
}

/** A connection of which is not known yet whose it is, or what it speaks. */
class Arrival implements Client {
  readonly socket: net.Socket;

  constructor(socket: net.Socket) {
    this.socket = socket;
  }

  tick(): void {
    // The handshake of TLS and the PROXY header have limits of their own.
  }

  exchanges(): readonly Exchange[] {
    return [];
  }

  endWhenIdle(now: boolean): void {
    if (now) this.destroy();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

const listeningSocket = (server: net.Server): ListeningSocket =>
  (server as unknown as { _handle: ListeningSocket })._handle;

const peerKey = ({ remoteAddress, remotePort }: net.Socket): string => `${remoteAddress} ${remotePort}`;

function clientFacts(socket: net.Socket, address: string): ClientFacts {
  return {
    address,
    port: socket.remotePort ?? 0,
    localAddress: plainAddress(socket.localAddress ?? '') ?? '0.0.0.0',
    localPort: socket.localPort ?? 0,
    encrypted: false,
  };
}

/** Plain HTTP beside TLS: everything is sent to the same address under https. */
export async function openRedirect(
  listen: Address,
  httpsPort: number,
  sockets: SocketShelf,
): Promise<http.Server> {
  const server = http.createServer((request, response) => {
    const { host = '' } = request.headers;
    const name = host.replace(/:\d+$/, '');
    if (!isHost(host) || !request.url?.startsWith('/')) {
      response.writeHead(400, { Connection: 'close' }).end();
      return;
    }
    const port = httpsPort === 443 ? '' : `:${httpsPort}`;
    response.writeHead(308, { Location: `https://${name}${port}${request.url}`, 'Content-Length': 0 }).end();
  });
  const name = `redirect on ${listen.host}:${listen.port}`;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const { host, port } = listen;
      const message = `The balancer cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`;
      const remedy = 'Stop what uses the address, or set another one in balancer.tls.redirectFrom.';
      reject(new HoldfastError('LISTEN_FAILED', message, { remedy, cause }));
    });
    server.listen(sockets.take(name) ?? listen, resolve);
  });
  sockets.keep(name, listeningSocket(server));
  return server;
}
