/**
 * The ledger as an agent uses it: one statement for each operation of the protocol. The rules are in SQL (migration
 * 0003), where locks make them atomic; this file gives them types. Nothing here reads a clock or retries.
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import type { CalendarSettings } from '../protocol/calendar/schedule.ts';
import type { MissedRange } from '../protocol/occurrence-plan.ts';

/** A cursor as the arbiter has it. `calendar` is there only if it is another one than the caller's. */
export interface KnownCursor {
  readonly event: string;
  readonly place: string;
  readonly cursorMs: number;
  readonly revision: number;
  readonly digest: string;
  readonly calendar: CalendarSettings | null;
}

export interface EventRow {
  readonly name: string;
  readonly place: string;
  readonly calendar: CalendarSettings | null;
  readonly digest: string;
  readonly definition: unknown;
  readonly alarm: readonly string[];
}

/** Makes the events of a revision known and retires those it no longer has. */
export async function defineEvents(
  query: Query,
  revision: number,
  events: readonly EventRow[],
): Promise<readonly KnownCursor[]> {
  const [row] = await query<{ known: KnownCursor[] }>('select holdfast.event_define($1, $2) as known', [
    revision,
    JSON.stringify(events),
  ]);
  return row?.known ?? [];
}

/** A claim of due moments, which moves the cursor from where the claimant believes it to be. */
export interface DueClaim {
  readonly event: string;
  readonly place: string;
  readonly digest: string;
  readonly cursorMs: number;
  readonly toMs: number;
  readonly missed: MissedRange | null;
  readonly dueMs: readonly number[];
  readonly inLine: boolean;
  readonly overlap: 'skip' | 'delay' | 'allow';
  readonly reruns: number;
  /** The calendar that takes over at `toMs`. */
  readonly become?: {
    readonly calendar: CalendarSettings | null;
    readonly digest: string;
    readonly revision: number;
  };
}

/** A claim of an occurrence that waits. */
interface WaitingClaim {
  readonly event: string;
  readonly place: string;
  readonly occurrence: string;
}

export type Claim = DueClaim | WaitingClaim;

export interface Grant {
  readonly occurrence: string;
  readonly token: string;
  readonly dueMs: number;
  readonly attempt: number;
  readonly cause: 'schedule' | 'manual';
  readonly payload: unknown;
  /** How many attempts before this one failed. Those that were lost or handed over are none of them. */
  readonly failures: number;
}

export type ClaimAnswer =
  | (Grant & { readonly outcome: 'granted'; readonly cursorMs?: number })
  /** In the ledger, and not for the claimant to run now. */
  | { readonly outcome: 'recorded' | 'skipped'; readonly cursorMs: number; readonly reason?: string }
  /** Somebody else was first; the cursor is there now. */
  | { readonly outcome: 'moved'; readonly cursorMs: number }
  | { readonly outcome: 'early'; readonly waitMs: number }
  /** Another revision has another calendar for it, or no longer has it. */
  | { readonly outcome: 'changed' }
  | { readonly outcome: 'taken' };

export type ClaimsAnswer =
  | { readonly outcome: 'answered'; readonly nowMs: number; readonly answers: readonly ClaimAnswer[] }
  /** The claimant's membership has ended or run out. */
  | { readonly outcome: 'fenced' }
  /** After a failover: nothing is granted for so long. */
  | { readonly outcome: 'grace'; readonly waitMs: number };

/** Answers come in the order of the claims; each is granted or refused by itself. */
export async function claim(
  query: Query,
  member: Membership,
  claims: readonly Claim[],
): Promise<ClaimsAnswer> {
  const [row] = await query<{ answer: ClaimsAnswer }>('select holdfast.event_claim($1, $2, $3) as answer', [
    member.instance,
    String(member.token),
    JSON.stringify(claims),
  ]);
  return row?.answer ?? { outcome: 'fenced' };
}

export interface RunResult {
  readonly token: string;
  /** `returned`: it was never begun here. */
  readonly outcome: 'succeeded' | 'failed' | 'lost' | 'handed over' | 'returned';
  readonly reason: string | null;
  readonly result: string | null;
  /** Of a failed one: the pause before the next attempt; null: there is none. */
  readonly retryMs: number | null;
  /** Of one that is handed over: to whom. */
  readonly prefer: string | null;
}

export type FinishAnswer =
  | { readonly outcome: 'done' }
  /** It had ended before, and not like this: the result counts for nothing. */
  | { readonly outcome: 'ended'; readonly was: string; readonly reason: string | null }
  | { readonly outcome: 'unknown' }
  /** It cannot be handed over to that one, and goes on being the caller's. */
  | { readonly outcome: 'nobody' };

export async function finish(query: Query, results: readonly RunResult[]): Promise<readonly FinishAnswer[]> {
  const [row] = await query<{ answers: FinishAnswer[] }>('select holdfast.event_finish($1) as answers', [
    JSON.stringify(results),
  ]);
  return row?.answers ?? [];
}

export interface Waiting {
  readonly occurrence: string;
  readonly event: string;
  readonly place: string;
  readonly dueMs: number;
  readonly attempts: number;
  readonly prefer: string | null;
  /** The instance that lost its last run. */
  readonly lostBy: string | null;
  /** Since when it could have been claimed, in ms before now. */
  readonly sinceMs: number;
}

const waitingAtOnce = 200;

/** What waits and may be claimed by this instance now, the longest waiting first. */
export async function waiting(query: Query, instance: string): Promise<readonly Waiting[]> {
  return query<Waiting>(
    `select occurrence, event, place, due_ms as "dueMs", attempts, prefer, lost_by as "lostBy", since_ms as "sinceMs"
       from holdfast.event_waiting($1, $2)`,
    [instance, waitingAtOnce],
  );
}

/** The instances that can take work now, by name. */
export async function membersUp(query: Query): Promise<readonly string[]> {
  const rows = await query<{ instance: string }>(
    `select instance from holdfast.member where state = 'up' and left_at is null and lease_until >= holdfast.now()
      order by instance`,
  );
  return rows.map(({ instance }) => instance);
}

/** Ends what waits for an instance that has been gone for so long; answers how many. */
export async function abandonPlaces(query: Query, goneMs: number): Promise<number> {
  const [row] = await query<{ abandoned: number }>('select holdfast.event_abandon_places($1) as abandoned', [
    goneMs,
  ]);
  return row?.abandoned ?? 0;
}

/** Forgets occurrences that ended longer ago than that; answers how many. */
export async function pruneLedger(query: Query, keepMs: number, limit: number): Promise<number> {
  const [row] = await query<{ removed: number }>('select holdfast.event_prune($1, $2) as removed', [
    keepMs,
    limit,
  ]);
  return row?.removed ?? 0;
}
