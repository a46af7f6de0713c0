/** The proxies that are compared: how each is started, always on the core that is the proxy's. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EngineOptions, EngineStatus } from '../../src/balancer/index.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import type * as configurations from './configurations.ts';
import type { EngineArguments } from './holdfast-engine.ts';
import { proxyCore, type Started, startOnCore } from './processes.ts';

export interface RunningProxy {
  readonly port: number;
  /** The root of its processes. */
  readonly pid: number;
  /** Of the embedded engine only: nobody else answers. */
  status(): Promise<EngineStatus>;
  stop(): Promise<void>;
}

/** `place.port` is free, `place.folder` is new and empty. */
export type StartProxy = (place: configurations.ProxyPlace) => Promise<Started>;

type Configure = (place: configurations.ProxyPlace) => string;

export const haproxy =
  (configure: Configure): StartProxy =>
  async (place) => {
    const file = join(place.folder, 'haproxy.cfg');
    await writeFile(file, configure(place));
    return startOnCore(proxyCore, 'haproxy', ['-db', '-f', file]);
  };

export const nginx =
  (configure: Configure, core = proxyCore): StartProxy =>
  async (place) => {
    const file = join(place.folder, 'nginx.conf');
    await writeFile(file, configure(place));
    return startOnCore(core, 'nginx', ['-c', file, '-e', join(place.folder, 'error.log')]);
  };

/** One worker: no process but this one. */
export const holdfast =
  (more: Partial<EngineOptions> = {}): StartProxy =>
  async ({ port, instances, tls }) => {
    const settings: EngineArguments = {
      options: {
        listen: { host: '127.0.0.1', port },
        workers: 1,
        sticky: { kind: 'cookie', cookie: 'holdfast' },
        ...(tls ? { tls: { certificates: [tls] } } : {}),
        ...more,
      },
      table: {
        cluster: 'bench',
        stickyKey: randomBytes(32).toString('base64url'),
        instances: instances.map((instancePort, index) => ({
          instance: `shop-${index + 1}`,
          host: '127.0.0.1',
          port: instancePort,
          state: 'up',
        })),
      },
    };
    return startNode('holdfast-engine.ts', [JSON.stringify(settings)]);
  };

export const peer =
  (name: PeerName): StartProxy =>
  async ({ port, instances }) =>
    startNode('peer-proxy.ts', [name, ...[port, ...instances].map(String)]);

const startNode = (program: string, args: readonly string[]): Started =>
  startOnCore(proxyCore, process.execPath, [fileURLToPath(new URL(program, import.meta.url)), ...args], {
    channel: true,
  });

/** Starts a proxy in front of these instances and waits until it listens. */
export async function startProxy(
  start: StartProxy,
  { folder, instances, tls }: Omit<configurations.ProxyPlace, 'port'>,
): Promise<RunningProxy> {
  const port = await findFreePort();
  const own = await mkdtemp(join(folder, 'proxy-'));
  const started = await start({ port, folder: own, instances, ...(tls ? { tls } : {}) });
  await started.listening(port);
  return {
    port,
    pid: started.pid,
    async status() {
      started.child.send('status');
      return (await started.said()) as EngineStatus;
    },
    stop: () => started.stop(),
  };
}

export type PeerName = 'http-proxy-3' | '@fastify/http-proxy';

/** Undefined: not installed; bench.ts says how to install it. */
export function peerVersion(name: PeerName): string | undefined {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined;
}
