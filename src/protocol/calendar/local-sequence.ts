/**
 * The local times at which a schedule is due, in their own order and without any zone: what a calendar on paper
 * says, on which every day has 24 hours. What becomes of a local time that a zone leaves out or repeats is decided
 * elsewhere, by one rule for all kinds of schedule.
 *
 * Cron is read and walked by croner on such times, as if they were UTC: it never sees a zone, a clock or a timer.
 * Its meaning: 5 fields, or 6 with seconds in front; `*` and `?` any; lists, ranges and steps (`5/15` is from 5 on);
 * names in any case; Sunday is 0 and 7; `L` the last day of the month, `5L` its last Friday, `1#2` its second Monday.
 * Where both the day of month and the day of week are restricted, that is, written as anything but a lone `*` or
 * `?`, a day that meets either of them is due, as in classic cron; `0 0 13 * 5` is every 13th and every Friday.
 */
import { CronDate, CronPattern } from 'croner';
import { type After, remembered } from './remembered.ts';
import type { EventSchedule, TimeOfDay } from './schedule.ts';

export interface LocalSequence {
  /** The first local time after `local`; undefined: none any more. */
  readonly after: After;
  /** Due in each of the 24 hours of a day on which it is due at all. */
  readonly everyHour: boolean;
}

const dayMs = 86_400_000;
/** 29 February is away for eight years at most, around a century year that is not a leap year. */
const monthsToLeapDay = 8 * 12 + 1;
const ordinals = ['first', 'second', 'third', 'fourth'];

/**
 * A month that does not have its day is left out: day 31 is due in seven months of the year, and 29 February in leap
 * years only. `last` is the last day, whichever that is.
 */
export function localSequence(schedule: Exclude<EventSchedule, { kind: 'every' }>): LocalSequence {
  if (schedule.kind === 'cron') return cronSequence(schedule.cron);
  return { after: remembered(dayAfterDay(schedule)), everyHour: false };
}

function dayAfterDay(schedule: Exclude<EventSchedule, { kind: 'every' | 'cron' }>): After {
  switch (schedule.kind) {
    case 'weekly':
      return weekly(schedule.weekdays, schedule.at);
    case 'monthly':
      return monthly((year, month) => dayOfMonth(year, month, schedule.day), schedule.at);
    case 'monthlyWeekday':
      return monthly(
        (year, month) => weekdayOfMonth(year, month, schedule.weekday, schedule.which),
        schedule.at,
      );
    case 'yearly':
      return monthly(
        (year, month) => (month === schedule.month ? dayOfMonth(year, month, schedule.day) : undefined),
        schedule.at,
      );
  }
}

function cronSequence(text: string): LocalSequence {
  const pattern = new CronPattern(plainSundays(text), undefined, {
    mode: '5-or-6-parts',
    sloppyRanges: true,
  });
  // Ten thousand entries that say "any year"; croner does not read them, and they would be 80 kB for every event.
  pattern.year = [];
  const options = { domAndDow: false };
  const after = (local: number) =>
    new CronDate(new Date(local), 0).increment(pattern, options, false)?.getTime();
  return { after: remembered(after), everyHour: pattern.hour.every((due) => due !== 0) };
}

/** From Sunday as 7 on there is Sunday alone, which croner would take for no day at all. */
function plainSundays(text: string): string {
  return text.trim().replace(/\S+$/, (weekdays) => weekdays.replace(/(?<=^|,)7\/\d+(?=,|$)/g, '7'));
}

function weekly(weekdays: readonly number[], at: TimeOfDay): After {
  const due = new Set(weekdays);
  return (local) => {
    const today = Math.floor(local / dayMs) * dayMs;
    for (let days = 0; days <= 7; days += 1) {
      const time = today + days * dayMs + timeOfDayMs(at);
      if (time > local && due.has(weekdayOf(time))) return time;
    }
    return undefined;
  };
}

function monthly(dayOf: (year: number, month: number) => number | undefined, at: TimeOfDay): After {
  return (local) => {
    const start = new Date(local);
    for (let months = 0; months <= monthsToLeapDay; months += 1) {
      const first = new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + months, 1));
      const day = dayOf(first.getUTCFullYear(), first.getUTCMonth() + 1);
      if (day === undefined) continue;
      const time = first.getTime() + (day - 1) * dayMs + timeOfDayMs(at);
      if (time > local) return time;
    }
    return undefined;
  };
}

function dayOfMonth(year: number, month: number, day: number | 'last'): number | undefined {
  const length = lengthOfMonth(year, month);
  if (day === 'last') return length;
  return day <= length ? day : undefined;
}

function weekdayOfMonth(year: number, month: number, weekday: number, which: string): number {
  const weeks = ordinals.indexOf(which);
  if (weeks >= 0) return 1 + ((weekday - weekdayOf(Date.UTC(year, month - 1, 1)) + 7) % 7) + weeks * 7;
  const length = lengthOfMonth(year, month);
  return length - ((weekdayOf(Date.UTC(year, month - 1, length)) - weekday + 7) % 7);
}

function lengthOfMonth(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

function weekdayOf(local: number): number {
  return new Date(local).getUTCDay() || 7;
}

function timeOfDayMs({ hour, minute, second }: TimeOfDay): number {
  return ((hour * 60 + minute) * 60 + second) * 1000;
}
