/**
 * Housekeeping is made of scheduled events like any other: claimed by one agent, taken over when that one dies, in
 * the ledger with its outcome. Their names begin with `holdfast-`, which the configuration keeps for them.
 */
import type { Arbiter } from '../database/arbiter.ts';
import { abandonPlaces, pruneLedger } from '../events/ledger.ts';
import { pruneIdempotency } from '../idempotency/idempotency-ledger.ts';
import { pruneSessions } from '../sessions/index.ts';
import type { EventSettings } from '../settings/index.ts';

export interface BuiltinEvent {
  readonly settings: EventSettings;
  /** Says in words what was done; null when there was nothing to do. */
  task(signal: AbortSignal): Promise<string | null>;
}

const minute = 60_000;
const rowsAtOnce = 1_000;
/** After a day without its instance, what waits for it is not run there any more. */
const goneForGoodMs = 24 * 60 * minute;

export function builtinEvents(
  arbiter: Arbiter,
  { ledgerKeepMs }: { ledgerKeepMs: number },
): readonly BuiltinEvent[] {
  return [
    {
      settings: settingsOf('holdfast-prune-sessions', 5 * minute),
      task: (signal) => inBatches(signal, 'sessions', () => pruneSessions(arbiter, rowsAtOnce)),
    },
    {
      settings: settingsOf('holdfast-prune-idempotency', 15 * minute),
      task: (signal) =>
        inBatches(signal, 'idempotency keys', () => pruneIdempotency(arbiter.query, rowsAtOnce)),
    },
    {
      settings: settingsOf('holdfast-prune-ledger', 60 * minute),
      task: async (signal) => {
        const abandoned = await abandonPlaces(arbiter.query, goneForGoodMs);
        const pruned = await inBatches(signal, 'occurrences', () =>
          pruneLedger(arbiter.query, ledgerKeepMs, rowsAtOnce),
        );
        return abandoned === 0
          ? pruned
          : [`abandoned ${abandoned} at instances that are gone`, pruned].join('; ');
      },
    },
  ];
}

function settingsOf(name: string, everyMs: number): EventSettings {
  return {
    name,
    calendar: {
      schedule: { kind: 'every', everyMs },
      timezone: 'UTC',
      dst: { skipped: 'after', repeated: undefined },
      fromMs: undefined,
      untilMs: undefined,
    },
    run: undefined,
    on: { kind: 'one' },
    overlap: 'skip',
    missed: { kind: 'latest' },
    lost: { reruns: 3 },
    timeoutMs: 4 * minute,
    retry: { times: 0, backoffMs: 0, maxBackoffMs: 0 },
    payload: undefined,
    limit: 1,
    appointed: undefined,
    dismissed: undefined,
  };
}

async function inBatches(
  signal: AbortSignal,
  what: string,
  prune: () => Promise<number>,
): Promise<string | null> {
  let total = 0;
  for (let removed = rowsAtOnce; removed === rowsAtOnce && !signal.aborted; ) {
    removed = await prune();
    total += removed;
  }
  return total === 0 ? null : `removed ${total} ${what}`;
}
