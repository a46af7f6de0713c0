/**
 * A day of traffic in a few minutes: the embedded engine in a process of its own, over plain TCP and TLS with HTTP/1.1
 * and HTTP/2, under every kind of client, while its instances are killed, frozen, drained and moved and its configuration
 * changes. It shows that memory stays flat, that no descriptor leaks, and that no request fails that may be repeated.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { makeCertificate } from '../../src/balancer/certificates.fixture.ts';
import type { CertificateFiles, EngineOptions } from '../../src/balancer/engine.ts';
import type { RoutingTable } from '../../src/protocol/routing-table.ts';
import { seededRandom } from '../../src/testing/simulation/random.ts';
import { type DrivenEngine, type DrivenEngines, startDrivenEngines } from './driven-engine.ts';
import { descriptors, megabytes, residentBytes, slope } from './proc-readings.ts';
import {
  aborter,
  eventListener,
  hurriedUser,
  pipeliner,
  type Scene,
  slowReader,
  streamUser,
  talker,
  user,
} from './soak-clients.ts';
import { Faults } from './soak-faults.ts';
import { SoakInstance } from './soak-instances.ts';
import { Judge, type Tally } from './soak-judge.ts';
import { rudeClient } from './soak-rude-clients.ts';

export interface SoakOptions {
  /** 10 if left out. */
  readonly minutes?: number;
  /** 1 if left out. */
  readonly seed?: number;
  /** Processes of the engine that carry the traffic; 1 if left out. */
  readonly workers?: number;
  /** Called every ten seconds with a line about it. */
  readonly onProgress?: (line: string) => void;
}

export interface MemorySample {
  readonly seconds: number;
  readonly residentMb: number;
  readonly heapMb: number;
  readonly externalMb: number;
}

export interface SoakResult {
  readonly seed: number;
  readonly minutes: number;
  readonly requestsPerSecond: number;
  readonly byKind: Readonly<Record<string, Tally>>;
  readonly faults: Readonly<Record<string, number>>;
  /** What must not be repeated and was carried out more than once. */
  readonly repeated: number;
  readonly memory: readonly MemorySample[];
  /** Of the resident memory over the last half. */
  readonly slopeMbPerMinute: number;
  readonly descriptors: { readonly before: number; readonly most: number; readonly after: number };
  /** Warnings and errors of the engine by sentence. */
  readonly complaints: Readonly<Record<string, number>>;
  /** In sentences; none: all is well. */
  readonly problems: readonly string[];
}

const targetMbPerMinute = 1;
/** Below this, what a process needs to get going is most of what is seen, and the slope says nothing. */
const leastMinutesForSlope = 5;
const sampleEveryMs = 5_000;
const progressEveryMs = 10_000;
const settleWithinMs = 60_000;
const drainMs = 1_500;
const stickyKey = Buffer.alloc(32, 1).toString('base64url');

interface Stage {
  readonly engines: DrivenEngines;
  readonly plain: DrivenEngine;
  readonly secure: DrivenEngine;
  readonly instances: SoakInstance[];
  readonly certificate: CertificateFiles;
  readonly journal: string;
  close(): Promise<void>;
}

async function setStage(workers: number): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-soak-'));
  const certificate = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const pair = await makeCertificate(['localhost']);
  await writeFile(certificate.certificate, pair.certificate);
  await writeFile(certificate.key, pair.key, { mode: 0o600 });
  const journal = join(folder, 'journal');
  await writeFile(journal, '');
  const instances = ['soak-1', 'soak-2', 'soak-3'].map((name) => new SoakInstance(name, journal));
  await Promise.all(instances.map((instance) => instance.start()));
  const table: RoutingTable = {
    cluster: 'soak',
    stickyKey,
    instances: instances.map((instance) => instance.routed()),
  };
  const common: EngineOptions = {
    listen: { host: '127.0.0.1', port: 0 },
    workers,
    health: { path: '/health' },
    // Short, so that what is timed out here is timed out often.
    limits: { headersTimeoutMs: 2_000, bodyIdleMs: 3_000, clientIdleMs: 10_000, tunnelIdleMs: 30_000 },
    drain: { deadlineMs: drainMs, idleMs: 500, jitterMs: 500 },
    slowStartMs: 1_000,
  };
  const engines = startDrivenEngines();
  const accessLog = { file: join(folder, 'access.log'), sample: 0.001 };
  const plain = await engines.start({ ...common, accessLog }, table);
  const tls = { certificates: [certificate], http2: true };
  const secure = await engines.start({ ...common, tls }, table);
  return {
    ...{ engines, plain, secure, instances, certificate, journal },
    async close() {
      await engines.end();
      await Promise.all(instances.map((instance) => instance.end('SIGKILL')));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function runSoak(options: SoakOptions = {}): Promise<SoakResult> {
  const { minutes = 10, seed = 1, workers = 1, onProgress } = options;
  const stage = await setStage(workers);
  try {
    return await soak(stage, minutes, seed, onProgress);
  } finally {
    await stage.close();
  }
}

async function soak(
  stage: Stage,
  minutes: number,
  seed: number,
  onProgress: SoakOptions['onProgress'],
): Promise<SoakResult> {
  const { engines, plain, secure, instances, certificate, journal } = stage;
  const judge = new Judge();
  const random = seededRandom(seed);
  let endMs = Number.POSITIVE_INFINITY;
  let ids = 0;
  const scene: Scene = {
    judge,
    random,
    plainPort: plain.port,
    tlsPort: secure.port,
    isOver: () => performance.now() > endMs || engines.lastWords() !== undefined,
    nextId: () => `r${seed}-${++ids}`,
  };
  const faults = new Faults({
    ...{
      judge,
      random,
      instances,
      certificate,
      drainMs,
      stickyKey,
      tlsPort: secure.port,
      isOver: scene.isOver,
    },
    statuses: () => Promise.all([plain.status(), secure.status()]),
    apply: async (table) => void (await Promise.all([plain.apply(table), secure.apply(table)])),
  });
  // Everything once, so that what is opened at first need is open before it is counted.
  endMs = performance.now() + 2_000;
  await Promise.all(traffic(scene));
  const before = await settledDescriptors(engines.pid, 0);

  const startMs = performance.now();
  endMs = startMs + minutes * 60_000;
  const watch = new Watch(engines, judge, faults, startMs, onProgress);
  await Promise.all([...traffic(scene), faults.go(), faults.go(), watch.go(scene.isOver)]);
  const seconds = (performance.now() - startMs) / 1_000;

  const after = await settledDescriptors(engines.pid, before);
  const repeated = await repeatedIn(journal);
  const lastHalf = watch.memory.filter((sample) => sample.seconds >= seconds / 2);
  const slopeMbPerMinute = slope(lastHalf.map(({ seconds: x, residentMb: y }) => ({ x: x / 60, y })));
  const complaints = engines.lastWords() === undefined ? await engines.complaints() : {};
  const found = { minutes, slopeMbPerMinute, before, after, repeated };
  return {
    ...{ seed, minutes, repeated, slopeMbPerMinute, complaints },
    requestsPerSecond: judge.total().done / seconds,
    byKind: judge.byKind,
    faults: faults.counts,
    memory: watch.memory,
    descriptors: { before, after, most: watch.mostDescriptors },
    problems: [...problemsOf(found, judge, engines), ...(await leftovers(stage))],
  };
}

function traffic(scene: Scene): Promise<void>[] {
  const several = (count: number, client: (isSecure: boolean) => Promise<void>) =>
    Array.from({ length: count }, (_, index) => client(index % 2 === 0));
  return [
    ...several(48, (isSecure) => hurriedUser(scene, isSecure)),
    ...several(16, (isSecure) => user(scene, { isSecure })),
    ...several(4, (isSecure) => user(scene, { isSecure, isBrief: true })),
    ...several(4, () => streamUser(scene, 6)),
    ...several(4, (isSecure) => slowReader(scene, isSecure)),
    ...several(4, (isSecure) => eventListener(scene, isSecure)),
    ...several(4, (isSecure) => aborter(scene, isSecure)),
    ...several(8, (isSecure) => talker(scene, isSecure)),
    ...several(2, () => pipeliner(scene)),
    ...several(6, () => rudeClient(scene)),
  ];
}

/** Looks at the engine's process, and says how it goes. */
class Watch {
  readonly memory: MemorySample[] = [];
  mostDescriptors = 0;
  readonly #engines: DrivenEngines;
  readonly #judge: Judge;
  readonly #faults: Faults;
  readonly #startMs: number;
  readonly #onProgress: SoakOptions['onProgress'];
  #lastDone = 0;

  constructor(
    engines: DrivenEngines,
    judge: Judge,
    faults: Faults,
    startMs: number,
    onProgress: SoakOptions['onProgress'],
  ) {
    this.#engines = engines;
    this.#judge = judge;
    this.#faults = faults;
    this.#startMs = startMs;
    this.#onProgress = onProgress;
  }

  async go(isOver: () => boolean): Promise<void> {
    for (let sample = 1; ; sample++) {
      await delay(this.#startMs + sample * sampleEveryMs - performance.now());
      if (isOver()) return;
      const { heapUsed, external } = await this.#engines.memory();
      const { pid } = this.#engines;
      this.memory.push({
        seconds: (performance.now() - this.#startMs) / 1_000,
        residentMb: megabytes(residentBytes(pid)),
        heapMb: megabytes(heapUsed),
        externalMb: megabytes(external),
      });
      this.mostDescriptors = Math.max(this.mostDescriptors, descriptors(pid));
      if ((sample * sampleEveryMs) % progressEveryMs === 0) this.#tell();
    }
  }

  #tell(): void {
    const { done, excused, failed } = this.#judge.total();
    const perSecond = (done - this.#lastDone) / (progressEveryMs / 1_000);
    this.#lastDone = done;
    const last = this.memory.at(-1);
    const faults = Object.values(this.#faults.counts).reduce((sum, count) => sum + count, 0);
    this.#onProgress?.(
      `${last?.seconds.toFixed(0)} s: ${perSecond.toFixed(0)} requests/s, ${failed} failed, ${excused} excused, ` +
        `${faults} faults; ${last?.residentMb.toFixed(1)} MB resident, ${last?.heapMb.toFixed(1)} MB heap, ` +
        `${descriptors(this.#engines.pid)} descriptors`,
    );
  }
}

/** Waits until no more are open than `wanted`, or until their number has not changed for a while. */
async function settledDescriptors(pid: number, wanted: number): Promise<number> {
  const limitMs = performance.now() + settleWithinMs;
  let last = descriptors(pid);
  for (let calm = 0; calm < 8 && performance.now() < limitMs; ) {
    await delay(1_000);
    const now = descriptors(pid);
    // A health check opens one for a moment.
    calm = now === last && (wanted === 0 || now > wanted) ? calm + 1 : 0;
    last = wanted === 0 ? now : Math.min(last, now);
    if (wanted > 0 && now <= wanted) return now;
  }
  return last;
}

async function repeatedIn(journal: string): Promise<number> {
  const lines = (await readFile(journal, 'utf8')).split('\n').filter(Boolean);
  return lines.length - new Set(lines).size;
}

function problemsOf(
  found: Pick<SoakResult, 'minutes' | 'slopeMbPerMinute' | 'repeated'> & { before: number; after: number },
  judge: Judge,
  engines: DrivenEngines,
): string[] {
  const problems: string[] = [];
  const words = engines.lastWords();
  if (words !== undefined) problems.push(`The engine's process ended: ${words}`);
  const { failed } = judge.total();
  if (failed > 0) problems.push(`${failed} requests failed without an excuse:`, ...judge.failures);
  if (found.repeated > 0) problems.push(`${found.repeated} requests that must not be repeated were`);
  if (found.minutes >= leastMinutesForSlope && found.slopeMbPerMinute >= targetMbPerMinute)
    problems.push(
      `Memory grew by ${found.slopeMbPerMinute.toFixed(2)} MB per minute, wanted below ${targetMbPerMinute}`,
    );
  if (found.after > found.before)
    problems.push(`${found.after} descriptors are open, ${found.before} were before`);
  return problems;
}

/** When nobody is there any more, the engines must know it. */
async function leftovers({ engines, plain, secure }: Stage): Promise<string[]> {
  if (engines.lastWords() !== undefined) return [];
  const problems: string[] = [];
  for (const [name, engine] of Object.entries({ plain, secure })) {
    const { clients, instances } = await engine.status();
    if (clients.connections + clients.waiting > 0)
      problems.push(
        `${name}: ${clients.connections} connections and ${clients.waiting} waiting of clients that left`,
      );
    for (const { instance, inFlight } of instances)
      if (inFlight > 0)
        problems.push(`${name}: ${inFlight} requests in flight to ${instance} of clients that left`);
  }
  return problems;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '1' },
      json: { type: 'string' },
    },
  });
  const result = await runSoak({
    minutes: Number(values.minutes),
    seed: Number(values.seed),
    workers: Number(values.workers),
    onProgress: (line) => console.error(line),
  });
  if (values.json) await writeFile(values.json, `${JSON.stringify(result, null, 2)}\n`);
  const { memory, problems, byKind, ...figures } = result;
  console.table(byKind);
  console.log(figures);
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
