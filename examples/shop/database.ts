/**
 * The shop's own tables, in the PostgreSQL that Holdfast already uses, in a schema of their own.
 *
 * Every wait has a limit: a database that accepts connections and never answers must not hold a user's request.
 * The tables are made by whichever instance asks first; the others wait for its lock. It is done at the first
 * question rather than at the start, so that an instance can start while the database is away.
 */
import pg from 'pg';
import { Refusal } from './refusal.ts';

const connectWithinMs = 1_000;
const answerWithinMs = 2_000;

export interface Database {
  /** Rows, or a Refusal (503) where the database cannot be asked now. */
  query<Row>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Makes the tables, where nobody has yet. */
  prepare(): Promise<void>;
  close(): Promise<void>;
}

export interface ProductRow {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly priceCents: number;
}

// Statements sent together are one transaction, and its lock lets one instance at a time through.
const createTables = `
  select pg_advisory_xact_lock(hashtext('shop tables'));
  create schema if not exists shop;
  create table if not exists shop.product (
    id text primary key,
    name text not null,
    description text not null,
    price_cents integer not null check (price_cents >= 0),
    position integer not null
  );
  alter table shop.product add column if not exists stocked integer not null default 40;
  create table if not exists shop.picture (
    id text primary key,
    product text references shop.product,
    uploaded_by text not null,
    bytes integer not null,
    uploaded_at timestamptz not null default now()
  );
  create index if not exists picture_by_product on shop.picture (product, uploaded_at);
  create table if not exists shop.purchase (
    id bigint generated always as identity primary key,
    customer text not null,
    placed_at timestamptz not null default now()
  );
  create index if not exists purchase_by_customer on shop.purchase (customer, id);
  create table if not exists shop.purchase_line (
    purchase bigint not null references shop.purchase,
    product text not null references shop.product,
    pieces integer not null check (pieces > 0),
    price_cents integer not null,
    primary key (purchase, product)
  );
  create table if not exists shop.invoice (
    number bigint generated always as identity primary key,
    purchase bigint not null unique references shop.purchase,
    amount_cents integer not null,
    issued_by text not null,
    issued_at timestamptz not null default now()
  );
  create table if not exists shop.stock_report (
    due timestamptz primary key,
    text text not null,
    made_by text not null,
    made_at timestamptz not null default now(),
    token bigint not null
  );
`;

const seedProducts = `
  insert into shop.product (id, name, description, price_cents, position)
  select r.id, r.name, r.description, r."priceCents", ordinality
  from jsonb_array_elements($1::jsonb) with ordinality as e(product, ordinality),
       jsonb_to_record(product) as r(id text, name text, description text, "priceCents" integer)
  on conflict (id) do nothing
`;

/** `url` may name several hosts, of which one can be written to. */
export function openDatabase(url: string, seed: readonly ProductRow[]): Database {
  const pools = hostUrls(url).map(
    (connectionString) =>
      new pg.Pool({
        connectionString,
        application_name: 'shop',
        max: 4,
        idleTimeoutMillis: 10_000,
        connectionTimeoutMillis: connectWithinMs,
        query_timeout: answerWithinMs,
        statement_timeout: answerWithinMs,
        allowExitOnIdle: true,
      }),
  );
  // A pooled connection that breaks while nobody uses it is replaced at the next question.
  for (const pool of pools) pool.on('error', () => undefined);
  let current = 0;
  let tables: Promise<unknown> | undefined;

  /** Asks the next host only where this one can have done nothing: it refused the connection, or it is a standby. */
  async function ask<Row>(text: string, values: readonly unknown[] | undefined): Promise<Row[]> {
    let reason: unknown;
    for (let attempt = 0; attempt < pools.length; attempt++) {
      const client = await poolAt(current)
        .connect()
        .catch((error: unknown) => {
          reason = error;
        });
      if (client) {
        try {
          const result = await client.query(text, values && [...values]);
          client.release();
          return result.rows as Row[];
        } catch (error) {
          client.release(true);
          if (sqlState(error) !== '25006') throw isAway(error) ? away(error) : error;
          reason = error;
        }
      }
      current = (current + 1) % pools.length;
    }
    throw away(reason);
  }

  function poolAt(index: number): pg.Pool {
    const pool = pools[index];
    if (!pool) throw new Error('HOLDFAST_DATABASE names no host');
    return pool;
  }

  async function makeTables(): Promise<void> {
    await ask(createTables, undefined);
    await ask(seedProducts, [JSON.stringify(seed)]);
  }

  async function prepare(): Promise<void> {
    tables ??= makeTables().catch((error: unknown) => {
      tables = undefined; // the next question tries again
      throw error;
    });
    await tables;
  }

  return {
    prepare,
    async query(text, values = []) {
      await prepare();
      return ask(text, values);
    },
    async close() {
      await Promise.all(pools.map((pool) => pool.end()));
    },
  };
}

/** `postgres://user@db1,db2:5433/shop` as one URL per host, which is what node-postgres understands. */
function hostUrls(url: string): string[] {
  const [, before = '', hosts = '', after = ''] = /^(\w+:\/\/(?:[^@/]*@)?)([^/?]*)(.*)$/.exec(url) ?? [];
  return hosts === '' ? [url] : hosts.split(',').map((host) => before + host + after);
}

function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** No answer at all, or one that says: not now. Anything else is a mistake in a statement. */
function isAway(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || /^(08|53|57)/.test(state);
}

function away(cause: unknown): Refusal {
  return new Refusal(503, 'The database cannot be reached at the moment. Please try again shortly.', {
    cause,
  });
}
