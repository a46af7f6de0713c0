/**
 * A new revision gives an event another schedule. What the old one made due up to now, and nobody ran, is recorded
 * as missed; then the new one takes over, in the same statement.
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import { type Calendar, openCalendar } from '../protocol/calendar/calendar.ts';
import type { MissedRange } from '../protocol/occurrence-plan.ts';
import type { EventDefinition } from './definition.ts';
import { claim, type KnownCursor } from './ledger.ts';

/** Where the cursor is afterwards; undefined: somebody else was first, or it could not be done now. */
export async function settleOldCalendar(
  query: Query,
  member: Membership,
  definition: EventDefinition,
  known: KnownCursor,
  revision: number,
): Promise<number | undefined> {
  const { name: event, place, settings } = definition;
  const [row] = await query<{ now: number }>('select holdfast.ms(holdfast.now()) as now');
  const nowMs = Math.floor(row?.now ?? known.cursorMs);
  const old = known.calendar && openCalendar(known.calendar);
  const answer = await claim(query, member, [
    {
      event,
      place,
      digest: known.digest,
      cursorMs: known.cursorMs,
      toMs: Math.max(nowMs, known.cursorMs),
      missed: old ? dueBetween(old, known.cursorMs, nowMs, revision) : null,
      dueMs: [],
      inLine: false,
      overlap: settings.overlap,
      reruns: 0,
      become: { calendar: settings.calendar ?? null, digest: definition.digest, revision },
    },
  ]);
  const own = answer.outcome === 'answered' ? answer.answers[0] : undefined;
  return own?.outcome === 'recorded' ? own.cursorMs : undefined;
}

/** Counted up to here; a schedule that was due more often while nobody ran it is recorded with this count. */
const countLimit = 100_000;

function dueBetween(
  calendar: Calendar,
  afterMs: number,
  untilMs: number,
  revision: number,
): MissedRange | null {
  let firstMs: number | undefined;
  let lastMs = afterMs;
  let count = 0;
  for (let due = calendar.next(afterMs); due !== undefined && due <= untilMs; due = calendar.next(due)) {
    firstMs ??= due;
    lastMs = due;
    count++;
    if (count === countLimit) break;
  }
  const reason = `not run before revision ${revision} changed the schedule`;
  return firstMs === undefined ? null : { firstMs, lastMs, count, reason };
}
