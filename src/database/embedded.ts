/**
 * A real PostgreSQL that lives beside the configuration file, for one machine.
 *
 * Its data, port and password are chosen once and kept in its folder. It listens on loopback only, asks for the
 * password, and ends with the process that started it (setpriv --pdeathsig INT is a fast shutdown); where that is
 * not available the next start finds the left-over server and stops it first. After a `kill -9` of everything
 * PostgreSQL recovers from its log by itself.
 *
 * PostgreSQL refuses to run as root. Then it runs as an ordinary user who may pass through folders that only root
 * may enter (one ambient capability), because the data must lie beside the file, wherever that is.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { HoldfastError } from '../support/errors.ts';
import { systemClock } from './clock.ts';

export interface EmbeddedPostgres {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** A fast, clean shutdown; a server that does not end in time is killed. */
  stop(): Promise<void>;
}

interface Settings {
  readonly port: number;
  readonly password: string;
}

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

const userName = 'holdfast';

/** Starts the server whose data is in `folder`, creating it at first. Rejects with EMBEDDED_POSTGRES. */
export async function startEmbeddedPostgres(
  folder: string,
  options: { database: string; serverFlags?: readonly string[] },
): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries();
  await mkdir(folder, { recursive: true });
  const data = join(folder, 'data');
  const account = await accountFor(data);
  const settings = await settingsFor(folder);
  if (!existsSync(join(data, 'PG_VERSION'))) await initialise(binaries, folder, data, account, settings);
  await stopLeftOver(data);
  const port = (await isFree(settings.port)) ? settings.port : await choosePort();
  if (port !== settings.port) await writeSettings(folder, { ...settings, port });

  const logFile = await open(join(folder, 'server.log'), 'a', 0o600);
  const flags = { listen_addresses: '127.0.0.1', unix_socket_directories: '', max_connections: '200' };
  const server = spawnAs(
    account,
    binaries.postgres,
    [
      '-D',
      data,
      '-p',
      String(port),
      ...Object.entries(flags).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ].concat(options.serverFlags ?? []),
    logFile.fd,
  );
  await logFile.close();
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  server.once('error', () => undefined); // reported by waitUntilReady: the server never answers
  const url = (database: string) =>
    `postgres://${userName}:${settings.password}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
  await waitUntilReady(url('postgres'), options.database, server, folder);
  return { url: url(options.database), port, pid: server.pid ?? 0, exited, stop: () => stop(server, exited) };
}

async function stop(server: ChildProcess, exited: Promise<void>): Promise<void> {
  if (server.exitCode === null && server.signalCode === null) server.kill('SIGINT');
  const late = setTimeout(() => server.kill('SIGKILL'), 5_000);
  await exited;
  clearTimeout(late);
}

/** The folder's port and password, chosen at the first start. */
async function settingsFor(folder: string): Promise<Settings> {
  try {
    return JSON.parse(await readFile(join(folder, 'settings.json'), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw failed(`${join(folder, 'settings.json')} cannot be read`, error);
    }
  }
  const settings = { port: await choosePort(), password: randomBytes(24).toString('hex') };
  await writeSettings(folder, settings);
  return settings;
}

async function writeSettings(folder: string, settings: Settings): Promise<void> {
  await writeFile(join(folder, 'settings.json'), `${JSON.stringify(settings)}\n`, { mode: 0o600 });
}

async function initialise(
  binaries: Binaries,
  folder: string,
  data: string,
  account: Account | undefined,
  settings: Settings,
): Promise<void> {
  await rm(data, { recursive: true, force: true }); // an initdb that was interrupted
  await mkdir(data, { mode: 0o700 });
  const passwordFile = join(folder, 'initial-password');
  await writeFile(passwordFile, settings.password, { mode: 0o600 });
  if (account) {
    await chown(data, account.uid, account.gid);
    await chown(passwordFile, account.uid, account.gid);
  }
  const logFile = await open(join(folder, 'initdb.log'), 'w', 0o600);
  try {
    const flags = ['-D', data, '-U', userName, '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
    const child = spawnAs(account, binaries.initdb, [...flags, '-E', 'UTF8', '--locale=C'], logFile.fd);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('exit', resolve);
      child.once('error', reject);
    });
    if (code !== 0) throw failed(`initdb ended with ${code}: ${await tail(join(folder, 'initdb.log'))}`);
  } finally {
    await logFile.close();
    await rm(passwordFile, { force: true });
  }
}

async function waitUntilReady(
  url: string,
  database: string,
  server: ChildProcess,
  folder: string,
): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + 60_000; // recovery after a crash takes its time
  for (;;) {
    if (server.exitCode !== null || server.signalCode !== null) {
      throw failed(`the server ended at once: ${await tail(join(folder, 'server.log'))}`);
    }
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined); // the exchange below rejects with it
    try {
      await client.connect();
      const known = await client.query('select from pg_database where datname = $1', [database]);
      if (known.rowCount === 0) await client.query(`create database ${client.escapeIdentifier(database)}`);
      return;
    } catch (error) {
      if (systemClock.monotonicMs() > deadlineMs)
        throw failed('the server does not accept connections', error);
    } finally {
      await client.end().catch(() => undefined); // it was never connected
    }
    await systemClock.sleep(50);
  }
}

/**
 * A server that outlived its parent still holds the data: it is stopped, never joined. When no process works in the
 * data folder any more, a lock file that is left is stale even if its process number is in use: by another program,
 * or by a zombie that nobody waits for.
 */
async function stopLeftOver(data: string): Promise<void> {
  const lockFile = join(data, 'postmaster.pid');
  const pid = Number((await readFile(lockFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid || process.platform !== 'linux') return;
  const left = await workingIn(data);
  if (left.includes(pid)) {
    process.kill(pid, 'SIGCONT');
    process.kill(pid, 'SIGINT');
  }
  for (let tries = 0; (await workingIn(data)).length > 0; tries++) {
    if (tries === 100) for (const each of await workingIn(data)) process.kill(each, 'SIGKILL');
    if (tries > 200) throw failed(`a left-over server (process ${pid}) does not end`);
    await systemClock.sleep(50);
  }
  await rm(lockFile, { force: true });
}

/** Every process of a server has its data folder as the working directory; a zombie has none. */
async function workingIn(data: string): Promise<number[]> {
  const folder = await realpath(data);
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(processes.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')));
  return processes.filter((_, index) => places[index] === folder).map(Number);
}

interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Who runs the server: nobody in particular unless we are root; then the data's owner, else postgres or nobody. */
async function accountFor(data: string): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(data).catch(() => undefined);
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const account = ['postgres', 'nobody']
    .map((name) => accounts.find(([known]) => known === name))
    .find(Boolean);
  if (!account)
    throw failed('PostgreSQL does not run as root, and there is neither a user postgres nor nobody');
  return { uid: Number(account[2]), gid: Number(account[3]) };
}

function spawnAs(
  account: Account | undefined,
  program: string,
  args: readonly string[],
  logFd: number,
): ChildProcess {
  const stdio = ['ignore', logFd, logFd] as const;
  const environment = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' };
  const options = { stdio: [...stdio], env: environment, detached: true }; // Ctrl-C is for us, not for it
  if (process.platform !== 'linux') return spawn(program, args, options);
  const identity = account
    ? [
        `--reuid=${account.uid}`,
        `--regid=${account.gid}`,
        '--clear-groups',
        '--inh-caps=+dac_override',
      ].concat(
        // access(2) honours the capability only with this bit
        ['--ambient-caps=+dac_override', '--securebits=+no_setuid_fixup'],
      )
    : [];
  return spawn('setpriv', [...identity, '--pdeathsig=INT', '--', program, ...args], options);
}

/** The binaries come with the platform's package of embedded-postgres. */
async function findBinaries(): Promise<Binaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const from = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const binaries: Binaries = await import(from.resolve(name));
    for (const program of [binaries.initdb, binaries.postgres]) {
      const { mode } = await stat(program);
      if ((mode & 0o555) !== 0o555) await chmod(program, mode | 0o555);
    }
    return binaries;
  } catch (error) {
    throw failed(`the package ${name} is not installed`, error);
  }
}

const listenOn = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined));
    });
  });

const isFree = async (port: number): Promise<boolean> => (await listenOn(port)) !== undefined;

async function choosePort(): Promise<number> {
  const port = await listenOn(0);
  if (port === undefined) throw failed('no port is free on 127.0.0.1');
  return port;
}

const tail = async (file: string): Promise<string> =>
  (await readFile(file, 'utf8').catch(() => '')).trim().split('\n').slice(-3).join(' | ');

function failed(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('EMBEDDED_POSTGRES', `The embedded PostgreSQL cannot be used: ${why}.`, {
    cause,
    remedy: 'Name a PostgreSQL of your own as `database:` in the configuration, or run `npm ci` again.',
  });
}
