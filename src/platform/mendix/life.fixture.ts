/** Lives of the `mendix` platform for tests: the stand-in, a real PostgreSQL, and duties without a cluster. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLog } from '../../support/log.ts';
import { installStandIn, type StandInInstallation } from '../../testing/mendix-runtime/install.ts';
import type { Behaviour, Model } from '../../testing/mendix-runtime/model.ts';
import { findFreePort } from '../free-port.ts';
import type { CheckResult } from '../health-check.ts';
import type { Duties, Duty, OutputLine, RunningInstance, Tenure } from '../platform.ts';
import { type MendixPlatformOptions, mendixPlatform } from './mendix.ts';

/** The duties of one instance, and what may happen to them. */
export interface TestDuties extends Duties {
  lose(): void;
  prove(remainingMs: number): void;
}

/** Duties for several instances, of which each is held by one at a time, as the arbiter would have it. */
export function dutiesOfCluster(): () => TestDuties {
  const holders = new Map<keyof Duties, object>();
  return () => {
    const self = {};
    const end = new AbortController();
    const listeners: ((remainingMs: number) => void)[] = [];
    let leftMs = 3_600_000;
    const tenureOf = (): Tenure => ({
      over: end.signal,
      remainingMs: () => leftMs,
      onProof: (listener) => void listeners.push(listener),
    });
    const duty = (name: keyof Duties): Duty => ({
      async claim() {
        if ((holders.get(name) ?? self) !== self) return undefined;
        holders.set(name, self);
        return tenureOf();
      },
      async release() {
        if (holders.get(name) === self) holders.delete(name);
      },
    });
    return {
      leader: duty('leader'),
      database: duty('database'),
      lose: () => end.abort(),
      prove(remainingMs) {
        leftMs = remainingMs;
        for (const listener of listeners) listener(remainingMs);
      },
    };
  };
}

/** Of a cluster that has no other instance. */
export const ownDuties = (): TestDuties => dutiesOfCluster()();

export interface Life {
  readonly installation: StandInInstallation;
  readonly instance: RunningInstance;
  readonly lines: OutputLine[];
  readonly said: string[];
  check(timeoutMs?: number): Promise<CheckResult>;
  /** Asks again until it is healthy, or the limit. */
  untilHealthy(): Promise<void>;
}

export interface LifeOptions {
  readonly databaseUrl: string;
  readonly model?: Partial<Model>;
  readonly behaviour?: Behaviour;
  readonly platform?: Partial<MendixPlatformOptions>;
  readonly duties?: Duties;
  readonly port?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

export class Lives {
  readonly #instances: RunningInstance[] = [];
  readonly #folders: string[] = [];

  async start(options: LifeOptions): Promise<Life> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-mendix-'));
    this.#folders.push(folder);
    const installation = await installStandIn(folder, options.model, options.behaviour);
    return this.startIn(folder, installation, options);
  }

  async startIn(folder: string, installation: StandInInstallation, options: LifeOptions): Promise<Life> {
    const said: string[] = [];
    const say = (_fields: object, message: string): void => void said.push(message);
    const lines: OutputLine[] = [];
    const platform = mendixPlatform({
      appBase: installation.appBase,
      runtimes: [],
      java: installation.java,
      javaOptions: [],
      keepEnvironment: false,
      adminPort: undefined,
      adminPassword: undefined,
      listenAddresses: '127.0.0.1',
      jetty: {},
      mimeTypes: {},
      logging: [],
      sick: 'eject',
      adminFile: join(folder, 'state', 'admin.json'),
      settings: databaseSettings(options.databaseUrl),
      appUrl: undefined,
      files: undefined,
      instances: 1,
      scheduledEvents: undefined,
      log: { ...silentLog, info: say, warn: say, error: say },
      ...options.platform,
    });
    const instance = await platform.start({
      address: { host: '127.0.0.1', port: options.port ?? (await findFreePort()) },
      environment: options.environment ?? {},
      onOutput: (line) => void lines.push(line),
      ...(options.duties ? { duties: options.duties } : {}),
    });
    this.#instances.push(instance);
    const check = (timeoutMs = 5_000): Promise<CheckResult> =>
      instance.check?.(timeoutMs) ?? Promise.resolve({ ok: false, reason: 'no check' });
    return {
      installation,
      instance,
      lines,
      said,
      check,
      async untilHealthy() {
        const deadlineMs = performance.now() + 60_000;
        for (let result = await check(); !result.ok; result = await check()) {
          if (performance.now() > deadlineMs)
            throw new Error(`not healthy: ${result.reason}; ${said.join('; ')}`);
          await sleep(50);
        }
      },
    };
  }

  async dispose(): Promise<void> {
    for (const instance of this.#instances) instance.kill();
    await Promise.all(this.#instances.map(({ exited }) => exited));
    await Promise.all(this.#folders.map((folder) => rm(folder, { recursive: true, force: true })));
  }
}

export function databaseSettings(url: string): Record<string, unknown> {
  const { host, username, password, pathname } = new URL(url);
  return {
    DatabaseType: 'PostgreSQL',
    DatabaseHost: host,
    DatabaseName: pathname.slice(1),
    DatabaseUserName: username,
    ...(password === '' ? {} : { DatabasePassword: decodeURIComponent(password) }),
  };
}
