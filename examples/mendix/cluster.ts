/**
 * Three Mendix runtimes behind one address, made from one m2ee.yaml: what the demo shows and its test checks. The
 * runtimes are the stand-in of `src/testing/mendix-runtime`, each a process with its own application folder as on hosts
 * of their own; the database is a real PostgreSQL, in which the application and the arbiter each have their own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseDocument, stringify } from 'yaml';
import { type Arbiter, openArbiter } from '../../src/database/arbiter.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { findFreePort } from '../../src/platform/index.ts';
import { writeConfigurationFromM2ee } from '../../src/settings/index.ts';
import { installStandIn, type StandInInstallation } from '../../src/testing/mendix-runtime/install.ts';
import type { Behaviour } from '../../src/testing/mendix-runtime/model.ts';

const program = resolve(import.meta.dirname, '../../src/cli/main.ts');
const names = ['claims-1', 'claims-2', 'claims-3'];

export const scheduledEvent = 'Claims.EverySecond';
export const ttlMs = 3_000;

export interface MendixCluster {
  readonly url: string;
  /** The database of the application, and that of the cluster. */
  readonly application: Arbiter;
  readonly arbiter: Arbiter;
  /** Deploys another version of the model on every host, beside the running one. */
  deploy(version: string, ddl: readonly string[]): Promise<void>;
  /** What `holdfast up` said. */
  readonly messages: readonly string[];
  /** Which instance is the leader; undefined: none now. */
  leader(): Promise<string | undefined>;
  instances(): Promise<readonly { instance: string; state: string; pid: number; agentPid: number }[]>;
  stop(): Promise<void>;
}

export interface MendixClusterOptions {
  /** Is told what happens on the way. */
  readonly say?: (text: string) => void;
  /** Beyond what every runtime of the demo does. */
  readonly behaviour?: Behaviour;
  /** A database on another server than the application's, for the cluster. */
  readonly arbiterUrl?: string;
  /** Changes to the configuration, from path to value. */
  readonly changes?: readonly (readonly [path: readonly string[], value: unknown])[];
}

export async function startMendixCluster(options: MendixClusterOptions = {}): Promise<MendixCluster> {
  const { say = () => undefined, behaviour = {}, changes = [] } = options;
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-mendix-demo-'));
  const releases: (() => Promise<unknown>)[] = [
    () => rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  ];
  const stop = async (): Promise<void> => {
    for (const release of releases.splice(0).reverse()) await release();
  };
  try {
    const server = await startEmbeddedPostgres(join(folder, 'postgres'), { database: 'holdfast' });
    releases.push(() => server.stop());
    const administration = openArbiter({ url: server.url });
    releases.push(() => administration.close());
    await administration.query('create database claims', [], { deadlineMs: 20_000 });
    const arbiterUrl = options.arbiterUrl ?? server.url;
    const arbiter = openArbiter({ url: arbiterUrl });
    releases.push(() => arbiter.close());
    const applicationUrl = server.url.replace(/[^/]*$/, 'claims');
    const application = openArbiter({ url: applicationUrl });
    releases.push(() => application.close());

    const { java, deploy } = await installRuntimes(folder, behaviour);
    const m2ee = join(folder, 'm2ee.yaml');
    await writeFile(m2ee, m2eeYaml(folder, java, applicationUrl));
    const imported = await writeConfigurationFromM2ee(folder, [m2ee]);
    for (const note of imported.notes) say(`init --m2ee: ${note}`);
    const port = await findFreePort();
    await adjustForOneMachine(imported.path, arbiterUrl, port, changes);
    say('holdfast up: three runtimes, all of which find an empty database');
    const { child, messages } = await startUp(folder, imported.path, say);
    releases.push(() => ended(child));
    const inArbiter = { leader: () => leaderOf(arbiter), instances: () => instancesOf(arbiter) };
    return { url: `http://127.0.0.1:${port}`, application, arbiter, messages, deploy, ...inArbiter, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function installRuntimes(
  folder: string,
  more: Behaviour,
): Promise<Pick<MendixCluster, 'deploy'> & { readonly java: readonly string[] }> {
  const model = { RuntimeVersion: '9.6.0', ModelVersion: '1', ScheduledEvents: [{ Name: scheduledEvent }] };
  const behaviour: Behaviour = {
    everyMs: { [scheduledEvent]: 1_000 },
    ddl: ['create table claims (id serial primary key, text text not null)'],
    ddlPauseMs: 100,
    health: 'healthy',
    ...more,
  };
  const installed: StandInInstallation[] = [];
  for (const name of names) installed.push(await installStandIn(join(folder, name), model, behaviour));
  await mkdir(join(folder, 'files'));
  return {
    java: installed[0]?.java ?? [],
    async deploy(version, ddl) {
      for (const { deploy, behave } of installed) {
        await deploy({ ...model, ModelVersion: version });
        await behave({ ...behaviour, ddl });
      }
    },
  };
}

/** As on a server that runs one Mendix application today, apart from the place of Java and of the application. */
function m2eeYaml(folder: string, java: readonly string[], databaseUrl: string): string {
  const { host, username, password, pathname } = new URL(databaseUrl);
  return stringify({
    m2ee: {
      app_name: 'Claims',
      app_base: join(folder, '{instance}', 'app'),
      admin_port: 9000,
      admin_pass: 'long-and-random',
      runtime_port: 8000,
      javabin: java,
      javaopts: ['-Xmx256M'],
    },
    mimetypes: { csv: 'text/csv' },
    mxruntime: {
      DatabaseType: 'PostgreSQL',
      DatabaseHost: host,
      DatabaseName: pathname.slice(1),
      DatabaseUserName: username,
      DatabasePassword: decodeURIComponent(password),
      ScheduledEventExecution: 'ALL',
      UploadedFilesPath: join(folder, 'files'),
    },
  });
}

/** Three instances here, short times so that nobody has to wait, and the database that is there. */
async function adjustForOneMachine(
  path: string,
  databaseUrl: string,
  port: number,
  changes: NonNullable<MendixClusterOptions['changes']>,
): Promise<void> {
  const document = parseDocument(await readFile(path, 'utf8'));
  document.set('database', databaseUrl);
  document.setIn(['app', 'instances'], names);
  document.setIn(['app', 'url'], `http://127.0.0.1:${port}`);
  document.setIn(['app', 'health'], { every: '250ms', timeout: '3s', startWithin: '60s' });
  document.setIn(['app', 'stop'], { drain: '1s', kill: '10s' });
  document.setIn(['balancer', 'listen'], `127.0.0.1:${port}`);
  document.set('lease', { ttl: `${ttlMs}ms`, heartbeat: '500ms' });
  for (const [at, value] of changes) document.setIn(at, value);
  await writeFile(path, document.toString());
}

async function startUp(
  folder: string,
  configFile: string,
  say: (text: string) => void,
): Promise<{ child: ChildProcess; messages: string[] }> {
  const child = spawn(process.execPath, [program, 'up', '-c', configFile, '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const messages: string[] = [];
  const ready = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { message } = JSON.parse(line) as { message: string };
    messages.push(message);
    say(message);
    if (message === 'ready') ready.resolve();
  });
  createInterface({ input: child.stderr }).on('line', (line) => void messages.push(line));
  child.once('exit', (code) => ready.reject(new Error(`up ended with ${code}: ${messages.join('\n')}`)));
  await ready.promise;
  return { child, messages };
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.once('exit', () => done());
    child.kill('SIGINT');
  });
}

async function leaderOf({ query }: Arbiter): Promise<string | undefined> {
  const [row] = await query<{ holder: string }>(
    `select l.holder from holdfast.lease l join holdfast.member m on m.instance = l.holder and m.token = l.member_token
      where l.name = 'leader' and m.left_at is null and m.state <> 'lost'`,
  );
  return row?.holder;
}

const instancesOf = ({ query }: Arbiter) =>
  query<{ instance: string; state: string; pid: number; agentPid: number }>(
    `select instance, state, (facts->>'pid')::int as pid, (facts->>'agentPid')::int as "agentPid"
      from holdfast.member order by instance`,
  );
