/**
 * When is an event due? A calendar answers for one event: a schedule yields local times (local-sequence.ts), a zone
 * relates them to moments (zone.ts), one rule decides about those that the clocks leave out or repeat (dst-rule.ts),
 * and the event's first and last moment cut off what lies outside.
 *
 * Everything is a function of the settings and of the moment that is asked for: nothing here reads a clock. Two
 * agents agree on every due moment as long as their JavaScript engines carry the same time zone data.
 */
import { dueMoments } from './dst-rule.ts';
import { localSequence } from './local-sequence.ts';
import { type After, remembered } from './remembered.ts';
import type { CalendarSettings } from './schedule.ts';
import { localOf, localText, momentOfLocal, momentsOf, type Zone, zoneOf } from './zone.ts';

export interface Due {
  readonly atMs: number;
  /** ISO local time with offset, `2027-03-28T03:00:00+02:00` */
  readonly local: string;
  /**
   * `moved`: the local time that is meant did not exist, and this is the first moment after the gap. `first` and
   * `second`: the clock shows this local time twice, and this is its first or second pass.
   */
  readonly dst: 'moved' | 'first' | 'second' | undefined;
}

export interface Calendar {
  /** First due moment after `afterMs`; undefined: never again. */
  next(afterMs: number): number | undefined;
  /** For people: what the due moment means in its zone. */
  describe(atMs: number): Due;
}

/** Throws for a time zone or a cron text that does not exist; both are judged before, when settings are read. */
export function openCalendar(settings: CalendarSettings): Calendar {
  const zone = zoneOf(settings.timezone);
  const { after, moved } = unbounded(settings, zone);
  const { fromMs = Number.NEGATIVE_INFINITY, untilMs = Number.POSITIVE_INFINITY } = settings;
  const next = (afterMs: number): number | undefined => {
    const dueMs = after(Math.max(afterMs, fromMs - 1));
    return dueMs !== undefined && dueMs < untilMs ? dueMs : undefined;
  };
  return {
    next: remembered(next),
    describe: (atMs) => ({
      atMs,
      local: localText(zone, atMs),
      dst: moved(atMs) ? 'moved' : passOf(zone, atMs),
    }),
  };
}

function unbounded(settings: CalendarSettings, zone: Zone): { after: After; moved(ms: number): boolean } {
  const { schedule, timezone, dst, fromMs } = settings;
  if (schedule.kind !== 'every') return dueMoments(localSequence(schedule), zone, dst);
  const anchorMs = fromMs ?? momentOfLocal(timezone, '1970-01-01') ?? 0;
  return { after: everyAfter(schedule.everyMs, anchorMs), moved: () => false };
}

/** Elapsed time from one anchor: no drift, and nothing that a change of the clocks could shift. */
function everyAfter(everyMs: number, anchorMs: number): After {
  return (ms) => anchorMs + (Math.floor((ms - anchorMs) / everyMs) + 1) * everyMs;
}

function passOf(zone: Zone, atMs: number): 'first' | 'second' | undefined {
  const passes = momentsOf(zone, localOf(zone, atMs));
  if (passes.length < 2) return undefined;
  return passes[0] === atMs ? 'first' : 'second';
}
