/** What the tests of this folder share: a calendar from few words, and its due moments as lines to read. */
import { type Calendar, openCalendar } from './calendar.ts';
import type { DstRule, EventSchedule, TimeOfDay } from './schedule.ts';

export const usual: DstRule = { skipped: 'after', repeated: undefined };
export const skip: DstRule = { skipped: 'skip', repeated: 'once' };
export const twice: DstRule = { skipped: 'after', repeated: 'twice' };
export const once: DstRule = { skipped: 'after', repeated: 'once' };

export function calendarOf(
  schedule: EventSchedule | string,
  timezone: string,
  dst: DstRule = usual,
  span: { from?: string; until?: string } = {},
): Calendar {
  return openCalendar({
    schedule: typeof schedule === 'string' ? { kind: 'cron', cron: schedule } : schedule,
    timezone,
    dst,
    fromMs: span.from === undefined ? undefined : Date.parse(span.from),
    untilMs: span.until === undefined ? undefined : Date.parse(span.until),
  });
}

/** `02:30` or `02:30:15` */
export function at(text: string): TimeOfDay {
  const [hour = 0, minute = 0, second = 0] = text.split(':').map(Number);
  return { hour, minute, second };
}

/** The due moments at or after `from`, one a line, with the mark after a space; `never` where there is none any more. */
export function dueTexts(calendar: Calendar, from: string, count: number): string[] {
  const texts = [];
  let afterMs = Date.parse(from) - 1;
  for (let index = 0; index < count; index += 1) {
    const dueMs = calendar.next(afterMs);
    if (dueMs === undefined) return [...texts, 'never'];
    const { local, dst } = calendar.describe(dueMs);
    texts.push(dst ? `${local} ${dst}` : local);
    afterMs = dueMs;
  }
  return texts;
}
