/**
 * Finding the arbiter: the one host of several that is a writable primary, on the newest timeline seen.
 *
 * All hosts are asked at once. When the first writable primary has answered, the others have a moment to answer
 * too, and the newest timeline wins, so a dead host costs next to nothing. A primary on an older timeline than one
 * already seen is refused: it is the old primary of a failover, still open to us, and what it grants is void. A
 * connection is verified the same way each time it is opened, because the host behind an address may have been
 * demoted since.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { HoldfastError } from '../support/errors.ts';
import type { DatabaseAddress } from './url.ts';

export interface Host {
  readonly host: string;
  readonly port: number;
}

/** Remembers the newest timeline over all connections of one process. */
export interface TimelineWatch {
  newest: number;
}

const facts = `select pg_is_in_recovery() as recovering, current_setting('transaction_read_only') as read_only,
  case when pg_is_in_recovery() then 0
  else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline`;

export function clientOptions(address: DatabaseAddress, host: Host, connectTimeoutMs: number, name: string) {
  return {
    host: host.host,
    port: host.port,
    user: address.user,
    database: address.database,
    ssl: address.ssl,
    ...(address.password === undefined ? {} : { password: address.password }),
    application_name: name,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  };
}

/** Why this connection is not to the arbiter; undefined when it is. */
export async function whyNotPrimary(
  client: pg.ClientBase,
  watch: TimelineWatch,
): Promise<string | undefined> {
  const row = (await client.query(facts)).rows[0];
  if (row.recovering) return 'is a standby';
  if (row.read_only === 'on') return 'is read-only';
  if (row.timeline < watch.newest)
    return `is on timeline ${row.timeline}, older than ${watch.newest}: an old primary`;
  watch.newest = row.timeline;
  return undefined;
}

/** How long a second primary, on a newer timeline, is waited for when one has answered. */
const otherPrimaryWithinMs = 250;

/** Rejects with ARBITER_REFUSED when every host that answered said no for good, else ARBITER_UNAVAILABLE. */
export async function findPrimary(
  address: DatabaseAddress,
  watch: TimelineWatch,
  connectTimeoutMs: number,
  applicationName: string,
): Promise<Host> {
  if (address.hosts.length === 1 && address.hosts[0]) return address.hosts[0]; // verified when connected
  const refusals: { host: Host; error: unknown }[] = [];
  const primaries: { host: Host; timeline: number }[] = [];
  const attempts = address.hosts.map(async (host) => {
    const client = new pg.Client(clientOptions(address, host, connectTimeoutMs, applicationName));
    client.on('error', () => undefined); // the query below rejects with it
    const timer = setTimeout(() => destroySocket(client), connectTimeoutMs);
    try {
      await client.connect();
      const why = await whyNotPrimary(client, watch);
      if (why) throw new Error(why);
      primaries.push({ host, timeline: watch.newest });
    } catch (error) {
      refusals.push({ host, error });
      throw error;
    } finally {
      clearTimeout(timer);
      destroySocket(client);
    }
  });
  await Promise.any(attempts).catch(() => {
    throw unavailable(
      refusals.map(({ host, error }) => `${host.host}:${host.port} ${describe(error)}`).join('; '),
      refusals.map(({ error }) => error),
    );
  });
  const moment = new AbortController();
  await Promise.race([
    Promise.allSettled(attempts),
    delay(otherPrimaryWithinMs, undefined, { signal: moment.signal }),
  ]);
  moment.abort();
  const newest = primaries.find(({ timeline }) => timeline === watch.newest);
  if (!newest) throw unavailable(`another primary, on timeline ${watch.newest}, has been seen`, []);
  return newest.host;
}

/** Ends a connection now, whatever it waits for: `end()` would send a message and wait for the server. */
export function destroySocket(client: pg.ClientBase): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** Refusals that waiting does not heal, by SQLSTATE: authentication, authorisation, no such database. */
const refusalStates = new Set(['28000', '28P01', '3D000', '42501']);

const isRefusal = (error: unknown): boolean => refusalStates.has(sqlState(error) ?? '');

export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

export function unavailable(detail: string, causes: readonly unknown[]): HoldfastError {
  const refused = causes.length > 0 && causes.every(isRefusal);
  return refused
    ? new HoldfastError('ARBITER_REFUSED', `The arbiter refused the connection: ${detail}.`, {
        cause: causes[0],
        remedy: 'Check user, password and database name of the database URL, and pg_hba.conf on the server.',
      })
    : new HoldfastError('ARBITER_UNAVAILABLE', `The arbiter cannot be reached: ${detail}.`, {
        cause: causes[0],
        remedy:
          'Check that PostgreSQL runs, that the address is right, and that one host is a writable primary.',
      });
}

export function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describe).join(', ');
  return error instanceof Error ? error.message || String((error as { code?: string }).code) : String(error);
}
