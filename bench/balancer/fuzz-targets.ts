/**
 * Who reads the requests: the embedded engine, HAProxy and nginx, each a process of its own in front of recording
 * instances, and Node's own HTTP server. All of them have several ports, one for each of the requests that are under
 * way at a time, and an instance behind each port: what arrives there belongs to that one request.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startDrivenEngines } from './driven-engine.ts';
import { healthPath, type Message, mark, type Recording, RecordingInstance } from './fuzz-recording.ts';

export const peerNames = ['node', 'haproxy', 'nginx'] as const;
export type PeerName = (typeof peerNames)[number];
export type TargetName = PeerName | 'holdfast';

export interface Target {
  readonly name: TargetName;
  readonly version: string;
  port(lane: number): number;
  /** The next request on this lane begins. */
  begin(lane: number): void;
  recorded(lane: number): Recording;
  /** Undefined while it lives. */
  lastWords(): string | undefined;
  close(): Promise<void>;
}

const startWithinMs = 10_000;

/** The version of a peer that is installed, else undefined. */
export function versionOf(name: PeerName): string | undefined {
  if (name === 'node') return process.versions.node;
  try {
    const output =
      name === 'haproxy'
        ? execFileSync('haproxy', ['-v'], { encoding: 'utf8', stdio: 'pipe' })
        : execFileSync('sh', ['-c', 'nginx -v 2>&1'], { encoding: 'utf8' });
    return /\d+\.\d+\.\d+/.exec(output)?.[0];
  } catch {
    return undefined;
  }
}

export async function startTarget(name: TargetName, lanes: number): Promise<Target> {
  switch (name) {
    case 'node':
      return startNode(lanes);
    case 'holdfast':
      return startHoldfast(lanes);
    default:
      return startProxy(name, lanes);
  }
}

async function instances(lanes: number): Promise<{ recorders: RecordingInstance[]; ports: number[] }> {
  const recorders = Array.from({ length: lanes }, () => new RecordingInstance());
  return { recorders, ports: await Promise.all(recorders.map((one) => one.listen())) };
}

const at = <T>(list: readonly T[], lane: number): T => {
  const item = list[lane];
  if (item === undefined) throw new RangeError(`there is no lane ${lane}`);
  return item;
};

async function startHoldfast(lanes: number): Promise<Target> {
  const { recorders, ports } = await instances(lanes);
  const driven = startDrivenEngines();
  const engines = await Promise.all(
    ports.map((port) =>
      driven.start(
        {
          listen: { host: '127.0.0.1', port: 0 },
          health: { path: healthPath, everyMs: 60_000 },
        },
        {
          cluster: 'fuzz',
          stickyKey: Buffer.alloc(32, 1).toString('base64url'),
          instances: [{ instance: 'fuzz-1', host: '127.0.0.1', port, state: 'up' }],
        },
      ),
    ),
  );
  return {
    name: 'holdfast',
    version: 'this one',
    port: (lane) => at(engines, lane).port,
    begin: (lane) => at(recorders, lane).begin(),
    recorded: (lane) => at(recorders, lane).recorded(),
    lastWords: () => driven.lastWords(),
    async close() {
      await driven.end();
      for (const recorder of recorders) recorder.close();
    },
  };
}

async function startProxy(name: 'haproxy' | 'nginx', lanes: number): Promise<Target> {
  const { recorders, ports } = await instances(lanes);
  const fronts = await freePorts(lanes);
  const folder = await mkdtemp(join(tmpdir(), `holdfast-fuzz-${name}-`));
  const file = join(folder, `${name}.conf`);
  const write = name === 'haproxy' ? haproxyConfiguration : nginxConfiguration;
  await writeFile(file, write(folder, fronts, ports));
  const args = name === 'haproxy' ? ['-db', '-f', file] : ['-p', folder, '-c', file];
  const child = spawn(name, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2_000);
  });
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  await listening(child, at(fronts, lanes - 1), () => said);
  return {
    name,
    version: versionOf(name) ?? '',
    port: (lane) => at(fronts, lane),
    begin: (lane) => at(recorders, lane).begin(),
    recorded: (lane) => at(recorders, lane).recorded(),
    lastWords: () => (hasEnded(child) ? said : undefined),
    async close() {
      const ended = once(child, 'close');
      child.kill('SIGKILL');
      await ended;
      process.removeListener('exit', killWithUs);
      for (const recorder of recorders) recorder.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

async function listening(child: ChildProcess, port: number, said: () => string): Promise<void> {
  const untilMs = performance.now() + startWithinMs;
  while (!(await canConnect(port))) {
    if (hasEnded(child) || performance.now() > untilMs)
      throw new Error(`${child.spawnfile} does not listen on port ${port}: ${said()}`);
    await delay(20);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** HAProxy as it is by default: strict, connections to the instances shared. */
function haproxyConfiguration(_folder: string, fronts: readonly number[], ports: readonly number[]): string {
  const lines = ['global', '  nbthread 1', '  maxconn 2000', 'defaults', '  mode http'];
  lines.push('  timeout connect 5s', '  timeout client 60s', '  timeout server 60s', '  http-reuse always');
  for (const [lane, front] of fronts.entries()) {
    lines.push(`frontend f${lane}`, `  bind 127.0.0.1:${front}`, `  default_backend b${lane}`);
    lines.push(`backend b${lane}`, `  server s1 127.0.0.1:${ports[lane]}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * nginx as it is by default, but for the headers with odd names: it leaves them out in silence, and is told here to
 * pass them on, so that it shows how it reads them.
 */
function nginxConfiguration(folder: string, fronts: readonly number[], ports: readonly number[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const lines = [
    process.getuid?.() === 0 ? 'user root;' : '',
    'daemon off;',
    'master_process off;',
    'error_log /dev/null crit;',
    `pid ${folder}/nginx.pid;`,
    'events { worker_connections 2000; }',
    'http {',
    'access_log off;',
    ...temporary.map((name) => `${name}_temp_path ${folder}/${name};`),
    'underscores_in_headers on;',
    'ignore_invalid_headers off;',
    'merge_slashes off;',
    'proxy_http_version 1.1;',
    'proxy_set_header Connection "";',
    // Of an absolute target nginx knows the host as well; asked for $host alone, it would rewrite it.
    'map $http_host $named_host { "" $host; default $http_host; }',
    'proxy_set_header Host $named_host;',
    'client_max_body_size 0;',
  ];
  for (const [lane, front] of fronts.entries()) {
    lines.push(`upstream b${lane} { server 127.0.0.1:${ports[lane]}; keepalive 4; }`);
    lines.push(`server { listen 127.0.0.1:${front}; location / { proxy_pass http://b${lane}; } }`);
  }
  return `${lines.join('\n')}\n}\n`;
}

/** Keeps the pieces of a body as the parser hands them over: a connection that is destroyed later loses none. */
class KeptMessage extends http.IncomingMessage {
  kept = '';

  override push(chunk: Buffer | null): boolean {
    if (chunk !== null) this.kept += chunk.toString('latin1');
    return super.push(chunk);
  }
}

async function startNode(lanes: number): Promise<Target> {
  const seen: KeptMessage[][] = Array.from({ length: lanes }, () => []);
  const servers = seen.map((_, lane) => {
    const server = http.createServer<typeof KeptMessage>(
      { IncomingMessage: KeptMessage, noDelay: true, keepAliveTimeout: 60_000, requireHostHeader: true },
      (request, response) => {
        at(seen, lane).push(request);
        request.on('error', () => undefined); // broken bodies are the matter here
        request.resume();
        request.once('end', () => response.writeHead(200, { [mark]: '1', 'Content-Length': '0' }).end());
      },
    );
    return server.listen(0, '127.0.0.1');
  });
  await Promise.all(servers.map((server) => once(server, 'listening')));
  return {
    name: 'node',
    version: process.versions.node,
    port: (lane) => (at(servers, lane).address() as AddressInfo).port,
    begin(lane) {
      seen[lane] = [];
    },
    recorded(lane) {
      const all = at(seen, lane).map(messageOf);
      return {
        messages: all.filter(({ isComplete }) => isComplete),
        partial: all.find(({ isComplete }) => !isComplete),
        oddities: [],
      };
    },
    lastWords: () => undefined,
    async close() {
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
    },
  };
}

function messageOf(request: KeptMessage): Message {
  const pairs = (list: readonly string[]): (readonly [string, string])[] =>
    list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1] ?? ''] as const] : []));
  return {
    method: request.method ?? '',
    target: request.url ?? '',
    version: `HTTP/${request.httpVersion}`,
    headers: pairs(request.rawHeaders),
    body: request.kept,
    trailers: pairs(request.rawTrailers),
    isComplete: request.complete,
  };
}
