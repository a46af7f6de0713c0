/** A real PostgreSQL for the comparison, which counts every statement that reaches it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';

export interface CountingDatabase {
  createDatabase(name: string): Promise<string>;
  /** From here on. */
  startCounting(): Promise<void>;
  /** Statements that clients sent to this database, whoever they were and whatever for. */
  countStatements(name: string): Promise<number>;
  stop(): Promise<void>;
}

export async function startCountingDatabase(): Promise<CountingDatabase> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const server = await startEmbeddedPostgres(folder, {
    database: 'administration',
    serverFlags: [
      ...['-c', 'shared_preload_libraries=pg_stat_statements'],
      ...['-c', 'pg_stat_statements.track=top', '-c', 'pg_stat_statements.track_utility=on'],
    ],
  });
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query('create extension pg_stat_statements');
  return {
    async createDatabase(name) {
      await client.query(`create database ${name}`);
      return server.url.replace(/[^/]*$/, name);
    },
    async startCounting() {
      await client.query('select pg_stat_statements_reset()');
    },
    async countStatements(name) {
      const { rows } = await client.query(
        `select coalesce(sum(calls), 0)::int as calls from pg_stat_statements s
         join pg_database d on d.oid = s.dbid where d.datname = $1`,
        [name],
      );
      return rows[0].calls;
    },
    async stop() {
      await client.end();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
