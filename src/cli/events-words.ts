/**
 * An event's definition in words, as short as a table's column wants them. What cannot be said in a few words
 * without lying (most of cron) is shown as it was written.
 */

import type { CalendarSettings, EventSchedule, EventSettings, TimeOfDay } from '../settings/index.ts';
import { formatDuration } from '../support/duration.ts';

const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `daily at 02:00`, without the time zone. */
function scheduleInWords(schedule: EventSchedule): string {
  switch (schedule.kind) {
    case 'every':
      return `every ${formatDuration(schedule.everyMs)}`;
    case 'cron':
      return cronInWords(schedule.cron) ?? `cron ${schedule.cron.trim().replaceAll(/\s+/g, ' ')}`;
    case 'weekly':
      return `${weekdaysInWords(schedule.weekdays)} at ${timeText(schedule.at)}`;
    case 'monthly':
      return `${dayInWords(schedule.day)} of each month at ${timeText(schedule.at)}`;
    case 'monthlyWeekday':
      return `${schedule.which} ${weekdays[schedule.weekday - 1]} of each month at ${timeText(schedule.at)}`;
    case 'yearly':
      return schedule.day === 'last'
        ? `last day of ${months[schedule.month - 1]} at ${timeText(schedule.at)}`
        : `${schedule.day} ${months[schedule.month - 1]} of each year at ${timeText(schedule.at)}`;
  }
}

const dayInWords = (day: number | 'last'): string => (day === 'last' ? 'last day' : `day ${day}`);

const twoDigits = (value: number): string => String(value).padStart(2, '0');

function timeText({ hour, minute, second }: TimeOfDay): string {
  return [hour, minute, ...(second === 0 ? [] : [second])].map(twoDigits).join(':');
}

function weekdaysInWords(days: readonly number[]): string {
  const sorted = [...new Set(days)].sort((one, other) => one - other);
  const [first = 1] = sorted;
  const last = sorted.at(-1) ?? first;
  if (sorted.length === 7) return 'daily';
  const inARow = sorted.length > 2 && last - first === sorted.length - 1;
  return inARow
    ? `${weekdays[first - 1]}–${weekdays[last - 1]}`
    : sorted.map((day) => weekdays[day - 1]).join(', ');
}

const isNumber = (field: string): boolean => /^\d{1,2}$/.test(field);

/** The handful of forms that most schedules have; undefined for every other. */
function cronInWords(cron: string): string | undefined {
  const fields = cron.trim().split(/\s+/);
  const [second = '0', minute = '', hour = '', day = '', month = '', weekday = ''] =
    fields.length === 6 ? fields : ['0', ...fields];
  if (second !== '0' || month !== '*') return undefined;
  const everyDay = day === '*' && weekday === '*';
  if (everyDay && hour === '*') {
    if (minute === '*') return 'every minute';
    const step = stepOf(minute, 60);
    if (step !== undefined) return `every ${step} minutes`;
    if (isNumber(minute)) return minute === '0' ? 'hourly' : `hourly at minute ${Number(minute)}`;
  }
  if (!isNumber(minute)) return undefined;
  const step = stepOf(hour, 24);
  if (everyDay && step !== undefined)
    return `every ${step} hours${Number(minute) === 0 ? '' : ` at minute ${Number(minute)}`}`;
  if (!isNumber(hour)) return undefined;
  const at = `at ${twoDigits(Number(hour))}:${twoDigits(Number(minute))}`;
  if (everyDay) return `daily ${at}`;
  if (weekday === '*' && isNumber(day)) return `day ${Number(day)} of each month ${at}`;
  const days = day === '*' ? cronWeekdays(weekday) : undefined;
  return days && `${weekdaysInWords(days)} ${at}`;
}

/** `*` with a step is a fixed pace only where the step divides the whole. */
function stepOf(field: string, whole: number): number | undefined {
  const step = Number(/^\*\/(\d{1,2})$/.exec(field)?.[1]);
  return step > 1 && whole % step === 0 ? step : undefined;
}

const cronDayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

function cronDay(text: string): number | undefined {
  const named = cronDayNames.indexOf(text.toLowerCase());
  if (named >= 0) return named || 7;
  return /^[0-7]$/.test(text) ? Number(text) || 7 : undefined;
}

function cronWeekdays(field: string): number[] | undefined {
  const days: number[] = [];
  for (const item of field.split(',')) {
    const [first, last = first, ...more] = item.split('-').map(cronDay);
    if (first === undefined || last === undefined || more.length > 0 || last < first) return undefined;
    for (let day = first; day <= last; day++) days.push(day);
  }
  return days;
}

/** With the time zone, where it matters. */
export function calendarInWords(calendar: CalendarSettings | undefined): string {
  if (!calendar) return 'never due';
  const { schedule, timezone } = calendar;
  return schedule.kind === 'every' ? scheduleInWords(schedule) : `${scheduleInWords(schedule)} ${timezone}`;
}

/** What is done about local times that the clocks leave out or show twice, each a sentence. */
export function dstInWords({ schedule, dst }: CalendarSettings): string[] {
  if (schedule.kind === 'every') return ['Elapsed time: when the clocks change, nothing shifts.'];
  const skipped =
    dst.skipped === 'after'
      ? 'A local time that the clocks leave out is due at the first moment after the gap.'
      : 'A local time that the clocks leave out is not due at all.';
  const repeated = {
    once: 'One that they show twice is due once, at the first pass.',
    twice: 'One that they show twice is due at both passes.',
    usual:
      'One that they show twice is due once, at the first pass; only a schedule that is due in every hour goes on by elapsed time.',
  }[dst.repeated ?? 'usual'];
  return [skipped, repeated];
}

export function runInWords({ run }: EventSettings): string {
  switch (run?.kind) {
    case 'post':
      return `POST ${run.path}`;
    case 'command':
      return run.command;
    case 'gate':
      return 'gate: the application asks';
    default:
      return 'appointment only';
  }
}

export function placeInWords({ on }: EventSettings): string {
  return on.kind === 'prefer' ? `prefers ${on.instance}` : on.kind;
}
