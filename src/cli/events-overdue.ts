/**
 * What should have begun and has not: a moment that is not in the ledger although a place that is served should have
 * put it there, or an occurrence that anybody may claim and nobody does. Either means that no agent does its work.
 */
import { type EventTotals, type EventView, overdueAfterMs } from '../events/administration.ts';
import { gatePatienceMs } from '../events/due-watch.ts';
import { openCalendar } from '../protocol/calendar/calendar.ts';
import type { CalendarSettings } from '../settings/index.ts';

interface Cursor {
  readonly cursorMs: number;
  readonly isGate: boolean;
  readonly calendar: CalendarSettings;
}

/** Since when a due moment waits to be put into the ledger; undefined: none does. */
function unrecordedSinceMs({ cursorMs, isGate, calendar }: Cursor, nowMs: number): number | undefined {
  const dueMs = openCalendar(calendar).next(cursorMs);
  if (dueMs === undefined) return undefined;
  return dueMs + overdueAfterMs + (isGate ? gatePatienceMs : 0) <= nowMs ? dueMs : undefined;
}

export function overdueSinceMs(event: EventView, nowMs: number): number | undefined {
  const { calendar, run } = event.definition;
  const isGate = run?.kind === 'gate';
  const waiting = event.open
    .filter(
      (one) =>
        one.state === 'waiting' &&
        one.held === null &&
        !isGate &&
        (event.paused === null || one.cause === 'manual') &&
        one.notBeforeMs + overdueAfterMs < nowMs,
    )
    .map((one) => one.notBeforeMs);
  const unrecorded = event.places
    .filter(({ isServed }) => isServed && calendar !== undefined)
    .map(({ cursorMs }) => calendar && unrecordedSinceMs({ cursorMs, isGate, calendar }, nowMs));
  return earliest([...waiting, ...unrecorded]);
}

/** By name, each with the moment since when. */
export function overdueEvents({
  nowMs,
  unclaimed,
  cursors,
}: EventTotals): { event: string; sinceMs: number }[] {
  const since = new Map<string, number>();
  const note = (event: string, sinceMs: number | undefined) => {
    const all = earliest([since.get(event), sinceMs]);
    if (all !== undefined) since.set(event, all);
  };
  for (const one of unclaimed) note(one.event, one.sinceMs);
  for (const one of cursors) note(one.event, unrecordedSinceMs(one, nowMs));
  return [...since]
    .map(([event, sinceMs]) => ({ event, sinceMs }))
    .sort((one, other) => one.sinceMs - other.sinceMs || (one.event < other.event ? -1 : 1));
}

function earliest(moments: readonly (number | undefined)[]): number | undefined {
  const known = moments.filter((one) => one !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
