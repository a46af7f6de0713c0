import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Engine, EngineOptions, InstanceTraffic } from '../../balancer/engine.ts';
import { stickyValue } from '../../protocol/affinity.ts';
import type { InstanceState } from '../../protocol/instance-state.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { type RecordEntry, TestBackend } from './backend-process.ts';
import { type Cleanup, temporaryFolder } from './cleanup.ts';
import { type Ask, ask, type Reply } from './client.ts';
import { until } from './until.ts';
import { Visitor } from './visitor.ts';

/** An engine that takes a table over in its own time says by `settled` when it has. */
export type TestedEngine = Engine & { readonly settled?: () => Promise<void> };

/** Starts the engine under test, listening, with no routing table yet. */
export type StartEngine = (options: EngineOptions) => Promise<TestedEngine>;

export const testHealth = {
  path: '/health',
  everyMs: 1_000,
  timeoutMs: 500,
  unhealthyAfter: 2,
  healthyAfter: 2,
};

/** For tests that wait for a verdict by checks alone. */
export const quickHealth = { ...testHealth, everyMs: 100 };

/** For tests in which checks must have no say. */
export const blindHealth = { ...testHealth, unhealthyAfter: 1_000 };

export const testStickyKey = Buffer.alloc(32, 'k').toString('base64url');

/** The cookie of a user of this instance. */
export const belongsTo = (instance: string, cookie = 'holdfast'): { readonly Cookie: string } => ({
  Cookie: `${cookie}=${stickyValue(testStickyKey, instance)}`,
});

/** One engine with real back-end processes, made for one test and gone with it. */
export class Scene {
  readonly engine: TestedEngine;
  readonly backends: readonly TestBackend[];
  readonly folder: string;
  readonly #states = new Map<string, InstanceState>();

  constructor(engine: TestedEngine, backends: readonly TestBackend[], folder: string) {
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
  async say(states: Readonly<Record<string, InstanceState>>): Promise<void> {
    for (const [instance, state] of Object.entries(states)) this.#states.set(instance, state);
    this.engine.apply(this.table());
    await this.engine.settled?.();
  }

  ask(path: string, options: Omit<Partial<Ask>, 'port' | 'path'> = {}): Promise<Reply> {
    return ask({ ...options, port: this.port, path });
  }

  visitor(headers: Readonly<Record<string, string>> = {}): Visitor {
    return new Visitor(this.port, headers);
  }

  /** So many new users, one after the other: how many came to each instance. */
  async newUsers(count: number): Promise<(instance: string) => number> {
    const served: string[] = [];
    for (let i = 0; i < count; i++) served.push(await this.visitor().whereabouts());
    return (instance) => served.filter((name) => name === instance).length;
  }

  backend(instance: string): TestBackend {
    const found = this.backends.find((backend) => backend.instance === instance);
    assert.ok(found, `a back end called ${instance}`);
    return found;
  }

  /** What arrived at any of them. */
  async allRecords(): Promise<RecordEntry[]> {
    return (await Promise.all(this.backends.map((backend) => backend.records()))).flat();
  }

  /** How often this request arrived, at all instances together. */
  async arrivals(method: string, url: string): Promise<number> {
    const counts = await Promise.all(this.backends.map((backend) => backend.count(method, url)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  traffic(instance: string): InstanceTraffic {
    const found = this.engine.status().instances.find((entry) => entry.instance === instance);
    assert.ok(found, `${instance} in the status`);
    return found;
  }

  get inFlight(): number {
    return this.engine.status().instances.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** Waits until the engine counts so of an instance. */
  async untilCounted(instance: string, expected: Partial<InstanceTraffic>): Promise<void> {
    const entries = Object.entries(expected) as [keyof InstanceTraffic, unknown][];
    const what = () =>
      `${instance} counts ${JSON.stringify(expected)}: ${JSON.stringify(this.traffic(instance))}`;
    await until(what, () => entries.every(([key, value]) => this.traffic(instance)[key] === value), 3_000);
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
  /** The instances demand the PROXY protocol. */
  readonly proxied?: boolean;
}

/** Starts back ends and an engine that knows them; the test's end stops and removes all of it. */
export async function setScene(t: Cleanup, start: StartEngine, options: SceneOptions = {}): Promise<Scene> {
  const backends: TestBackend[] = [];
  let engine: TestedEngine | undefined;
  t.after(async () => {
    for (const backend of backends) backend.signal('SIGCONT');
    await engine?.close({ graceMs: 0 });
    await Promise.all(backends.map((backend) => backend.kill()));
  });
  const folder = await temporaryFolder(t); // after what is in it: work for the end is done in this order
  for (const instance of options.instances ?? ['shop-1', 'shop-2']) {
    const backend = new TestBackend(instance, join(folder, `${instance}.records`), options.proxied);
    await writeFile(backend.recordFile, '');
    backends.push(backend);
  }
  await Promise.all(backends.map((backend) => backend.start()));
  engine = await start({ listen: { host: '127.0.0.1', port: 0 }, health: testHealth, ...options.engine });
  const scene = new Scene(engine, backends, folder);
  await scene.say({});
  return scene;
}
