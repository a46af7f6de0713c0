/**
 * The arbiter's real SQL in this process (PGlite), on a clock and a timeline that the simulation sets with each
 * statement. Statements run one at a time and are whole or not at all, as row locks make them on a real server.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { PGlite } from '@electric-sql/pglite';

export interface SimulatedDatabase {
  /** Runs one statement as if it had started at that moment. */
  run(
    text: string,
    values: readonly unknown[],
    at: { nowMs: number; timeline: number },
  ): Promise<Record<string, unknown>[]>;
  /** As new, on timeline 1. */
  reset(): Promise<void>;
  /** What a standby has received so far. */
  snapshot(): Promise<void>;
  /** The standby takes over: everything since the snapshot is lost. */
  restoreSnapshot(): Promise<void>;
  close(): Promise<void>;
}

const migrations = new URL('../../src/database/migrations/', import.meta.url);
const tables = ['member', 'lease', 'timeline_start'];

/** `mutate` may change the migrations, to see whether a simulation would notice. */
export async function openSimulatedDatabase(mutate = (sql: string) => sql): Promise<SimulatedDatabase> {
  const { PGlite: Database } = await import('@electric-sql/pglite');
  const database: PGlite = await Database.create();
  await database.exec('create schema holdfast');
  const files = (await readdir(migrations)).filter((name) => /^0001-.*\.sql$/.test(name));
  for (const file of files) await database.exec(mutate(await readFile(new URL(file, migrations), 'utf8')));
  await database.exec(`
    create or replace function holdfast.now() returns timestamptz language sql stable as
      $$ select to_timestamp(current_setting('simulation.now')::float8 / 1000) $$;
    create or replace function holdfast.timeline() returns int language sql stable as
      $$ select current_setting('simulation.timeline')::int $$;
    create schema standby;
    create table standby.sequence (last_value bigint);
    ${tables.map((table) => `create table standby.${table} as table holdfast.${table} with no data;`).join('\n')}`);
  return {
    async run(text, values, { nowMs, timeline }) {
      const statement = text.replace(/\$(\d+)/g, (_, index) => literal(values[Number(index) - 1]));
      const results = await database.exec(
        `set simulation.now = '${nowMs}'; set simulation.timeline = '${timeline}'; ${statement}`,
      );
      return (results.at(-1)?.rows ?? []) as Record<string, unknown>[];
    },
    async reset() {
      await database.exec(`truncate ${tables.map((table) => `holdfast.${table}`).join(', ')};
        insert into holdfast.timeline_start values (1, '-infinity');
        alter sequence holdfast.grant_sequence restart with 1`);
    },
    async snapshot() {
      await database.exec(`truncate standby.sequence; insert into standby.sequence select last_value from holdfast.grant_sequence;
        ${tables.map((table) => `truncate standby.${table}; insert into standby.${table} table holdfast.${table};`).join('\n')}`);
    },
    async restoreSnapshot() {
      await database.exec(`truncate ${tables.map((table) => `holdfast.${table}`).join(', ')};
        select setval('holdfast.grant_sequence', last_value) from standby.sequence;
        ${tables.map((table) => `insert into holdfast.${table} table standby.${table};`).join('\n')}`);
    },
    close: () => database.close(),
  };
}

/** A parameter as the text that node-postgres would send. */
function literal(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return quote(`{${value.map((item) => JSON.stringify(String(item))).join(',')}}`);
  return quote(typeof value === 'object' ? JSON.stringify(value) : String(value));
}

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;
