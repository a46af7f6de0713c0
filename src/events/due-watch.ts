/**
 * Watches the calendars of all definitions: which moments are due, whose turn it is to claim them, and what is to be
 * said about those that were missed. Knows no clock and asks nobody; ten thousand definitions at rest cost nothing.
 *
 * So that n agents do not race for every occurrence, all of them prefer the same one (rendezvous hash of the
 * occurrence over the members that are up). It claims at once; the others look a little later, each after the one
 * before it in that order, and find either the cursor moved or work to take over.
 */
import { rendezvousOrder } from '../protocol/affinity.ts';
import { type OccurrencePlan, planOccurrences } from '../protocol/occurrence-plan.ts';
import { DueQueue } from '../support/due-queue.ts';
import type { EventDefinition } from './definition.ts';
import type { DueClaim } from './ledger.ts';

/** How much later the next in the order looks. */
const turnMs = 300;
/** From this place in the order on all look at the same time: they are the last resort. */
const lastTurn = 4;

/** How long the one at this place in the order waits before it looks. */
export const turnDelayMs = (rank: number): number => turnMs * Math.min(rank, lastTurn);

/** An instance's place in the order in which the members look at something; `first`, if it is there, comes first. */
export function rankAmong(
  members: readonly string[],
  instance: string,
  key: string,
  first: string | undefined,
): number {
  const order = rendezvousOrder(key, members);
  const isFirstThere = first !== undefined && order.includes(first);
  const all = isFirstThere ? [first, ...order.filter((one) => one !== first)] : order;
  const index = all.indexOf(instance);
  return index < 0 ? all.length : index;
}

/** How many missed moments one claim settles at most; further ones take further claims. */
const duesAtOnce = 1_000;
/** After so many moments a look is over, and the next one follows: nothing else happens while it lasts. */
const duesPerLook = 5_000;
const claimsPerLook = 500;

export interface Watched {
  readonly definition: EventDefinition;
  /** Every moment up to here is in the ledger, as far as is known here. */
  cursorMs: number;
  /** The first due moment after the cursor. */
  dueMs: number;
}

export interface Turn {
  /** 0: at once; n: the n-th to look; undefined: not ours to claim at all, until `released`. */
  rank(definition: EventDefinition, key: string): number | undefined;
  /** Whether this instance may work on one more run of it. Asked where runs may overlap; elsewhere there is one. */
  hasRoom(definition: EventDefinition): boolean;
}

export class DueWatch {
  readonly #queue = new DueQueue<Watched>();
  readonly #parked = new Set<Watched>();

  watch(definition: EventDefinition, cursorMs: number): void {
    this.settled({ definition, cursorMs, dueMs: cursorMs }, cursorMs);
  }

  /** When to look again, on the arbiter's clock; undefined: nothing will be due. */
  nextAtMs(): number | undefined {
    return this.#queue.nextAtMs();
  }

  /** The claims that are ours to make now. Each watched one is out of sight until `settled` or `again`. */
  collect(nowMs: number, turn: Turn): { readonly watched: Watched; readonly claim: DueClaim }[] {
    const claims: { watched: Watched; claim: DueClaim }[] = [];
    let dues = 0;
    while (dues < duesPerLook && claims.length < claimsPerLook) {
      const next = this.#queue.pop(nowMs);
      if (!next) break;
      const watched = next.item;
      const { definition, dueMs } = watched;
      const rank = turn.rank(definition, `${definition.name}/${definition.place}/${dueMs}`);
      if (rank === undefined || (definition.settings.overlap === 'allow' && !turn.hasRoom(definition))) {
        this.#parked.add(watched);
        continue;
      }
      const lookAtMs = dueMs + lookDelayMs(definition) + turnDelayMs(rank);
      if (lookAtMs > nowMs) {
        this.#queue.push(lookAtMs, watched);
        continue;
      }
      const plan = planWatched(watched, nowMs);
      dues += (plan?.dueMs.length ?? 0) + (plan?.missed?.count ?? 0);
      if (plan) claims.push({ watched, claim: claimOf(watched, plan) });
      else this.settled(watched, watched.cursorMs);
    }
    return claims;
  }

  /** The cursor is known to be there. */
  settled(watched: Watched, cursorMs: number): void {
    watched.cursorMs = cursorMs;
    const dueMs = watched.definition.calendar?.next(cursorMs);
    if (dueMs === undefined) return;
    watched.dueMs = dueMs;
    this.#queue.push(dueMs + lookDelayMs(watched.definition), watched);
  }

  /** Nothing is known about what became of the claim: look again then. */
  again(watched: Watched, atMs: number): void {
    this.#queue.push(atMs, watched);
  }

  /** Something may be ours now that was not: a run ended, an appointment came. */
  released(isConcerned: (definition: EventDefinition) => boolean): void {
    for (const watched of this.#parked) {
      if (!isConcerned(watched.definition)) continue;
      this.#parked.delete(watched);
      this.#queue.push(watched.dueMs, watched);
    }
  }
}

/** The moments that are due by now and not in the ledger, as the definition says to treat them. */
function planWatched({ definition, cursorMs }: Watched, nowMs: number): OccurrencePlan | undefined {
  const { missed, run } = definition.settings;
  const limit = missed.kind === 'all' ? missed.count + duesAtOnce : duesAtOnce;
  const { dues, complete } = duesBetween(definition, cursorMs, nowMs, limit);
  if (run?.kind !== 'gate') return planOccurrences(dues, { complete, nowMs, missed });
  // The application asks for each of these itself; those that nobody asked for in time are over.
  const over = dues.filter((dueMs) => nowMs - dueMs >= lookDelayMs(definition));
  const plan = planOccurrences(over, { complete: false, nowMs, missed: { kind: 'latest' } });
  return plan?.missed
    ? { ...plan, missed: { ...plan.missed, reason: 'no instance asked for it' } }
    : undefined;
}

/** The moments after the first and up to the second, as many as the limit allows; complete if those are all. */
export function duesBetween(
  { calendar }: EventDefinition,
  afterMs: number,
  untilMs: number,
  limit: number,
): { readonly dues: readonly number[]; readonly complete: boolean } {
  const dues: number[] = [];
  let due = calendar?.next(afterMs);
  while (due !== undefined && due <= untilMs && dues.length < limit) {
    dues.push(due);
    due = calendar?.next(due);
  }
  return { dues, complete: due === undefined || due > untilMs };
}

export function claimOf({ definition, cursorMs }: Watched, plan: OccurrencePlan): DueClaim {
  const { name, place, digest, settings } = definition;
  const { overlap, lost } = settings;
  return { event: name, place, digest, cursorMs, ...plan, overlap, reruns: lost.reruns };
}

/** How long an application that asks by itself may take to do so. */
export const gatePatienceMs = 60_000;

const lookDelayMs = ({ settings }: EventDefinition): number =>
  settings.run?.kind === 'gate' ? gatePatienceMs : 0;
