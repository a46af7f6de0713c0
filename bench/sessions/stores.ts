/** The stores that are compared, each as an application would set it up. */
import { createRequire } from 'node:module';
import expressSession from 'express-session';
import pg from 'pg';
import type { CheckedStore } from '../../src/testing/session-store-suite.ts';

const load = createRequire(import.meta.url);

export interface OpenStore {
  readonly store: CheckedStore & expressSession.Store;
  close(): Promise<void>;
}

export function openMemoryStore(): OpenStore {
  return { store: new expressSession.MemoryStore() as never, close: async () => undefined };
}

export function openConnectPgSimple(url: string): OpenStore {
  const pool = new pg.Pool({ connectionString: url });
  const PgStore = load('connect-pg-simple')(expressSession);
  const store = new PgStore({ pool, pruneSessionInterval: false });
  return {
    store,
    async close() {
      await store.close();
      await pool.end();
    },
  };
}

/** The table that connect-pg-simple's own documentation says to make. */
export async function createConnectPgSimpleTable(url: string): Promise<void> {
  const { readFile } = await import('node:fs/promises');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(await readFile(load.resolve('connect-pg-simple/table.sql'), 'utf8'));
  await client.end();
}
