/**
 * Load at a fixed rate, whatever the server does: request number n is due at n / rate, and its latency counts from
 * that moment, not from the one at which a connection was free to send it. A server that stops for a while is so
 * charged with every request that it kept waiting, and not with one for each connection (wrk, which sends the next
 * request when the last one was answered, omits the others). Started by latency.ts, with its settings as argument.
 */
import { Worker } from 'node:worker_threads';
import { type Summary, summary } from './figures.ts';
import { RawClient } from './raw-client.ts';

export interface OpenLoopSettings {
  readonly port: number;
  readonly perSecond: number;
  readonly seconds: number;
  /** Before what is measured. */
  readonly warmUpSeconds: number;
  readonly connections: number;
  readonly requests: readonly string[];
}

export interface OpenLoopResult {
  readonly latency: Summary;
  readonly failed: number;
}

/** Timers of Node have a grain of 1 ms; this thread wakes the event loop ten times as often, without using it up. */
const pacer = `
  const { parentPort } = require('node:worker_threads');
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    Atomics.wait(nothing, 0, 0, 0.1);
    parentPort.postMessage(0);
  }
`;

async function generate(settings: OpenLoopSettings): Promise<OpenLoopResult> {
  const { perSecond, seconds, warmUpSeconds, requests } = settings;
  const warmUp = Math.round(perSecond * warmUpSeconds);
  const total = warmUp + Math.round(perSecond * seconds);
  const dueMs = new Float64Array(total);
  const latencyMs = new Float64Array(total);
  const carried = new Int32Array(settings.connections); // the request that a connection carries
  const free: number[] = [];
  let sent = 0;
  let answered = 0;
  let failed = 0;

  const finished = Promise.withResolvers<void>();
  const clients = Array.from(
    { length: settings.connections },
    (_, index) =>
      new RawClient(settings.port, (status) => {
        const request = carried[index] ?? 0;
        latencyMs[request] = performance.now() - (dueMs[request] ?? 0);
        if (status !== 200) failed++;
        free.push(index);
        if (++answered === total) finished.resolve();
        else sendDue();
      }),
  );
  await Promise.all(clients.map((client) => client.connected()));
  free.push(...clients.keys());

  const startMs = performance.now();
  for (let request = 0; request < total; request++) dueMs[request] = startMs + (request * 1_000) / perSecond;
  function sendDue(): void {
    const nowMs = performance.now();
    while (free.length > 0 && sent < total && (dueMs[sent] ?? 0) <= nowMs) {
      const index = free.shift() ?? 0;
      carried[index] = sent;
      clients[index]?.send(requests[sent % requests.length] ?? '');
      sent++;
    }
  }
  const worker = new Worker(pacer, { eval: true });
  worker.on('message', sendDue);
  await finished.promise;
  await worker.terminate();
  for (const client of clients) client.close();
  return { latency: summary(latencyMs.subarray(warmUp)), failed };
}

const result = await generate(JSON.parse(process.argv[2] ?? '{}') as OpenLoopSettings);
process.send?.(result, () => process.exit());
