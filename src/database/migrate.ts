/**
 * Migrations: numbered SQL files, each applied once, in order, in one transaction under one lock, so that any
 * number of agents may start at once. Code that finds a number it does not know refuses to work: a newer Holdfast
 * has been here, and what it promised to its peers is not known to this one.
 */
import { readdir, readFile } from 'node:fs/promises';
import { HoldfastError } from '../support/errors.ts';
import type { Arbiter } from './arbiter.ts';

const folder = new URL('./migrations/', import.meta.url);
/** A transaction-level lock: it cannot be stranded, not even by a connection pooler. The number is arbitrary. */
const lockKey = 482_391_001;

export async function migrate(arbiter: Arbiter): Promise<void> {
  const files = (await readdir(folder)).filter((name) => /^\d{4}-.*\.sql$/.test(name)).sort();
  const known = files.length;
  if ((await schemaVersion(arbiter, known)) === known) return;
  await arbiter.transaction(
    async (query) => {
      await query('select pg_advisory_xact_lock($1)', [lockKey]);
      await query('create schema if not exists holdfast');
      await query(`create table if not exists holdfast.migration
        (number int primary key, name text not null, applied_at timestamptz not null default now())`);
      const applied = (await query<{ number: number }>('select number from holdfast.migration')).map(
        (row) => row.number,
      );
      refuseNewer(Math.max(0, ...applied), known);
      for (const file of files) {
        const number = Number(file.slice(0, 4));
        if (applied.includes(number)) continue;
        await query(await readFile(new URL(file, folder), 'utf8'));
        await query('insert into holdfast.migration (number, name) values ($1, $2)', [number, file]);
      }
    },
    { deadlineMs: 30_000 },
  );
}

/** The number of the newest migration; 0 where there is none. Throws SCHEMA_NEWER. */
async function schemaVersion(arbiter: Arbiter, known: number): Promise<number> {
  const [exists] = await arbiter.query<{ exists: boolean }>(
    `select to_regclass('holdfast.migration') is not null as exists`,
  );
  if (!exists?.exists) return 0;
  const [row] = await arbiter.query<{ version: number }>(
    'select coalesce(max(number), 0) as version from holdfast.migration',
  );
  const version = row?.version ?? 0;
  refuseNewer(version, known);
  return version;
}

function refuseNewer(version: number, known: number): void {
  if (version <= known) return;
  throw new HoldfastError(
    'SCHEMA_NEWER',
    `The arbiter's schema is at version ${version}; this Holdfast knows versions up to ${known}.`,
    { remedy: 'Update Holdfast on this host to the version that the other hosts run.' },
  );
}
