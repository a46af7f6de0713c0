/** Instances that behave as a test says, byte by byte, and an engine in front of them. */
import net from 'node:net';
import type { Cleanup } from '../../testing/balancer/cleanup.ts';
import { connectRaw, type RawConnection } from '../../testing/balancer/raw-connection.ts';
import { testStickyKey } from '../../testing/balancer/scene.ts';
import type { EngineOptions } from '../engine.ts';
import { type EmbeddedEngine, startEmbeddedEngine } from './engine.ts';

/** Called with each piece that arrives on a connection; health checks are answered without it. */
export type Serve = (socket: net.Socket, piece: Buffer) => void;

export interface TestInstance {
  readonly port: number;
  /** Its connections, those of health checks left out. */
  readonly connections: readonly net.Socket[];
}

export async function startInstance(t: Cleanup, serve: Serve): Promise<TestInstance> {
  const connections: net.Socket[] = [];
  const all = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true }, (socket) => {
    all.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => all.delete(socket));
    socket.on('data', (piece) => {
      if (!connections.includes(socket)) {
        if (piece.toString('latin1').startsWith('GET /health ')) {
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
          return;
        }
        connections.push(socket);
      }
      serve(socket, piece);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.close();
    for (const socket of all) socket.destroy();
  });
  return { port: (server.address() as net.AddressInfo).port, connections };
}

/** Answers every request, whatever it is, with this body. */
export const answering =
  (body: string): Serve =>
  (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };

/** A port on which nobody listens. */
export async function deadPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** An engine that knows instances on these ports as shop-1, shop-2, … and believes in all of them. */
export async function startBalancer(
  t: Cleanup,
  ports: readonly number[],
  options: Partial<EngineOptions> = {},
): Promise<{
  readonly engine: EmbeddedEngine;
  readonly port: number;
  client(bytes?: string): RawConnection;
}> {
  const engine = await startEmbeddedEngine({
    listen: { host: '127.0.0.1', port: 0 },
    health: { path: '/health', everyMs: 1_000, timeoutMs: 500, unhealthyAfter: 1_000, healthyAfter: 1 },
    ...options,
  });
  t.after(() => engine.close({ graceMs: 0 }));
  engine.apply({
    cluster: 'test',
    stickyKey: testStickyKey,
    instances: ports.map((port, index) => {
      return { instance: `shop-${index + 1}`, host: '127.0.0.1', port, state: 'up' as const };
    }),
  });
  const { port } = engine.status().listen;
  return { engine, port, client: (bytes = '') => connectRaw(t, port, bytes) };
}
