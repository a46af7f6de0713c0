/** An event as an agent works with it: what the configuration says, the calendar opened, the place filled in. */
import { createHash } from 'node:crypto';
import { type Calendar, openCalendar } from '../protocol/calendar/calendar.ts';
import type { CalendarSettings } from '../protocol/calendar/schedule.ts';
import type { EventSettings } from '../settings/index.ts';
import type { EventRow } from './ledger.ts';

export interface EventDefinition {
  readonly name: string;
  /** '' for what runs once in the cluster, else this instance's name. */
  readonly place: string;
  readonly settings: EventSettings;
  /** Undefined: nothing is ever due. */
  readonly calendar: Calendar | undefined;
  /** Equal for calendars that are due at the same moments. */
  readonly digest: string;
}

export function defineEvent(settings: EventSettings, instance: string): EventDefinition {
  return {
    name: settings.name,
    place: settings.on.kind === 'each' ? instance : '',
    settings,
    calendar: settings.calendar && openCalendar(settings.calendar),
    digest: digestOf(settings.calendar),
  };
}

/** What the arbiter keeps of it. */
export function eventRow(definition: EventDefinition, alarm: readonly string[]): EventRow {
  const { name, place, settings, digest } = definition;
  return { name, place, digest, alarm, calendar: settings.calendar ?? null, definition: settings };
}

function digestOf(calendar: CalendarSettings | undefined): string {
  return createHash('sha256').update(canonical(calendar)).digest('base64url').slice(0, 16);
}

/** JSON with its keys in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value ?? null, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1)))
      : inner,
  );
}
