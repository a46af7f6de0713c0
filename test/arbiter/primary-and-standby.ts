/** A real primary with a streaming standby, from the server packages of the machine: what a failover really is. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmod, chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';

const run = promisify(execFile);

export interface Server {
  readonly port: number;
  start(): Promise<void>;
  /** SIGKILL to the whole server. */
  kill(): Promise<void>;
}

export interface PrimaryAndStandby {
  readonly primary: Server;
  readonly standby: Server;
  /** From now on the standby receives nothing, and the primary goes on. */
  cutOff(): Promise<void>;
  /** Resolves when the standby has replayed all that the primary has written. */
  caughtUp(): Promise<void>;
  promoteStandby(): Promise<void>;
  stop(): Promise<void>;
}

/** The folder of the newest server binaries, or why there is none. */
export async function findServerBinaries(): Promise<{ folder: string } | { missing: string }> {
  const root = '/usr/lib/postgresql';
  const versions = await readdir(root).catch(() => []);
  const newest = versions.map(Number).sort((one, other) => other - one)[0];
  if (newest === undefined) return { missing: `no PostgreSQL server packages in ${root}` };
  const account = (await readFile('/etc/passwd', 'utf8').catch(() => '')).includes('\npostgres:');
  if (process.getuid?.() === 0 && !account)
    return { missing: 'PostgreSQL does not run as root, and there is no user postgres' };
  return { folder: join(root, String(newest), 'bin') };
}

export interface ReplicationOptions {
  /** Commits wait until the standby has them. */
  readonly synchronous?: boolean;
}

export async function startPrimaryAndStandby(
  binaries: string,
  { synchronous = false }: ReplicationOptions = {},
): Promise<PrimaryAndStandby> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-failover-'));
  const identity = await identityOfServer();
  if (identity) {
    await chmod(folder, 0o711);
    await chown(folder, identity.uid, identity.gid);
  }
  const asServer = (program: string, args: string[]): [string, string[]] =>
    identity
      ? [
          'setpriv',
          [
            `--reuid=${identity.uid}`,
            `--regid=${identity.gid}`,
            '--clear-groups',
            join(binaries, program),
            ...args,
          ],
        ]
      : [join(binaries, program), args];
  const options = { cwd: folder, env: { PATH: process.env.PATH ?? '', LC_ALL: 'C' } };
  const [primaryPort, standbyPort] = [await freePort(), await freePort()];

  function server(name: string, port: number): Server {
    let process: ChildProcess | undefined;
    return {
      port,
      async start() {
        const settings = {
          listen_addresses: '127.0.0.1',
          unix_socket_directories: '',
          fsync: 'off',
          wal_level: 'replica',
        };
        const flags = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
        const [program, args] = asServer('postgres', [
          '-D',
          join(folder, name),
          '-p',
          String(port),
          ...flags,
        ]);
        process = spawn(program, args, { ...options, stdio: 'ignore' });
        await eventually(() => ask(port, 'select 1'));
      },
      async kill() {
        const killed = process;
        if (!killed?.pid || killed.exitCode !== null || killed.signalCode !== null) return;
        const ended = new Promise((resolve) => killed.once('exit', resolve));
        const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(killed.pid)]);
        killed.kill('SIGKILL');
        for (const pid of stdout.trim().split(/\s+/).map(Number)) killQuietly(pid);
        await ended;
      },
    };
  }

  const primary = server('primary', primaryPort);
  const standby = server('standby', standbyPort);
  await run(
    ...asServer('initdb', [
      '-D',
      join(folder, 'primary'),
      '-U',
      'holdfast',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C',
    ]),
    options,
  );
  await primary.start();
  const from = ['-h', '127.0.0.1', '-p', String(primaryPort), '-U', 'holdfast'];
  const flags = ['-D', join(folder, 'standby'), '-R', '-X', 'stream', '-c', 'fast'];
  await run(...asServer('pg_basebackup', [...flags, ...from]), options);
  await standby.start();
  if (synchronous) {
    await ask(primaryPort, `alter system set synchronous_standby_names = '*'`);
    await ask(primaryPort, 'select pg_reload_conf()');
    await eventually(async () => {
      const [row] = await ask(primaryPort, 'select sync_state from pg_stat_replication');
      return row?.sync_state === 'sync';
    });
  }

  return {
    primary,
    standby,
    async cutOff() {
      await ask(standbyPort, `alter system set primary_conninfo = ''`);
      await ask(standbyPort, 'select pg_reload_conf()');
      await eventually(async () => {
        const [row] = await ask(primaryPort, 'select count(*)::int as receivers from pg_stat_replication');
        return row?.receivers === 0;
      });
    },
    async caughtUp() {
      await eventually(async () => {
        const [row] = await ask(
          primaryPort,
          'select replay_lsn = pg_current_wal_lsn() as done from pg_stat_replication',
        );
        return row?.done;
      });
    },
    async promoteStandby() {
      await ask(standbyPort, 'select pg_promote(true, 30)');
    },
    async stop() {
      await Promise.all([primary.kill(), standby.kill()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function ask(port: number, statement: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'holdfast', database: 'postgres' });
  client.on('error', () => undefined); // the exchange below rejects with it
  try {
    await client.connect();
    return (await client.query(statement)).rows;
  } finally {
    await client.end().catch(() => undefined); // it was never connected
  }
}

export async function eventually<T>(question: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  for (;;) {
    const answer = await question().catch((error: unknown) => {
      if (performance.now() - startedMs > 30_000) throw error;
      return undefined;
    });
    if (answer) return answer;
    await delay(50);
  }
}

/** PostgreSQL refuses to run as root. */
async function identityOfServer(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const line = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .find((text) => text.startsWith('postgres:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended with its postmaster.
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
