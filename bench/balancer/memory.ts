/**
 * What clients cost that do nothing: ten thousand idle connections, and clients that ask for much and read nothing, or
 * send much to an instance that reads nothing. The embedded engine is a process of its own; what counts is what the
 * kernel says is resident, after garbage was collected.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { makeCertificate } from '../../src/balancer/certificates.fixture.ts';
import { defaultLimits, type EngineOptions } from '../../src/balancer/index.ts';
import { type DrivenEngine, type DrivenEngines, startDrivenEngines } from './driven-engine.ts';
import { MemoryInstance } from './memory-instance.ts';
import { descriptors, megabytes, residentBytes } from './proc-readings.ts';

export interface MemoryOptions {
  /** Idle connections; 10,000 if left out. */
  readonly connections?: number;
  readonly onProgress?: (line: string) => void;
}

export interface IdleFigure {
  readonly what: string;
  readonly connections: number;
  readonly bytesEach: number;
  /** Open in the engine when they were closed, more than before. */
  readonly descriptorsLeft: number;
}

export interface SlowFigure {
  readonly what: string;
  readonly clients: number;
  readonly grownBytes: number;
  readonly allowedBytes: number;
  /** How much an instance could send, or a client, before it was stopped, for each of them: kernel buffers included. */
  readonly passedBytesEach: number;
}

export interface MemoryResult {
  readonly idle: readonly IdleFigure[];
  readonly slow: readonly SlowFigure[];
  /** In sentences; none: all is well. */
  readonly problems: readonly string[];
}

const targetBytesEach = 25 * 1_024;
/**
 * Beside the configured buffer, a client that is being served costs the objects of two sockets and what one read from
 * the kernel brings: it is read before anybody can say "stop".
 */
const socketBytes = 128 * 1_024;
/** What waits under TLS waits twice: as it came, and as OpenSSL has encrypted it. And OpenSSL has state of its own. */
const tlsBytes = defaultLimits.bufferBytes + 64 * 1_024;
const floodBytes = 200 * 2 ** 20;
const slowCounts = [10, 50];
const tlsConnections = 2_000;

interface Stage {
  readonly engines: DrivenEngines;
  readonly plain: DrivenEngine;
  readonly secure: DrivenEngine;
  readonly instance: MemoryInstance;
  close(): Promise<void>;
}

async function setStage(connections: number): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-memory-'));
  const files = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const pair = await makeCertificate(['localhost']);
  await writeFile(files.certificate, pair.certificate);
  await writeFile(files.key, pair.key, { mode: 0o600 });
  const instance = new MemoryInstance();
  const port = await instance.listen();
  const table = {
    cluster: 'memory',
    stickyKey: Buffer.alloc(32, 1).toString('base64url'),
    instances: [{ instance: 'memory-1', host: '127.0.0.1', port, state: 'up' as const }],
  };
  const options: EngineOptions = {
    listen: { host: '127.0.0.1', port: 0 },
    limits: { connections: connections + 1_000, clientIdleMs: 3_600_000 },
  };
  const engines = startDrivenEngines();
  const plain = await engines.start(options, table);
  const secure = await engines.start({ ...options, tls: { certificates: [files], http2: true } }, table);
  return {
    ...{ engines, plain, secure, instance },
    async close() {
      await engines.end();
      instance.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const secureOptions = { host: '127.0.0.1', rejectUnauthorized: false };

const openers = {
  plain: ({ plain }: Stage, localAddress: string) =>
    connect({ port: plain.port, host: '127.0.0.1', localAddress }),
  TLS: ({ secure }: Stage, localAddress: string) =>
    tls.connect({ ...secureOptions, port: secure.port, localAddress } as tls.ConnectionOptions),
};
type Opener = (stage: Stage, localAddress: string) => Socket;

/** One address has some 28,000 ports; nothing says that they are all free. */
const sourceAddress = (index: number): string => `127.0.0.${2 + (index % 50)}`;

export async function runMemory(options: MemoryOptions = {}): Promise<MemoryResult> {
  const { connections = 10_000, onProgress = () => undefined } = options;
  const idle: IdleFigure[] = [];
  for (const [what, count] of [
    ['plain', connections],
    ['TLS', Math.min(connections, tlsConnections)],
  ] as const) {
    const figure = await onStage(count, (stage) => measureIdle(stage, what, openers[what], count));
    idle.push(figure);
    onProgress(`${count} idle connections, ${what}: ${kilobytes(figure.bytesEach)} each`);
  }
  const slow: SlowFigure[] = [];
  for (const [what, open] of Object.entries(slowClients)) {
    for (const clients of slowCounts) {
      const figure = await onStage(clients, (stage) => measureSlow(stage, what, open, clients));
      slow.push(figure);
      onProgress(slowLine(figure));
    }
  }
  return { idle, slow, problems: problemsOf(idle, slow) };
}

/** A new engine for each figure: memory that an earlier one was given and has left over would hide what this one takes. */
async function onStage<Figure>(
  connections: number,
  measure: (stage: Stage) => Promise<Figure>,
): Promise<Figure> {
  const stage = await setStage(connections);
  try {
    await warmUp(stage);
    return await measure(stage);
  } finally {
    await stage.close();
  }
}

const kilobytes = (bytes: number): string => `${(bytes / 1_024).toFixed(1)} KB`;

const slowLine = ({ what, clients, grownBytes, allowedBytes, passedBytesEach }: SlowFigure): string =>
  `${clients} ${what}: ${megabytes(grownBytes).toFixed(1)} MB, allowed ${megabytes(allowedBytes).toFixed(1)} MB ` +
  `(${megabytes(passedBytesEach).toFixed(1)} MB on the way for each)`;

function problemsOf(idle: readonly IdleFigure[], slow: readonly SlowFigure[]): string[] {
  const [plain] = idle;
  const problems: string[] = [];
  if (plain && plain.bytesEach > targetBytesEach)
    problems.push(
      `An idle connection costs ${kilobytes(plain.bytesEach)}, wanted ${kilobytes(targetBytesEach)}`,
    );
  for (const { what, descriptorsLeft } of idle)
    if (descriptorsLeft > 0)
      problems.push(`${descriptorsLeft} descriptors are left of idle connections (${what})`);
  for (const figure of slow) if (figure.grownBytes > figure.allowedBytes) problems.push(slowLine(figure));
  return problems;
}

/** What a process needs to get going is no client's. */
async function warmUp(stage: Stage): Promise<void> {
  for (const open of Object.values(openers)) {
    for (let connection = 0; connection < 50; connection++) {
      const socket = open(stage, sourceAddress(connection));
      for (let request = 0; request < 20; request++) await askOnce(socket);
      socket.destroy();
    }
  }
  for (const open of Object.values(slowClients)) {
    const clients = open(stage, 2);
    await stage.instance.stalled(2);
    clients.close();
    await stage.instance.deserted();
  }
}

const question = 'GET /ok HTTP/1.1\r\nHost: memory\r\n\r\n';

/** Resolves when the whole of a small answer is there. */
async function askOnce(socket: Socket): Promise<void> {
  let text = '';
  const answered = new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (!text.endsWith('\r\n\r\nok')) return;
      socket.off('data', take).off('close', fail);
      resolve();
    };
    const fail = () => reject(new Error(`The connection was closed instead of answered: ${text}`));
    socket.on('data', take).once('close', fail);
  });
  socket.write(question);
  await answered;
}

/** What is resident when nothing has changed for a moment and garbage was collected. */
async function settledBytes({ engines }: Stage): Promise<number> {
  await engines.memory();
  await delay(1_000);
  await engines.memory();
  return residentBytes(engines.pid);
}

const openAtATime = 100;

async function measureIdle(stage: Stage, what: string, open: Opener, count: number): Promise<IdleFigure> {
  const { pid } = stage.engines;
  await calmDescriptors(pid, Number.POSITIVE_INFINITY);
  const descriptorsBefore = descriptors(pid);
  const before = await settledBytes(stage);
  const sockets: Socket[] = [];
  for (let from = 0; from < count; from += openAtATime) {
    const some = Array.from({ length: Math.min(openAtATime, count - from) }, (_, index) =>
      open(stage, sourceAddress(from + index)),
    );
    sockets.push(...some);
    for (const socket of some) socket.on('error', () => undefined); // its request fails, and says so
    await Promise.all(some.map(askOnce));
  }
  const after = await settledBytes(stage);
  // They must all still be good for something, or they would have cost nothing.
  await Promise.all(sockets.filter((_, index) => index % 50 === 0).map(askOnce));
  const isOpen = sockets.filter(({ readyState }) => readyState === 'open').length;
  if (isOpen < count) throw new Error(`Only ${isOpen} of ${count} idle connections were kept`);
  for (const socket of sockets) socket.destroy();
  const descriptorsLeft = (await calmDescriptors(pid, descriptorsBefore)) - descriptorsBefore;
  return { what, connections: count, bytesEach: (after - before) / count, descriptorsLeft };
}

/** Waits until no more than `wanted` are open; where nobody knows how many, until their number rests. */
async function calmDescriptors(pid: number, wanted: number): Promise<number> {
  let last = -1;
  for (let second = 0; second < 20; second++) {
    const now = descriptors(pid);
    if (now === last ? wanted === Number.POSITIVE_INFINITY || now <= wanted : now <= wanted && second > 0)
      return now;
    last = now;
    await delay(1_000);
  }
  return last;
}

interface SlowClients {
  close(): void;
}

const floodPath = `/flood?bytes=${floodBytes}`;

/** Never reads: what arrives stays in the kernel, and a little in this process. */
function silent(sockets: readonly Socket[], says: string): SlowClients {
  for (const socket of sockets) {
    socket.on('error', () => undefined); // it is closed in the middle
    socket.pause();
    socket.write(says);
  }
  return { close: () => sockets.forEach((socket) => void socket.destroy()) };
}

const several = (count: number, open: (index: number) => Socket): Socket[] =>
  Array.from({ length: count }, (_, index) => open(index));

const slowClients: Readonly<Record<string, (stage: Stage, count: number) => SlowClients>> = {
  'clients that read nothing (plain)': (stage, count) =>
    silent(
      several(count, (index) => openers.plain(stage, sourceAddress(index))),
      `GET ${floodPath} HTTP/1.1\r\nHost: memory\r\n\r\n`,
    ),
  'clients that read nothing (TLS)': (stage, count) =>
    silent(
      several(count, (index) => openers.TLS(stage, sourceAddress(index))),
      `GET ${floodPath} HTTP/1.1\r\nHost: memory\r\n\r\n`,
    ),
  'clients that read nothing (HTTP/2)'({ secure }, count) {
    const sessions = Array.from({ length: count }, () => {
      const session = http2.connect(`https://127.0.0.1:${secure.port}`, secureOptions);
      session.on('error', () => undefined); // it is closed in the middle
      session.request({ ':path': floodPath }).on('error', () => undefined);
      return session;
    });
    return { close: () => sessions.forEach((session) => void session.destroy()) };
  },
  'uploads that the instance does not read (plain)': (stage, count) =>
    uploads(several(count, (index) => openers.plain(stage, sourceAddress(index)))),
};

function uploads(sockets: readonly Socket[]): SlowClients {
  const block = Buffer.alloc(64 * 1_024, 'x');
  const clients = silent(
    sockets,
    `POST /swallow HTTP/1.1\r\nHost: memory\r\nContent-Length: ${floodBytes}\r\n\r\n`,
  );
  for (const socket of sockets) {
    const more = () => {
      while (!socket.destroyed && socket.write(block));
    };
    socket.on('drain', more);
    more();
  }
  return clients;
}

const allowedBytesEach = (what: string): number =>
  defaultLimits.bufferBytes + socketBytes + (what.includes('plain') ? 0 : tlsBytes);

async function measureSlow(
  stage: Stage,
  what: string,
  open: (stage: Stage, count: number) => SlowClients,
  clients: number,
): Promise<SlowFigure> {
  const { instance } = stage;
  await calmDescriptors(stage.engines.pid, Number.POSITIVE_INFINITY);
  const before = await settledBytes(stage);
  const opened = open(stage, clients);
  const passed = await instance.stalled(clients);
  const after = await settledBytes(stage);
  opened.close();
  await instance.deserted();
  return {
    ...{ what, clients },
    grownBytes: after - before,
    allowedBytes: clients * allowedBytesEach(what),
    passedBytesEach: passed / clients,
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { connections: { type: 'string', default: '10000' }, json: { type: 'string' } },
  });
  const result = await runMemory({
    connections: Number(values.connections),
    onProgress: (line) => console.log(line),
  });
  if (values.json) await writeFile(values.json, `${JSON.stringify(result, null, 2)}\n`);
  for (const problem of result.problems) console.log(problem);
  process.exitCode = result.problems.length > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
