import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cleanup } from '../../testing/balancer/cleanup.ts';
import { until } from '../../testing/balancer/until.ts';
import type { EmbeddedEngine } from './engine.ts';
import { type Serve, startBalancer, startInstance } from './instance.fixture.ts';
import { Uptake } from './uptake.ts';

/** More than the kernel holds for a connection. */
const muchBytes = 24 * 1024 * 1024;
const pieceBytes = 64 * 1024;

const answeringMuch: Serve = (socket) => {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${muchBytes}\r\n\r\n`);
  socket.write(Buffer.alloc(muchBytes));
};

/** A client that reads only when it is told to. */
class SlowReader {
  readonly #socket: net.Socket;
  received = 0;
  isClosed = false;

  constructor(t: Cleanup, port: number, headers = '') {
    this.#socket = net.connect({ port, host: '127.0.0.1' });
    t.after(() => void this.#socket.destroy());
    this.#socket.on('error', () => undefined); // 'close' follows
    this.#socket.on('close', () => {
      this.isClosed = true;
    });
    this.#socket.write(`GET / HTTP/1.1\r\nHost: a\r\n${headers}\r\n`);
  }

  /** One piece, if there is one. */
  read(): void {
    const bytes = (this.#socket.read(pieceBytes) ?? this.#socket.read()) as Buffer | null;
    this.received += bytes?.length ?? 0;
  }

  async readAll(): Promise<void> {
    this.#socket.on('data', (bytes: Buffer) => {
      this.received += bytes.length;
    });
    await until(
      () => `all was received, not ${this.received}`,
      () => this.received > muchBytes || this.isClosed,
      20_000,
    );
  }
}

const inFlight = (engine: EmbeddedEngine): number => engine.status().instances[0]?.inFlight ?? -1;

test('an answer that ends its connection reaches a slow reader to the last byte', async (t) => {
  const instance = await startInstance(t, answeringMuch);
  const limits = { bufferBytes: 8 * 1024 * 1024 }; // much is still here when the instance is done
  const { engine, port } = await startBalancer(t, [instance.port], { limits });
  const reader = new SlowReader(t, port, 'Connection: close\r\n');
  await until('the instance works on it', () => inFlight(engine) === 1);
  while (inFlight(engine) === 1) {
    reader.read();
    await sleep(1);
  }
  await sleep(2_500); // longer than a connection lingers
  await reader.readAll();
  assert.ok(reader.received > muchBytes, `${reader.received} of ${muchBytes} bytes`);
});

test('whoever reads slowly but steadily is not cut', async (t) => {
  const instance = await startInstance(t, answeringMuch);
  const limits = { readIdleMs: 1_000, bufferBytes: 8 * 1024 * 1024 };
  const { port } = await startBalancer(t, [instance.port], { limits });
  const reader = new SlowReader(t, port);
  const startedMs = performance.now();
  while (performance.now() - startedMs < 2_500) {
    reader.read();
    await sleep(20);
  }
  assert.ok(!reader.isClosed);
  await reader.readAll();
  assert.ok(reader.received > muchBytes, `${reader.received} of ${muchBytes} bytes`);
});

test('whoever reads nothing is cut', async (t) => {
  const instance = await startInstance(t, answeringMuch);
  const { engine, port } = await startBalancer(t, [instance.port], { limits: { readIdleMs: 500 } });
  new SlowReader(t, port);
  await until('the instance works on it', () => inFlight(engine) === 1);
  await until('the connection is cut', () => engine.status().clients.connections === 0, 3_000);
});

test('a buffer smaller than what a socket holds slows the instance and does not stop it', async (t) => {
  const instance = await startInstance(t, answeringMuch);
  const { port } = await startBalancer(t, [instance.port], { limits: { bufferBytes: 4_096 } });
  const reader = new SlowReader(t, port);
  await sleep(500);
  await reader.readAll();
  assert.ok(reader.received > muchBytes, `${reader.received} of ${muchBytes} bytes`);
});

test('stalled is whoever has something to take and takes nothing', () => {
  const uptake = new Uptake();
  assert.equal(uptake.stalledMs(0, 100), 0);
  assert.equal(uptake.stalledMs(50, 200), 0);
  assert.equal(uptake.stalledMs(50, 900), 700);
  assert.equal(uptake.stalledMs(49, 1_000), 0);
  assert.equal(uptake.stalledMs(49, 1_100), 100);
  assert.equal(uptake.stalledMs(0, 9_000), 0);
});
