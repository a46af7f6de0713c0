/** The PostgreSQL of the benchmark: real, with its usual settings, counting statements and processor time. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Arbiter, openArbiter } from '../../src/database/arbiter.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { migrate } from '../../src/database/migrate.ts';

export interface BenchServer {
  readonly version: string;
  /** The URL of a new database; one with Holdfast's schema, if that is asked for. */
  createDatabase(name: string, options?: { migrated: boolean }): Promise<string>;
  /** Statements that clients have sent to this database so far, whoever they were and whatever for. */
  statements(database: string): Promise<number>;
  /** User and system time of the server and all its children, the ended ones included, in ms. */
  processorMs(): Promise<number>;
  stop(): Promise<void>;
}

export async function startBenchServer(): Promise<BenchServer> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const server = await startEmbeddedPostgres(folder, {
    database: 'administration',
    serverFlags: [
      ...['-c', 'shared_preload_libraries=pg_stat_statements'],
      ...['-c', 'pg_stat_statements.track=top', '-c', 'pg_stat_statements.track_utility=on'],
    ],
  });
  const urlOf = (database: string) => server.url.replace(/[^/]*$/, database);
  const administration = openArbiter({ url: server.url, max: 1 });
  await administration.query('create extension pg_stat_statements');
  const [row] = await administration.query<{ version: string }>(
    `select current_setting('server_version') as version`,
  );
  return {
    version: row?.version ?? '',
    async createDatabase(name, { migrated } = { migrated: false }) {
      await administration.query(`create database ${name}`, [], { deadlineMs: 20_000 });
      const url = urlOf(name);
      if (migrated) await withArbiter(url, migrate);
      return url;
    },
    async statements(database) {
      const [counted] = await administration.query<{ calls: number }>(
        `select coalesce(sum(s.calls), 0)::int as calls
           from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = $1`,
        [database],
      );
      return counted?.calls ?? 0;
    },
    processorMs: () => processorMsOfServer(server.pid),
    async stop() {
      await administration.close();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function withArbiter<T>(url: string, work: (arbiter: Arbiter) => Promise<T>): Promise<T> {
  const arbiter = openArbiter({ url, max: 1, queryDeadlineMs: 20_000 });
  try {
    return await work(arbiter);
  } finally {
    await arbiter.close();
  }
}

const msPerTick = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time of a process; with `ofChildren` also that of its children that have ended. */
export async function processorMs(pid: number, ofChildren = false): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''); // it has ended meanwhile
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15).map(Number);
  return msPerTick * (user + system + (ofChildren ? childUser + childSystem : 0));
}

async function processorMsOfServer(postmaster: number): Promise<number> {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(postmaster)], { encoding: 'utf8' });
  const living = await Promise.all(
    children
      .trim()
      .split(/\s+/)
      .map((pid) => processorMs(Number(pid))),
  );
  return (await processorMs(postmaster, true)) + living.reduce((sum, one) => sum + one, 0);
}
