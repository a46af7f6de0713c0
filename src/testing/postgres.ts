/**
 * A throwaway real PostgreSQL for tests: its own data folder, a free port, and a migrated database cloned from a
 * template for whoever asks. It can be frozen, killed and restarted, because that is what tests are about.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArbiter } from '../database/arbiter.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../database/embedded.ts';
import { migrate } from '../database/migrate.ts';

export interface TestPostgres {
  readonly url: string;
  readonly port: number;
  /** The URL of a new, migrated database. */
  createDatabase(): Promise<string>;
  restart(): Promise<void>;
  /** Ends the server until `start`. */
  halt(): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP to the server and everything it started: it accepts connections and never answers. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

export async function startTestPostgres(): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
  const serverFlags = ['-c', 'fsync=off']; // a test never survives a power failure
  let server: EmbeddedPostgres = await startEmbeddedPostgres(folder, {
    database: 'template_migrated',
    serverFlags,
  });
  const databaseUrl = (name: string) => server.url.replace(/[^/]*$/, name);
  const template = openArbiter({ url: databaseUrl('template_migrated') });
  await migrate(template);
  await template.close();
  let databases = 0;

  const signal = (name: 'SIGSTOP' | 'SIGCONT') => {
    const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(server.pid)], { encoding: 'utf8' });
    for (const pid of [server.pid, ...children.trim().split(/\s+/).map(Number)]) process.kill(pid, name);
  };
  const start = async () => {
    server = await startEmbeddedPostgres(folder, { database: 'template_migrated', serverFlags });
  };
  return {
    get url() {
      return databaseUrl('postgres');
    },
    get port() {
      return server.port;
    },
    async createDatabase() {
      const name = `test_${++databases}`;
      const admin = openArbiter({ url: databaseUrl('postgres') });
      await admin.query(`create database ${name} template template_migrated`, [], { deadlineMs: 20_000 });
      await admin.close();
      return databaseUrl(name);
    },
    async restart() {
      await server.stop();
      await start();
    },
    halt: () => server.stop(),
    start,
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
