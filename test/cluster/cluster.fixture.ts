/**
 * A whole cluster of real processes for one test file: `holdfast up` on the example shop, in a folder of its own, on
 * free ports. What a test kills, freezes or stops is real.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const root = resolve(import.meta.dirname, '../..');
const program = join(root, 'src/cli/main.ts');

export interface InstanceStatus {
  readonly instance: string;
  readonly state: string;
  readonly pid: number | null;
  readonly agentPid: number | null;
  readonly incarnation: number;
  readonly leaseRemainingMs: number;
  readonly sessions: number;
  readonly reason: string | null;
  readonly healthPage: string | null;
}

export interface Status {
  readonly cluster: string;
  readonly takeoverWorstCaseMs: number;
  readonly arbiter: Record<string, unknown>;
  readonly balancers: readonly Record<string, unknown>[];
  readonly instances: readonly InstanceStatus[];
}

export interface Cluster {
  readonly folder: string;
  readonly configFile: string;
  readonly url: string;
  readonly process: ChildProcess;
  /** What `up` said, a line each. */
  readonly messages: string[];
  status(): Promise<Status>;
  instance(name: string): Promise<InstanceStatus>;
  /** Resolves when every instance is up; rejects after the limit with what was seen last. */
  allUp(limitMs?: number): Promise<Status>;
  /** Ctrl-C; resolves with the exit code. */
  interrupt(): Promise<number | null>;
  dispose(): Promise<void>;
}

/** With `folder` the configuration that is there; without it the example shop in a new one. */
export async function startCluster(
  options: { database?: string; folder?: string; instances?: number; extra?: string } = {},
): Promise<Cluster> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'holdfast-cluster-')));
  const configFile = join(folder, 'holdfast.yaml');
  if (!options.folder) await writeFile(configFile, await configuration(options));
  const port = /listen: "?127\.0\.0\.1:(\d+)/.exec(await readFile(configFile, 'utf8'))?.[1];
  const up = spawn(process.execPath, [program, 'up', '-c', configFile, '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const messages: string[] = [];
  const ready = Promise.withResolvers<void>();
  createInterface({ input: up.stdout }).on('line', (line) => {
    const { message } = JSON.parse(line) as { message: string };
    messages.push(message);
    if (message === 'ready') ready.resolve();
  });
  let errors = '';
  up.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const exited = new Promise<number | null>((done) => up.once('exit', (code) => done(code)));
  void exited.then((code) =>
    ready.reject(new Error(`up ended with ${code}: ${errors}${messages.join('\n')}`)),
  );
  await ready.promise;

  const status = async (): Promise<Status> => {
    const text = await new Promise<string>((done, reject) => {
      const child = spawn(process.execPath, [program, 'status', '--json', '-c', configFile]);
      let output = '';
      let problems = '';
      child.stdout.on('data', (chunk) => {
        output += chunk;
      });
      child.stderr.on('data', (chunk) => {
        problems += chunk;
      });
      child.once('close', () => (output ? done(output) : reject(new Error(problems))));
    });
    return JSON.parse(text);
  };
  const instance = async (name: string): Promise<InstanceStatus> => {
    const found = (await status()).instances.find((one) => one.instance === name);
    if (!found) throw new Error(`no instance ${name}`);
    return found;
  };
  return {
    folder,
    configFile,
    url: `http://127.0.0.1:${port}`,
    process: up,
    messages,
    status,
    instance,
    allUp: (limitMs = 15_000) =>
      until(status, ({ instances }) => instances.every(({ state }) => state === 'up'), limitMs),
    async interrupt() {
      up.kill('SIGINT');
      return exited;
    },
    async dispose() {
      if (up.exitCode === null && up.signalCode === null) {
        up.kill('SIGINT');
        await exited;
      }
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function configuration(options: {
  database?: string;
  instances?: number;
  extra?: string;
}): Promise<string> {
  const port = await freePort();
  return [
    'cluster: shop',
    ...(options.database ? [`database: ${options.database}`] : []),
    'app:',
    `  command: exec ${process.execPath} ${join(root, 'examples/shop/server.ts')}`,
    `  instances: ${options.instances ?? 3}`,
    `  url: http://127.0.0.1:${port}`,
    '  health: { path: /health, restartAfter: 6s }',
    '  stop: { drain: 2s, kill: 5s }',
    'balancer:',
    `  listen: 127.0.0.1:${port}`,
    'sessions: { away: defer }',
    'files: { directory: files }',
    options.extra ?? '',
    '',
  ].join('\n');
}

export function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** Asks again until the answer fits; a question that fails is asked again too. */
export async function until<T>(
  ask: () => Promise<T>,
  fits: (answer: T) => boolean,
  limitMs = 15_000,
): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  let last: unknown;
  do {
    try {
      const answer = await ask();
      if (fits(answer)) return answer;
      last = JSON.stringify(answer);
    } catch (error) {
      last = error;
    }
    await delay(50);
  } while (performance.now() < deadlineMs);
  throw new Error(`not within ${limitMs} ms; last: ${String(last)}`);
}

/** The command lines of living processes that mention the folder. */
export function processesOf(folder: string): string[] {
  return execFileSync('ps', ['-eo', 'pid=,stat=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(folder) && !/^\s*\d+\s+Z/.test(line) && !line.includes('ps -eo'));
}

export async function runHoldfast(
  args: readonly string[],
  cwd: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, ...args], { cwd, env: environment });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, out, err };
}
