/** Every statement of the session store: one function, one statement, one round trip. */
import type { Arbiter } from '../database/arbiter.ts';
import type { StoredData } from './session-codec.ts';

/** A healthy arbiter answers in milliseconds; a user waits for this one. Long: an arbiter that is slow is not away (arbiter-watch.ts finds out sooner whether it is). */
export const userDeadlineMs = 5_000;
const adminDeadlineMs = 10_000;

/** Notified with the hex of an id's hash: copies of that session are void. */
export const sessionChannel = 'holdfast_sessions';

export interface LoadedRow {
  readonly version: number;
  readonly data: StoredData;
  readonly idleMs: number;
  readonly idleRemainingMs: number;
  readonly absoluteRemainingMs: number;
}

export async function loadSession(arbiter: Arbiter, idHash: string): Promise<LoadedRow | undefined> {
  const [row] = await arbiter.query<LoadedRow>(
    `select version::float8 as version, data, idle_ms::float8 as "idleMs",
            idle_remaining_ms as "idleRemainingMs", absolute_remaining_ms as "absoluteRemainingMs"
     from holdfast.session_load(decode($1, 'hex'))`,
    [idHash],
    { deadlineMs: userDeadlineMs },
  );
  return row;
}

export interface SaveRequest {
  readonly idHash: string;
  /** Never read before: may be inserted. */
  readonly isNew: boolean;
  /** Encoded delta, see 0002-sessions.sql. */
  readonly delta: string;
  readonly seenVersion: number | undefined;
  /** The same for every repetition of one save. */
  readonly saveId: string;
  readonly user: { readonly id: string | undefined } | undefined;
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly instance: string | undefined;
  readonly notify: boolean;
}

export interface SavedRow {
  readonly outcome: 'saved' | 'conflict' | 'destroyed' | 'expired' | 'gone';
  readonly version: number;
  readonly data: StoredData | null;
  readonly absoluteRemainingMs: number;
}

export async function saveSession(arbiter: Arbiter, save: SaveRequest): Promise<SavedRow> {
  const [row] = await arbiter.query<SavedRow>(
    `select outcome, version::float8 as version, data, absolute_remaining_ms as "absoluteRemainingMs"
     from holdfast.session_save(decode($1, 'hex'), $2, $3::jsonb, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      save.idHash,
      save.isNew,
      save.delta,
      save.seenVersion ?? null,
      save.saveId,
      save.user !== undefined,
      save.user?.id ?? null,
      save.idleMs,
      save.absoluteMs,
      save.instance ?? null,
      save.notify,
    ],
    { deadlineMs: userDeadlineMs },
  );
  if (!row) throw new Error('holdfast.session_save returned no row');
  return row;
}

/** Ends sessions, named by the hashes of their ids, on every instance; how many of them were alive. */
export async function destroySessions(arbiter: Arbiter, idHashes: readonly string[]): Promise<number> {
  const [row] = await arbiter.query<{ destroyed: number }>(
    `select holdfast.session_destroy(array(select decode(h, 'hex') from unnest($1::text[]) h)) as destroyed`,
    [idHashes],
    { deadlineMs: userDeadlineMs },
  );
  return row?.destroyed ?? 0;
}

export interface Touch {
  readonly idHash: string;
  /** Of the first touch that is not written yet. */
  readonly firstAgeMs: number;
  /** Of the last one. */
  readonly ageMs: number;
  readonly idleMs: number;
}

/** The present versions of those that are alive. */
export async function touchSessions(
  arbiter: Arbiter,
  touches: readonly Touch[],
  instance: string | undefined,
): Promise<Map<string, number>> {
  const rows = await arbiter.query<{ idHash: string; version: number }>(
    `select encode(id_hash, 'hex') as "idHash", version::float8 as version
     from holdfast.session_touch(array(select decode(h, 'hex') from unnest($1::text[]) h), $2, $3, $4, $5)`,
    [
      touches.map((touch) => touch.idHash),
      touches.map((touch) => touch.firstAgeMs),
      touches.map((touch) => touch.ageMs),
      touches.map((touch) => touch.idleMs),
      instance ?? null,
    ],
    { deadlineMs: adminDeadlineMs },
  );
  return new Map(rows.map((row) => [row.idHash, row.version]));
}

export interface ListedSession {
  /** The hash of the session's id, in hex: names the session without giving it away. */
  readonly id: string;
  readonly user: string | undefined;
  /** The instance that served it last. */
  readonly instance: string | undefined;
  readonly createdAt: Date;
  readonly seenAt: Date;
  readonly ageMs: number;
  /** Since it was last used, on the arbiter's clock. */
  readonly idleMs: number;
  /** Until it ends, unless it is used. */
  readonly remainingMs: number;
}

/** Live sessions, the most recently seen first. */
export async function listSessions(
  arbiter: Arbiter,
  filter: { readonly user?: string | undefined; readonly limit?: number | undefined } = {},
): Promise<ListedSession[]> {
  const rows = await arbiter.query<{ [K in keyof ListedSession]: ListedSession[K] | null }>(
    `select encode(s.id_hash, 'hex') as id, s.user_id as user, n.instance,
            s.created_at as "createdAt", n.seen_at as "seenAt",
            holdfast.session_ms(holdfast.now() - s.created_at) as "ageMs",
            holdfast.session_ms(holdfast.now() - n.seen_at) as "idleMs",
            least(holdfast.session_ms(n.seen_at - holdfast.now()) + n.idle_ms,
                  holdfast.session_ms(s.absolute_expires_at - holdfast.now())) as "remainingMs"
     from holdfast.session s join holdfast.session_seen n on n.id_hash = s.id_hash
     where s.destroyed_at is null and ($1::text is null or s.user_id = $1)
       and s.absolute_expires_at > holdfast.now()
       and n.seen_at + holdfast.session_interval(n.idle_ms) > holdfast.now()
     order by n.seen_at desc, s.id_hash limit $2`,
    [filter.user ?? null, filter.limit ?? 1_000],
    { deadlineMs: adminDeadlineMs },
  );
  return rows.map((row) => ({
    ...(row as ListedSession),
    user: row.user ?? undefined,
    instance: row.instance ?? undefined,
  }));
}

/** Ends every session of a user, everywhere; how many there were. */
export async function revokeUserSessions(arbiter: Arbiter, user: string): Promise<number> {
  const [row] = await arbiter.query<{ revoked: number }>(
    'select holdfast.session_revoke_user($1) as revoked',
    [user],
    { deadlineMs: adminDeadlineMs },
  );
  return row?.revoked ?? 0;
}

/** The hashes that begin so; two at most, which is enough to tell unique from ambiguous. */
export async function findSessions(arbiter: Arbiter, hashPrefix: string): Promise<string[]> {
  if (!/^[0-9a-f]{1,64}$/i.test(hashPrefix)) return [];
  const rows = await arbiter.query<{ idHash: string }>(
    `select encode(id_hash, 'hex') as "idHash" from holdfast.session
     where destroyed_at is null
       and id_hash between decode(rpad($1, 64, '0'), 'hex') and decode(rpad($1, 64, 'f'), 'hex')
     order by id_hash limit 2`,
    [hashPrefix],
    { deadlineMs: adminDeadlineMs },
  );
  return rows.map((row) => row.idHash);
}

/** Live sessions by the instance that served them last; sessions no instance is known for are left out. */
export async function sessionsPerInstance(arbiter: Arbiter): Promise<Map<string, number>> {
  const rows = await arbiter.query<{ instance: string; sessions: number }>(
    `select instance, count(*)::int as sessions from holdfast.session_seen
     where instance is not null and seen_at + holdfast.session_interval(idle_ms) > holdfast.now()
     group by instance`,
    [],
    { deadlineMs: adminDeadlineMs },
  );
  return new Map(rows.map((row) => [row.instance, row.sessions]));
}

/** Removes at most `limit` sessions that ran out, and tombstones past their time; how many. */
export async function pruneSessions(arbiter: Arbiter, limit: number): Promise<number> {
  const [row] = await arbiter.query<{ pruned: number }>(
    'select holdfast.session_prune($1) as pruned',
    [limit],
    {
      deadlineMs: adminDeadlineMs,
    },
  );
  return row?.pruned ?? 0;
}
