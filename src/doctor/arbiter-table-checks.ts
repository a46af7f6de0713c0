/** The arbiter's tables: all there, all crash-safe, and kept in shape by autovacuum. */
import { readdir, readFile } from 'node:fs/promises';
import { type Check, counted, type Finding, green, listed, red, yellow } from './check.ts';
import type { DoctorContext } from './context.ts';

const migrations = new URL('../database/migrations/', import.meta.url);

/** Every table that the migrations of this Holdfast create; the one that they are noted in is not among them. */
export async function expectedTables(): Promise<string[]> {
  const files = (await readdir(migrations)).filter((name) => name.endsWith('.sql')).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, migrations), 'utf8')));
  const tables = new Set<string>();
  for (const [, verb, name = ''] of texts
    .join('\n')
    .matchAll(/^\s*(create|drop) table (?:if (?:not )?exists )?holdfast\.(\w+)/gim)) {
    if (verb?.toLowerCase() === 'create') tables.add(name);
    else tables.delete(name);
  }
  return [...tables];
}

export interface TableView {
  readonly name: string;
  /** p: permanent, u: unlogged. */
  readonly persistence: string;
  readonly bytes: number;
  readonly live: number;
  readonly dead: number;
  readonly updates: number;
  readonly hotUpdates: number;
  readonly isVacuumed: boolean;
}

async function viewTables({ arbiter }: DoctorContext): Promise<TableView[]> {
  return arbiter.query<TableView>(
    `select c.relname as name, c.relpersistence::text as persistence, pg_total_relation_size(c.oid)::float8 as bytes,
       coalesce(s.n_live_tup, 0)::float8 as live, coalesce(s.n_dead_tup, 0)::float8 as dead,
       coalesce(s.n_tup_upd, 0)::float8 as updates, coalesce(s.n_tup_hot_upd, 0)::float8 as "hotUpdates",
       current_setting('autovacuum')::bool
         and not coalesce(c.reloptions @> '{autovacuum_enabled=false}', false) as "isVacuumed"
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     left join pg_stat_all_tables s on s.relid = c.oid
     where n.nspname = 'holdfast' and c.relkind in ('r', 'p') order by c.relname`,
  );
}

export function judgeTables(expected: readonly string[], tables: readonly TableView[]): Finding {
  const missing = expected.filter((name) => !tables.some((table) => table.name === name));
  const unlogged = tables.filter(({ persistence }) => persistence === 'u').map(({ name }) => name);
  const figures = { tables: tables.length, missing: missing.length, unlogged: unlogged.length };
  if (missing.length > 0) {
    const evidence = `${listed(missing.map((name) => `holdfast.${name}`))}: missing.`;
    return red(
      [evidence],
      'Start an agent of the newest version: it migrates. If a table was dropped, restore it.',
      figures,
    );
  }
  if (unlogged.length > 0) {
    const statements = unlogged.map((name) => `alter table holdfast.${name} set logged;`).join(' ');
    const evidence = [
      `${listed(unlogged.map((name) => `holdfast.${name}`))}: UNLOGGED.`,
      'An UNLOGGED table is empty after a crash of PostgreSQL, and on a standby always.',
    ];
    return red(evidence, `Run: ${statements}`, figures);
  }
  return green([`All ${tables.length} tables are there and logged.`], figures);
}

/** Too few updates say nothing: the first ones after a start fill the pages. */
const enoughUpdates = 5_000;
const goodHotShare = 0.8;

export function judgeHotUpdates(tables: readonly TableView[]): Finding {
  const busy = tables.filter(({ updates }) => updates >= enoughUpdates);
  if (busy.length === 0) {
    return green([`No table has had ${enoughUpdates} updates yet, so there is nothing to judge.`]);
  }
  const shareOf = ({ updates, hotUpdates }: TableView) => hotUpdates / updates;
  const worst = busy.toSorted((one, other) => shareOf(one) - shareOf(other));
  const evidence = worst.map(
    (table) =>
      `holdfast.${table.name}: ${Math.floor(shareOf(table) * 100)} % of ${table.updates} updates are HOT.`,
  );
  const figures = Object.fromEntries(busy.map((table) => [table.name, Math.floor(shareOf(table) * 100)]));
  if (worst.every((table) => shareOf(table) >= goodHotShare)) return green(evidence, figures);
  return yellow(
    evidence,
    'Look for an index that was added to these tables, a fillfactor that was taken away, or a transaction that stays open for long (see arbiter.bloat).',
    figures,
  );
}

interface OldestTransaction {
  readonly ageMs: number;
  readonly application: string;
}

async function oldestTransaction({ arbiter }: DoctorContext): Promise<OldestTransaction | undefined> {
  const [row] = await arbiter.query<OldestTransaction>(
    `select (extract(epoch from clock_timestamp() - xact_start) * 1000)::float8 as "ageMs",
       coalesce(nullif(application_name, ''), usename, '?') as application
     from pg_stat_activity where xact_start is not null and backend_type = 'client backend' and pid <> pg_backend_pid()
     order by xact_start limit 1`,
  );
  return row;
}

const manyDeadRows = 10_000;
const longTransactionMs = 600_000;

export function judgeBloat(tables: readonly TableView[], oldest: OldestTransaction | undefined): Finding {
  const bytes = tables.reduce((sum, table) => sum + table.bytes, 0);
  const bloated = tables.filter(({ dead, live }) => dead > manyDeadRows && dead > live);
  const unkept = tables.filter(({ isVacuumed }) => !isVacuumed).map(({ name }) => `holdfast.${name}`);
  const evidence = [
    `${counted(tables.length, 'table')} with ${megabytes(bytes)}.`,
    ...bloated.map(
      ({ name, dead, live, bytes: size }) =>
        `holdfast.${name}: ${dead} dead rows beside ${live} live ones, ${megabytes(size)}.`,
    ),
    ...(unkept.length > 0
      ? [`Autovacuum is off for ${unkept.length === tables.length ? 'all of them' : listed(unkept)}.`]
      : []),
    ...(oldest && oldest.ageMs > longTransactionMs
      ? [
          `A transaction of "${oldest.application}" has been open for ${Math.round(oldest.ageMs / 60_000)} minutes: nothing that died since can be removed.`,
        ]
      : []),
  ];
  const figures = { bytes, deadRows: tables.reduce((sum, { dead }) => sum + dead, 0) };
  if (evidence.length === 1) return green([...evidence, 'Dead rows are removed as they should be.'], figures);
  return yellow(
    evidence,
    'End the old transaction, switch autovacuum on, and let `vacuum` run once; `holdfast events runs holdfast-prune-ledger` shows whether old rows are removed.',
    figures,
  );
}

const megabytes = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MB`;

export const arbiterTableChecks: readonly Check[] = [
  {
    id: 'arbiter.tables',
    claim: 'No table is missing or would be empty after a crash',
    run: async (context) => judgeTables(await expectedTables(), await viewTables(context)),
  },
  {
    id: 'arbiter.hot-updates',
    claim: 'Updates stay on their page',
    run: async (context) => judgeHotUpdates(await viewTables(context)),
  },
  {
    id: 'arbiter.bloat',
    claim: 'Dead rows are removed',
    run: async (context) => judgeBloat(await viewTables(context), await oldestTransaction(context)),
  },
];
