/**
 * The arbiter's real SQL in this process (PGlite), on a clock and a timeline that the simulation sets with each
 * statement. Statements run one at a time and are whole or not at all, as row locks make them on a real server.
 */
import { readdir, readFile } from 'node:fs/promises';

interface Statement {
  readonly rows: Record<string, unknown>[];
  /** The channels on which it notified. */
  readonly notified: ReadonlySet<string>;
}

export interface SimulatedDatabase {
  /** Runs one statement as if it had started at that moment. */
  run(text: string, values: readonly unknown[], at: { nowMs: number; timeline: number }): Promise<Statement>;
  /** From its migrations, which `mutate` may change, to see whether a simulation would notice. */
  rebuild(mutate?: (sql: string) => string): Promise<void>;
  /** As new, on timeline 1. */
  reset(): Promise<void>;
  /** What a standby has received so far. */
  snapshot(): Promise<void>;
  /** The standby takes over: everything since the snapshot is lost. */
  restoreSnapshot(): Promise<void>;
  close(): Promise<void>;
}

const migrations = new URL('../../database/migrations/', import.meta.url);
/** Members and events; sessions have no part in this. */
const simulated = /^(0001|0003)-.*\.sql$/;
const tables = [
  ...['member', 'lease', 'timeline_start', 'change'],
  ...['event', 'event_cursor', 'occurrence', 'run', 'alarm', 'fence'],
];
const channels = ['holdfast_members', 'holdfast_events'];

const everyTable = (sql: (table: string) => string): string => tables.map(sql).join('\n');
const truncate = `truncate ${tables.map((table) => `holdfast.${table}`).join(', ')};`;
/** A standby receives rows, and no trigger fires for them. */
const asReplica = (sql: string): string =>
  `set session_replication_role = replica; ${sql}; set session_replication_role = origin;`;

/** Needs @electric-sql/pglite, which is not installed with this package. */
export async function openSimulatedDatabase(): Promise<SimulatedDatabase> {
  const { PGlite } = await import('@electric-sql/pglite');
  const database = await PGlite.create();
  await database.exec('set synchronous_commit = off; set jit = off');
  const files = (await readdir(migrations)).filter((name) => simulated.test(name)).sort();
  const sources = await Promise.all(files.map((file) => readFile(new URL(file, migrations), 'utf8')));
  const protocol = sources.join('\n');
  const build = (sql: string) =>
    database.exec(`
    deallocate all;
    drop schema if exists standby, holdfast cascade;
    create schema holdfast;
    ${sql}
    create or replace function holdfast.now() returns timestamptz language sql stable as
      $$ select to_timestamp(current_setting('simulation.now')::float8 / 1000) $$;
    create or replace function holdfast.timeline() returns int language sql stable as
      $$ select current_setting('simulation.timeline')::int $$;
    create schema standby;
    create table standby.sequence (last_value bigint, is_called boolean);
    ${everyTable((table) => `create table standby.${table} as table holdfast.${table} with no data;`)}`);
  await build(protocol);
  let notified = new Set<string>();
  for (const channel of channels) await database.listen(channel, () => notified.add(channel));

  const prepared = new Map<string, string>();

  /** Parsed and planned once: that takes longer than the work itself. */
  async function executed(text: string, values: readonly unknown[]): Promise<string> {
    let name = prepared.get(text);
    if (name === undefined) {
      name = `statement_${prepared.size + 1}`;
      await database.exec(`prepare ${name} as ${text}`);
      prepared.set(text, name);
    }
    return `execute ${name}${values.length === 0 ? '' : `(${values.map(literal).join(', ')})`}`;
  }

  return {
    async rebuild(mutate = (sql) => sql) {
      prepared.clear();
      await build(mutate(protocol));
    },
    async run(text, values, { nowMs, timeline }) {
      const statement = await executed(text, values);
      notified = new Set();
      const results = await database.exec(
        `set simulation.now = '${nowMs}'; set simulation.timeline = '${timeline}'; ${statement}`,
      );
      return { rows: (results.at(-1)?.rows ?? []) as Record<string, unknown>[], notified };
    },
    async reset() {
      await database.exec(`${truncate}
        insert into holdfast.timeline_start values (1, '-infinity');
        insert into holdfast.change (number) values (1);
        alter sequence holdfast.grant_sequence restart with 1`);
    },
    async snapshot() {
      await database.exec(`truncate standby.sequence;
        insert into standby.sequence select last_value, is_called from holdfast.grant_sequence;
        ${everyTable((table) => `truncate standby.${table}; insert into standby.${table} table holdfast.${table};`)}`);
    },
    async restoreSnapshot() {
      await database.exec(
        asReplica(`${truncate}
          select setval('holdfast.grant_sequence', last_value, is_called) from standby.sequence;
          ${everyTable((table) => `insert into holdfast.${table} table standby.${table};`)}`),
      );
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
