/** The ledger as plain rows, for the checker; and what may not be in it once everything has settled. */
import type { Query } from '../../database/arbiter.ts';
import type { LedgerOccurrence, LedgerRun } from '../ledger-checker.ts';

export async function readLedger(
  query: Query,
): Promise<{ occurrences: readonly LedgerOccurrence[]; runs: readonly LedgerRun[] }> {
  const occurrences = await query<LedgerOccurrence>(
    `select id::text as id, event, place, holdfast.ms(due) as "dueMs", holdfast.ms(last_due) as "lastDueMs", dues,
       cause, state, outcome, reason, attempts, reruns_left as "rerunsLeft" from holdfast.occurrence`,
  );
  const runs = await query<LedgerRun>(
    'select token::text as token, occurrence::text as occurrence, attempt, outcome from holdfast.run',
  );
  return { occurrences, runs };
}
