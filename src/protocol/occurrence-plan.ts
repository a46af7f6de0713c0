/**
 * What becomes of the moments that are due: usually there is one, and it is run. After an outage there are many,
 * and the event's definition says whether to catch up with the latest, with all within bounds, or with none; the
 * others are recorded as missed, with the reason. Nothing is passed over in silence.
 */

export type MissedPolicy =
  | { readonly kind: 'latest' }
  /** Only what is late by no more than this is run. */
  | { readonly kind: 'none'; readonly afterMs: number }
  /** In order, the latest `count` of those not older than `ageMs`. */
  | { readonly kind: 'all'; readonly count: number; readonly ageMs: number };

export interface MissedRange {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly count: number;
  readonly reason: string;
}

export interface OccurrencePlan {
  /** The cursor's new place: the last moment that this plan settles. */
  readonly toMs: number;
  readonly missed: MissedRange | null;
  /** To be run, in order. */
  readonly dueMs: readonly number[];
  /** Several moments are caught up with in order: they wait for each other, unless the event allows overlaps. */
  readonly inLine: boolean;
}

/** Further ones are planned when these are in the ledger: one statement must not take long. */
const runAtOnce = 100;

/**
 * `dues` are due moments in rising order, none of them later than `nowMs`, all not yet in the ledger. `complete`
 * says that no further one is due by now; a plan for a part settles what is missed in any case, so for `all` a part
 * must hold more than `count` moments.
 */
export function planOccurrences(
  dues: readonly number[],
  { complete, nowMs, missed }: { complete: boolean; nowMs: number; missed: MissedPolicy },
): OccurrencePlan | undefined {
  if (dues.length === 0) return undefined;
  const first = firstToRun(dues, complete, nowMs, missed);
  const wanted = dues.slice(first);
  // No single one is left over: it would not be in line with the others.
  const atOnce = wanted.length <= runAtOnce + 1 ? wanted.length : runAtOnce;
  const dueMs = complete || first === 0 ? wanted.slice(0, atOnce) : [];
  return {
    toMs: dueMs.at(-1) ?? dues[first - 1] ?? 0,
    missed: first === 0 ? null : missedRange(dues.slice(0, first), missed),
    dueMs,
    inLine: dueMs.length > 1,
  };
}

/** The index of the first moment that is still worth running; everything before it is missed. */
function firstToRun(dues: readonly number[], complete: boolean, nowMs: number, missed: MissedPolicy): number {
  const lastIndex = dues.length - 1;
  const latest = dues[lastIndex] ?? Number.NEGATIVE_INFINITY;
  switch (missed.kind) {
    case 'latest':
      return complete ? lastIndex : dues.length;
    case 'none':
      return complete && nowMs - latest <= missed.afterMs ? lastIndex : dues.length;
    case 'all': {
      // Of a part, the last ones may yet be among the latest of the whole.
      const recent = dues.findIndex((dueMs) => nowMs - dueMs <= missed.ageMs);
      return recent < 0 ? dues.length : Math.max(recent, dues.length - missed.count);
    }
  }
}

function missedRange(dues: readonly number[], missed: MissedPolicy): MissedRange {
  const reasons = {
    latest: 'nothing could run it in time, and a later one was due as well',
    none: 'nothing could run it in time',
    all: 'nothing could run it in time, and it was too long ago or one of too many to catch up with',
  };
  return {
    firstMs: dues[0] ?? 0,
    lastMs: dues.at(-1) ?? 0,
    count: dues.length,
    reason: reasons[missed.kind],
  };
}
