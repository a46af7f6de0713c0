import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine, EngineOptions, InstanceTraffic } from '../../balancer/engine.ts';
import type { InstanceState } from '../../protocol/instance-state.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { type Ask, ask, type Reply } from './client.ts';

/** One engine with real back-end processes, made for one test and gone with it. */
export type StartEngine = (options: EngineOptions) => Promise<Engine>;

export const testHealth = {
  path: '/health',
  everyMs: 1_000,
  timeoutMs: 500,
  unhealthyAfter: 2,
  healthyAfter: 2,
};

export const testStickyKey = Buffer.alloc(32, 'k').toString('base64url');

export type RecordEntry = Readonly<Record<string, unknown>>;

export class TestBackend {
  readonly instance: string;
  readonly recordFile: string;
  port = 0;
  #child: ChildProcess | undefined;

  constructor(instance: string, recordFile: string) {
    this.instance = instance;
    this.recordFile = recordFile;
  }

  /** Starts the process, or starts it again on the same port. */
  async start(): Promise<void> {
    const program = join(import.meta.dirname, `backend${extname(import.meta.filename)}`);
    const env = {
      BACKEND_NAME: this.instance,
      BACKEND_RECORD: this.recordFile,
      BACKEND_PORT: String(this.port),
    };
    const child = fork(program, { env: { ...process.env, ...env } });
    this.#child = child;
    const [message] = (await once(child, 'message')) as [{ port: number }];
    this.port = message.port;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** From now on its health check fails, or succeeds again. */
  async pretend(health: 'sick' | 'well'): Promise<void> {
    const heard = once(this.#child as ChildProcess, 'message');
    this.#child?.send(health);
    await heard;
  }

  /** Everything that arrived, in order. */
  async records(): Promise<RecordEntry[]> {
    const text = await readFile(this.recordFile, 'utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as RecordEntry);
  }

  async count(method: string, url: string): Promise<number> {
    return (await this.records()).filter((entry) => entry.method === method && entry.url === url).length;
  }
}

export class Scene {
  readonly engine: Engine;
  readonly backends: readonly TestBackend[];
  readonly folder: string;
  readonly #states = new Map<string, InstanceState>();

  constructor(engine: Engine, backends: readonly TestBackend[], folder: string) {
    this.engine = engine;
    this.backends = backends;
    this.folder = folder;
  }

  get port(): number {
    return this.engine.status().listen.port;
  }

  table(): RoutingTable {
    const instances = this.backends.map(({ instance, port }) => {
      return { instance, host: '127.0.0.1', port, state: this.#states.get(instance) ?? 'up' };
    });
    return { cluster: 'test', stickyKey: testStickyKey, instances };
  }

  /** The agents' word changes, and the engine hears of it. */
  say(states: Readonly<Record<string, InstanceState>>): void {
    for (const [instance, state] of Object.entries(states)) this.#states.set(instance, state);
    this.engine.apply(this.table());
  }

  ask(path: string, options: Omit<Partial<Ask>, 'port' | 'path'> = {}): Promise<Reply> {
    return ask({ ...options, port: this.port, path });
  }

  backend(instance: string): TestBackend {
    const found = this.backends.find((backend) => backend.instance === instance);
    assert.ok(found, `a back end called ${instance}`);
    return found;
  }

  traffic(instance: string): InstanceTraffic {
    const found = this.engine.status().instances.find((entry) => entry.instance === instance);
    assert.ok(found, `${instance} in the status`);
    return found;
  }

  async untilHealthy(instance: string, healthy: boolean): Promise<void> {
    await until(`${instance} is ${healthy ? 'healthy' : 'unhealthy'}`, () => {
      return this.traffic(instance).healthy === healthy;
    });
  }

  async untilRecorded(instance: string, matches: (entry: RecordEntry) => boolean): Promise<void> {
    const backend = this.backend(instance);
    await until(`${instance} records the request`, async () => (await backend.records()).some(matches));
  }
}

export interface SceneOptions {
  readonly instances?: readonly string[];
  readonly engine?: Partial<EngineOptions>;
}

/** Starts back ends and an engine that knows them; the test's end stops and removes all of it. */
export async function setScene(
  t: TestContext,
  start: StartEngine,
  options: SceneOptions = {},
): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-balancer-'));
  const backends: TestBackend[] = [];
  let engine: Engine | undefined;
  t.after(async () => {
    for (const backend of backends) backend.signal('SIGCONT');
    await engine?.close({ graceMs: 0 });
    await Promise.all(backends.map((backend) => backend.kill()));
    await rm(folder, { recursive: true });
  });
  for (const instance of options.instances ?? ['shop-1', 'shop-2']) {
    const backend = new TestBackend(instance, join(folder, `${instance}.records`));
    await writeFile(backend.recordFile, '');
    backends.push(backend);
  }
  await Promise.all(backends.map((backend) => backend.start()));
  engine = await start({ listen: { host: '127.0.0.1', port: 0 }, health: testHealth, ...options.engine });
  const scene = new Scene(engine, backends, folder);
  engine.apply(scene.table());
  return scene;
}

/** Awaits a condition; fails with its name when it takes too long. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 8_000,
): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    if (performance.now() - startedMs > limitMs) assert.fail(`${what}: not within ${limitMs} ms`);
    await sleep(10);
  }
}
