/**
 * Two oracles. One walks every minute around a change of the clock, reads the local time from Intl and applies the
 * stated rule word by word; it shares nothing with the calendar and knows what is due, completely. The other is
 * cron-parser, a second library. Away from changes of the clock both libraries must agree on everything. Through
 * them they agree, where the clock moves by an hour, on schedules that are due in every hour, and on a time at the
 * full hour: after the gap, at the first pass of the fold. Elsewhere the calendar differs on purpose: cron-parser
 * keeps the minute of a time in the gap (02:30 becomes 03:30) and runs each of several in the gap, where the calendar
 * runs once at the gap's end; and it passes over a gap of half an hour or a day. Two more differences lie in the
 * text: a day field such as `1-31`, which holds everything without being `*`, is a restriction here and none there,
 * and from a weekday on (`1/2`) the week ends with Saturday here and with Sunday there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CronExpressionParser } from 'cron-parser';
import fc from 'fast-check';
import { calendarOf } from './due-texts.fixture.ts';
import type { DstRule, EventSchedule, TimeOfDay } from './schedule.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

function localReader(timeZone: string): (ms: number) => number {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'medium' });
  return (ms) => Date.parse(`${format.format(ms).replace(' ', 'T')}Z`);
}

/** Windows of four days with a change of the clock in the third. */
const windows: readonly (readonly [zone: string, from: string])[] = [
  ['Europe/Amsterdam', '2027-03-26T00:00Z'],
  ['Europe/Amsterdam', '2027-10-29T00:00Z'],
  ['America/New_York', '2026-03-06T00:00Z'],
  ['America/New_York', '2026-10-30T00:00Z'],
  ['America/Sao_Paulo', '2018-11-02T00:00Z'],
  ['America/Sao_Paulo', '2019-02-15T00:00Z'],
  ['Australia/Lord_Howe', '2026-10-01T12:00Z'],
  ['Australia/Lord_Howe', '2026-04-02T12:00Z'],
  ['Pacific/Apia', '2011-12-28T00:00Z'],
  ['Pacific/Apia', '2012-03-30T00:00Z'],
  ['Africa/Casablanca', '2025-02-21T00:00Z'],
  ['Africa/Casablanca', '2025-04-04T00:00Z'],
  ['Europe/Dublin', '2027-03-26T00:00Z'],
  ['Europe/Dublin', '2027-10-29T00:00Z'],
  ['Pacific/Chatham', '2026-09-24T12:00Z'],
  ['Pacific/Chatham', '2026-04-02T12:00Z'],
  ['Asia/Beirut', '2022-03-24T22:00Z'],
  ['Africa/Cairo', '2024-04-23T22:00Z'],
  ['America/Havana', '2026-10-30T00:00Z'],
  ['Asia/Kathmandu', '1985-12-29T18:00Z'],
  ['Asia/Pyongyang', '2018-05-02T15:00Z'],
  ['America/Caracas', '2007-12-07T00:00Z'],
  ['Pacific/Kwajalein', '1993-08-19T12:00Z'],
  ['Asia/Kolkata', '2027-03-26T00:00Z'],
];

interface PlainCron {
  readonly text: string;
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly weekdays: ReadonlySet<number>;
}

const all = (count: number) => Array.from({ length: count }, (_, index) => index);
const listed = (max: number) =>
  fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 4 }).map((numbers) => ({
    text: numbers.join(','),
    numbers,
  }));
const stepped = (count: number, steps: number[]) =>
  fc
    .constantFrom(...steps)
    .map((step) => ({ text: `*/${step}`, numbers: all(count).filter((n) => n % step === 0) }));
const ranged = (max: number) =>
  fc.tuple(fc.integer({ min: 0, max }), fc.integer({ min: 0, max })).map(([one, other]) => {
    const [low, high] = [Math.min(one, other), Math.max(one, other)];
    return { text: `${low}-${high}`, numbers: all(high + 1).slice(low) };
  });
const any = (count: number) => fc.constant({ text: '*', numbers: all(count) });

const plainCron: fc.Arbitrary<PlainCron> = fc
  .record({
    minute: fc.oneof(listed(59), stepped(60, [7, 10, 15, 20, 30])),
    hour: fc.oneof(any(24), listed(23), ranged(5), listed(3), stepped(24, [2, 3, 6])),
    weekday: fc.oneof({ weight: 3, arbitrary: any(7) }, { weight: 1, arbitrary: listed(6) }),
  })
  .map(({ minute, hour, weekday }) => ({
    text: `${minute.text} ${hour.text} * * ${weekday.text}`,
    minutes: new Set(minute.numbers),
    hours: new Set(hour.numbers),
    weekdays: new Set(weekday.numbers),
  }));

const rules: fc.Arbitrary<DstRule> = fc.record({
  skipped: fc.constantFrom('after', 'skip'),
  repeated: fc.constantFrom('once', 'twice', undefined),
});

const localMinutes = windows.map(([zone, from]) => {
  const localOf = localReader(zone);
  const fromMs = Date.parse(from);
  return all(4 * 1440).map((minute) => ({
    ms: fromMs + minute * minuteMs,
    local: localOf(fromMs + minute * minuteMs),
  }));
});

function matches(cron: PlainCron, local: number): boolean {
  const date = new Date(local);
  return (
    cron.minutes.has(date.getUTCMinutes()) &&
    cron.hours.has(date.getUTCHours()) &&
    cron.weekdays.has(date.getUTCDay())
  );
}

/** What is due in the window but for its first minute, by the words of the rule. */
function byEveryMinute(
  cron: PlainCron,
  rule: DstRule,
  minutes: readonly { ms: number; local: number }[],
): number[] {
  const elapsed = cron.hours.size === 24 && rule.repeated === undefined;
  const shown = new Set<number>();
  const due = [];
  let before: number | undefined;
  for (const { ms, local } of minutes) {
    let isDue = matches(cron, local) && (!shown.has(local) || elapsed || rule.repeated === 'twice');
    if (before !== undefined && rule.skipped === 'after') {
      const gapMs = local - before - minuteMs;
      const movesNothing = elapsed && gapMs % hourMs === 0 && gapMs < dayMs;
      for (let left = before + minuteMs; left < local && !movesNothing; left += minuteMs) {
        isDue ||= matches(cron, left);
      }
    }
    if (isDue && before !== undefined) due.push(ms);
    shown.add(local);
    before = local;
  }
  return due;
}

test('around every change of the clock exactly that is due which the rule says, minute by minute', () => {
  fc.assert(
    fc.property(plainCron, rules, fc.nat(windows.length - 1), (cron, rule, index) => {
      const [zone = ''] = windows[index] ?? [];
      const minutes = localMinutes[index] ?? [];
      const [startMs = 0, endMs = 0] = [minutes[0]?.ms, minutes.at(-1)?.ms];
      const calendar = calendarOf(cron.text, zone, rule);
      const due = [];
      for (let ms = calendar.next(startMs); ms !== undefined && ms <= endMs; ms = calendar.next(ms))
        due.push(ms);
      assert.deepEqual(due, byEveryMinute(cron, rule, minutes), `${cron.text} in ${zone}`);
    }),
    { seed: 7, numRuns: 300 },
  );
});

const zoneNames = [...new Set(windows.map(([zone]) => zone))];
const momentMs = fc.integer({ min: Date.UTC(2005, 0), max: Date.UTC(2035, 0) });

function hasChange(zone: string, fromMs: number, untilMs: number): boolean {
  const localOf = localReader(zone);
  return localOf(fromMs) - fromMs !== localOf(untilMs) - untilMs;
}

const number = (min: number, max: number) => fc.integer({ min, max }).map(String);
const shortList = (one: fc.Arbitrary<string>) =>
  fc.uniqueArray(one, { minLength: 1, maxLength: 3 }).map((items) => items.join(','));
const range = (min: number, max: number) =>
  fc
    .tuple(fc.integer({ min, max: max - 3 }), fc.integer({ min: 1, max: 3 }))
    .map(([low, more]) => `${low}-${low + more}`);
const richCron = fc
  .tuple(
    fc.option(fc.oneof(number(0, 59), fc.constant('*/20')), { nil: undefined }),
    fc.oneof(shortList(number(0, 59)), fc.constantFrom('*/15', '5-59/10', '7/20'), range(0, 59)),
    fc.oneof(shortList(number(0, 23)), fc.constantFrom('*', '*/6', '8-18/2'), range(0, 23)),
    fc.oneof(fc.constantFrom('*', '*', '?', 'L', '*/5'), shortList(number(1, 31)), range(1, 31)),
    fc.oneof(fc.constantFrom('*', '*', 'jan,JUL', '*/3', 'mar-may'), shortList(number(1, 12))),
    fc.oneof(
      fc.constantFrom('*', '*', '?', '7', 'SUN', 'mon-fri', '1#2', '5L', '*/2'),
      shortList(number(0, 6)),
    ),
  )
  .map(([second, ...rest]) => [...(second === undefined ? [] : [second]), ...rest].join(' '));

test('away from changes of the clock, cron-parser says the same of any cron schedule in any zone', () => {
  let compared = 0;
  fc.assert(
    fc.property(richCron, fc.constantFrom(...zoneNames), momentMs, (text, tz, startMs) => {
      const other = CronExpressionParser.parse(text, { tz, currentDate: new Date(startMs) });
      const calendar = calendarOf(text, tz);
      let ms: number | undefined = startMs;
      for (const due of other.take(4)) {
        const before: number = ms;
        ms = calendar.next(before);
        if (ms !== undefined && calendar.describe(ms).dst === 'moved') break;
        if (hasChange(tz, due.getTime() - dayMs, due.getTime() + dayMs)) break;
        compared += 1;
        assert.equal(ms, due.getTime(), `${text} in ${tz} after ${before}`);
        if (ms === undefined) break;
      }
    }),
    { seed: 11, numRuns: 300 },
  );
  assert.equal(compared > 600, true, String(compared));
});

const byTheHour = windows.filter(([zone]) => /Amsterdam|New_York|Dublin|Casablanca/.test(zone));

test('through changes by an hour, cron-parser agrees on schedules of every hour and on full hours', () => {
  const everyHour = fc.oneof(listed(59), stepped(60, [5, 15, 30])).map(({ text }) => `${text} * * * *`);
  const fullHour = fc.integer({ min: 0, max: 23 }).map((hour) => `0 ${hour} * * *`);
  fc.assert(
    fc.property(fc.oneof(everyHour, fullHour), fc.constantFrom(...byTheHour), (text, [tz, from]) => {
      const startMs = Date.parse(from);
      const other = CronExpressionParser.parse(text, { tz, currentDate: new Date(startMs) });
      const calendar = calendarOf(text, tz);
      for (
        let ms = calendar.next(startMs);
        ms !== undefined && ms < startMs + 4 * dayMs;
        ms = calendar.next(ms)
      ) {
        assert.equal(new Date(ms).toISOString(), other.next().toDate().toISOString(), `${text} in ${tz}`);
      }
    }),
    { seed: 13, numRuns: 60 },
  );
});

test('where cron-parser differs on purpose: it keeps the minute of each time in a gap, the calendar runs once', () => {
  const startMs = Date.parse('2027-03-28T00:00Z');
  const other = CronExpressionParser.parse('30 2 * * *', {
    tz: 'Europe/Amsterdam',
    currentDate: new Date(startMs),
  });
  assert.equal(other.next().toDate().toISOString(), '2027-03-28T01:30:00.000Z');
  assert.equal(calendarOf('30 2 * * *', 'Europe/Amsterdam').next(startMs), Date.parse('2027-03-28T01:00Z'));
});

const timeOfDay: fc.Arbitrary<TimeOfDay> = fc.record({
  hour: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 23 })),
  minute: fc.integer({ min: 0, max: 59 }),
  second: fc.constantFrom(0, 0, 1, 59),
});
const dayOfMonth = fc.oneof(fc.integer({ min: 1, max: 31 }), fc.constant('last' as const));
const schedules: fc.Arbitrary<EventSchedule> = fc.oneof(
  plainCron.map(({ text }) => ({ kind: 'cron' as const, cron: text })),
  fc.record({ kind: fc.constant('every' as const), everyMs: fc.integer({ min: 1000, max: 90 * minuteMs }) }),
  fc.record({
    kind: fc.constant('weekly' as const),
    weekdays: fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
    at: timeOfDay,
  }),
  fc.record({ kind: fc.constant('monthly' as const), day: dayOfMonth, at: timeOfDay }),
  fc.record({
    kind: fc.constant('monthlyWeekday' as const),
    weekday: fc.integer({ min: 1, max: 7 }),
    which: fc.constantFrom(
      'first' as const,
      'second' as const,
      'third' as const,
      'fourth' as const,
      'last' as const,
    ),
    at: timeOfDay,
  }),
  fc.record({
    kind: fc.constant('yearly' as const),
    month: fc.constantFrom(1, 3, 5, 7, 8, 10, 12),
    day: dayOfMonth,
    at: timeOfDay,
  }),
);

/** Does the local time, as written, meet the schedule? */
function meets(schedule: EventSchedule, local: string): boolean {
  if (schedule.kind === 'every' || schedule.kind === 'cron') return true;
  const date = new Date(`${local.slice(0, 19)}Z`);
  const { hour, minute, second } = schedule.at;
  const time = [hour, minute, second].map((part) => String(part).padStart(2, '0')).join(':');
  if (local.slice(11, 19) !== time) return false;
  const [day, month, weekday] = [date.getUTCDate(), date.getUTCMonth() + 1, date.getUTCDay() || 7];
  const lastDay = new Date(Date.UTC(date.getUTCFullYear(), month, 0)).getUTCDate();
  const isDay = (wanted: number | 'last') => day === (wanted === 'last' ? lastDay : wanted);
  if (schedule.kind === 'weekly') return schedule.weekdays.includes(weekday);
  if (schedule.kind === 'monthly') return isDay(schedule.day);
  if (schedule.kind === 'yearly') return month === schedule.month && isDay(schedule.day);
  if (weekday !== schedule.weekday) return false;
  if (schedule.which === 'last') return day + 7 > lastDay;
  return Math.ceil(day / 7) === ['first', 'second', 'third', 'fourth'].indexOf(schedule.which) + 1;
}

test('every due moment comes after the one before, is found again, and shows a local time that was meant', () => {
  const starts = fc.oneof(
    fc.tuple(fc.constantFrom(...zoneNames), momentMs),
    fc
      .tuple(fc.constantFrom(...windows), fc.nat(4 * dayMs))
      .map(([[zone, from], ms]) => [zone, Date.parse(from) + ms] as const),
  );
  fc.assert(
    fc.property(schedules, rules, starts, (schedule, rule, [zone, startMs]) => {
      const calendar = calendarOf(schedule, zone, rule);
      let ms: number | undefined = startMs;
      for (let step = 0; step < 6; step += 1) {
        const before: number = ms;
        ms = calendar.next(before);
        if (ms === undefined) return assert.equal(schedule.kind, 'never', 'none of these schedules ends');
        assert.equal(ms > before, true);
        assert.equal(calendarOf(schedule, zone, rule).next(ms - 1), ms);
        const due = calendar.describe(ms);
        assert.equal(due.atMs, ms);
        assert.equal(Date.parse(due.local), ms);
        assert.equal(due.dst === 'moved' || meets(schedule, due.local), true, due.local);
        if (rule.skipped === 'skip') assert.notEqual(due.dst, 'moved');
        if (rule.repeated === 'once' && schedule.kind !== 'every') assert.notEqual(due.dst, 'second');
      }
    }),
    { seed: 17, numRuns: 600 },
  );
});
