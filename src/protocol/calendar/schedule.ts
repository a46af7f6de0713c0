/**
 * When something is due, as data: what a person wrote, with every default filled in. A moment is a number of
 * milliseconds since 1970 (UTC); what a clock on the wall shows is a local time in the schedule's zone.
 */

export interface TimeOfDay {
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

/** Days of the week count from 1 (Monday) to 7 (Sunday), months from 1 to 12, both as ISO 8601 does. */
export type EventSchedule =
  | { readonly kind: 'cron'; readonly cron: string }
  | { readonly kind: 'every'; readonly everyMs: number }
  | { readonly kind: 'weekly'; readonly weekdays: readonly number[]; readonly at: TimeOfDay }
  | { readonly kind: 'monthly'; readonly day: number | 'last'; readonly at: TimeOfDay }
  | {
      readonly kind: 'monthlyWeekday';
      readonly weekday: number;
      readonly which: 'first' | 'second' | 'third' | 'fourth' | 'last';
      readonly at: TimeOfDay;
    }
  | {
      readonly kind: 'yearly';
      readonly month: number;
      readonly day: number | 'last';
      readonly at: TimeOfDay;
    };

/** What happens when the clocks change. */
export interface DstRule {
  /** A local time that does not exist: `after` runs at the first moment after the gap, `skip` not at all. */
  readonly skipped: 'after' | 'skip';
  /**
   * A local time that occurs twice: `once` runs at the first, `twice` at both. Undefined: once, except that a
   * schedule which is due in every hour of the day goes on by elapsed time, as cron does.
   */
  readonly repeated: 'once' | 'twice' | undefined;
}

/** Everything that decides when an event is due. Two definitions with equal settings are due at the same moments. */
export interface CalendarSettings {
  readonly schedule: EventSchedule;
  /** IANA name, such as Europe/Amsterdam. */
  readonly timezone: string;
  readonly dst: DstRule;
  /** Not due before this moment. */
  readonly fromMs: number | undefined;
  /** Not due at or after this moment. */
  readonly untilMs: number | undefined;
}
