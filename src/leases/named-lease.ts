/**
 * Named leases: restart slots, appointments, housekeeping. One is held for as long as its holder's membership is,
 * so the member's heartbeat renews it, the member's deadline is its deadline, and whoever fences the member frees it.
 * After a failover (the heartbeat's timeline changed) a holder stops acting on it and asks again: it holds it still
 * if the answer is a grant or names itself; the grant may have been in the tail that the failover lost.
 */
import type { Query } from '../database/arbiter.ts';

export type AcquireResult =
  | { readonly outcome: 'granted'; readonly token: bigint }
  | { readonly outcome: 'held'; readonly holder: string }
  /** The caller's own membership has ended or run out. */
  | { readonly outcome: 'fenced' };

/** Asking again for a lease that one holds grants it anew, with a higher token; the older one releases nothing. */
export async function acquireLease(
  query: Query,
  name: string,
  member: { readonly instance: string; readonly token: bigint },
): Promise<AcquireResult> {
  const [row] = await query<{ outcome: AcquireResult['outcome']; holder: string; token: string | null }>(
    'select outcome, holder, token from holdfast.lease_acquire($1, $2, $3)',
    [name, member.instance, String(member.token)],
  );
  if (row?.outcome === 'granted') return { outcome: 'granted', token: BigInt(row.token ?? 0) };
  if (row?.outcome === 'held') return { outcome: 'held', holder: row.holder };
  return { outcome: 'fenced' };
}

/** False when it was no longer held under this token. */
export async function releaseLease(query: Query, name: string, token: bigint): Promise<boolean> {
  const [row] = await query<{ done: boolean }>('select holdfast.lease_release($1, $2) as done', [
    name,
    String(token),
  ]);
  return row?.done ?? false;
}
