/**
 * Golden tables: what is due around changes of the clock, worked out by hand from the published rules of ten zones
 * and more. The years lie behind us where a country is known to change its mind.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, calendarOf, dueTexts, once, skip, twice, usual } from './due-texts.fixture.ts';
import type { DstRule, EventSchedule } from './schedule.ts';

type Row = readonly [
  promise: string,
  schedule: EventSchedule | string,
  rule: DstRule,
  from: string,
  due: readonly string[],
];

const at0230 = at('02:30');
const zones: Readonly<Record<string, readonly Row[]>> = {
  'Europe/Amsterdam': [
    [
      'a nightly time in the gap is due at its end',
      '30 2 * * *',
      usual,
      '2027-03-27T00:00Z',
      ['2027-03-27T02:30:00+01:00', '2027-03-28T03:00:00+02:00 moved', '2027-03-29T02:30:00+02:00'],
    ],
    [
      'or not on that day',
      '30 2 * * *',
      skip,
      '2027-03-27T00:00Z',
      ['2027-03-27T02:30:00+01:00', '2027-03-29T02:30:00+02:00'],
    ],
    [
      'several times in the gap, and its end itself, are due once',
      '*/20 2,3 * * *',
      usual,
      '2027-03-27T23:00Z',
      [
        '2027-03-28T03:00:00+02:00',
        '2027-03-28T03:20:00+02:00',
        '2027-03-28T03:40:00+02:00',
        '2027-03-29T02:00:00+02:00',
      ],
    ],
    [
      'every quarter of an hour goes on across the gap',
      '*/15 * * * *',
      usual,
      '2027-03-28T00:30Z',
      [
        '2027-03-28T01:30:00+01:00',
        '2027-03-28T01:45:00+01:00',
        '2027-03-28T03:00:00+02:00',
        '2027-03-28T03:15:00+02:00',
      ],
    ],
    [
      'hourly at half past is not due twice within the hour after the gap',
      '30 * * * *',
      usual,
      '2027-03-28T00:30Z',
      ['2027-03-28T01:30:00+01:00', '2027-03-28T03:30:00+02:00', '2027-03-28T04:30:00+02:00'],
    ],
    [
      'unless it is asked to run once and therefore is no matter of elapsed time',
      '30 * * * *',
      once,
      '2027-03-28T00:30Z',
      ['2027-03-28T01:30:00+01:00', '2027-03-28T03:00:00+02:00 moved', '2027-03-28T03:30:00+02:00'],
    ],
    [
      'a nightly time in the fold is due at its first pass',
      '30 2 * * *',
      usual,
      '2027-10-30T12:00Z',
      ['2027-10-31T02:30:00+02:00 first', '2027-11-01T02:30:00+01:00'],
    ],
    [
      'or at both',
      '30 2 * * *',
      twice,
      '2027-10-30T12:00Z',
      ['2027-10-31T02:30:00+02:00 first', '2027-10-31T02:30:00+01:00 second', '2027-11-01T02:30:00+01:00'],
    ],
    [
      'hourly goes on through both passes',
      '0 * * * *',
      usual,
      '2027-10-30T23:00Z',
      [
        '2027-10-31T01:00:00+02:00',
        '2027-10-31T02:00:00+02:00 first',
        '2027-10-31T02:00:00+01:00 second',
        '2027-10-31T03:00:00+01:00',
      ],
    ],
    [
      'hourly, asked to run once, waits out the second pass',
      '0 * * * *',
      once,
      '2027-10-30T23:00Z',
      ['2027-10-31T01:00:00+02:00', '2027-10-31T02:00:00+02:00 first', '2027-10-31T03:00:00+01:00'],
    ],
    [
      'the passes come one after the other and not mixed',
      '*/30 1-3 * * *',
      twice,
      '2027-10-30T23:00Z',
      [
        '2027-10-31T01:00:00+02:00',
        '2027-10-31T01:30:00+02:00',
        '2027-10-31T02:00:00+02:00 first',
        '2027-10-31T02:30:00+02:00 first',
        '2027-10-31T02:00:00+01:00 second',
        '2027-10-31T02:30:00+01:00 second',
        '2027-10-31T03:00:00+01:00',
        '2027-10-31T03:30:00+01:00',
      ],
    ],
    [
      'weekly',
      { kind: 'weekly', weekdays: [7], at: at0230 },
      usual,
      '2027-03-20T00:00Z',
      ['2027-03-21T02:30:00+01:00', '2027-03-28T03:00:00+02:00 moved', '2027-04-04T02:30:00+02:00'],
    ],
    [
      'monthly on day 28',
      { kind: 'monthly', day: 28, at: at0230 },
      skip,
      '2027-02-01T00:00Z',
      ['2027-02-28T02:30:00+01:00', '2027-04-28T02:30:00+02:00'],
    ],
    [
      'monthly on the last day, which is the day the clocks go back',
      { kind: 'monthly', day: 'last', at: at0230 },
      twice,
      '2027-10-01T00:00Z',
      ['2027-10-31T02:30:00+02:00 first', '2027-10-31T02:30:00+01:00 second', '2027-11-30T02:30:00+01:00'],
    ],
    [
      'the last Sunday of the month',
      { kind: 'monthlyWeekday', weekday: 7, which: 'last', at: at0230 },
      usual,
      '2027-02-01T00:00Z',
      ['2027-02-28T02:30:00+01:00', '2027-03-28T03:00:00+02:00 moved', '2027-04-25T02:30:00+02:00'],
    ],
    [
      'yearly',
      { kind: 'yearly', month: 3, day: 28, at: at0230 },
      usual,
      '2027-01-01T00:00Z',
      ['2027-03-28T03:00:00+02:00 moved', '2028-03-28T02:30:00+02:00', '2029-03-28T02:30:00+02:00'],
    ],
    [
      'an interval knows no clock',
      { kind: 'every', everyMs: 3_600_000 },
      usual,
      '2027-10-30T23:30Z',
      ['2027-10-31T02:00:00+02:00 first', '2027-10-31T02:00:00+01:00 second', '2027-10-31T03:00:00+01:00'],
    ],
  ],
  'America/New_York': [
    [
      'the gap at two in the morning',
      '0 2 * * *',
      usual,
      '2026-03-07T12:00Z',
      ['2026-03-08T03:00:00-04:00 moved', '2026-03-09T02:00:00-04:00'],
    ],
    ['skipped', '0 2 * * *', skip, '2026-03-07T12:00Z', ['2026-03-09T02:00:00-04:00']],
    [
      'the fold at one',
      '15 1 * * 0',
      usual,
      '2026-10-31T12:00Z',
      ['2026-11-01T01:15:00-04:00 first', '2026-11-08T01:15:00-05:00'],
    ],
    [
      'both passes',
      '15 1 * * 0',
      twice,
      '2026-10-31T12:00Z',
      ['2026-11-01T01:15:00-04:00 first', '2026-11-01T01:15:00-05:00 second', '2026-11-08T01:15:00-05:00'],
    ],
  ],
  'America/Sao_Paulo': [
    [
      'a midnight that never was is due at one o’clock of the same day',
      '0 0 * * *',
      usual,
      '2018-11-03T00:00Z',
      ['2018-11-03T00:00:00-03:00', '2018-11-04T01:00:00-02:00 moved', '2018-11-05T00:00:00-02:00'],
    ],
    ['or skipped', '0 0 * * *', skip, '2018-11-04T00:00Z', ['2018-11-05T00:00:00-02:00']],
    [
      'the last hour of a Saturday comes twice',
      '30 23 * * 6',
      usual,
      '2019-02-16T12:00Z',
      ['2019-02-16T23:30:00-02:00 first', '2019-02-23T23:30:00-03:00'],
    ],
    [
      'and may be due twice, when Sunday has not begun',
      { kind: 'weekly', weekdays: [6, 7], at: at('23:30') },
      twice,
      '2019-02-16T12:00Z',
      ['2019-02-16T23:30:00-02:00 first', '2019-02-16T23:30:00-03:00 second', '2019-02-17T23:30:00-03:00'],
    ],
    [
      'since 2019 nothing changes',
      '0 0 * * *',
      usual,
      '2026-11-01T00:00Z',
      ['2026-11-01T00:00:00-03:00', '2026-11-02T00:00:00-03:00'],
    ],
  ],
  'Australia/Lord_Howe': [
    [
      'a gap of half an hour',
      '15 2 * * *',
      usual,
      '2026-10-02T20:00Z',
      ['2026-10-04T02:30:00+11:00 moved', '2026-10-05T02:15:00+11:00'],
    ],
    ['skipped', '15 2 * * *', skip, '2026-10-03T00:00Z', ['2026-10-05T02:15:00+11:00']],
    [
      'an hourly time in the half hour is not lost',
      '15 * * * *',
      usual,
      '2026-10-03T14:45Z',
      ['2026-10-04T01:15:00+10:30', '2026-10-04T02:30:00+11:00 moved', '2026-10-04T03:15:00+11:00'],
    ],
    [
      'a fold of half an hour',
      '*/15 * * * *',
      usual,
      '2026-04-04T14:15Z',
      [
        '2026-04-05T01:15:00+11:00',
        '2026-04-05T01:30:00+11:00 first',
        '2026-04-05T01:45:00+11:00 first',
        '2026-04-05T01:30:00+10:30 second',
        '2026-04-05T01:45:00+10:30 second',
        '2026-04-05T02:00:00+10:30',
      ],
    ],
    [
      'once',
      '45 1 * * *',
      usual,
      '2026-04-04T14:00Z',
      ['2026-04-05T01:45:00+11:00 first', '2026-04-06T01:45:00+10:30'],
    ],
  ],
  'Asia/Kolkata': [
    [
      'no change in March',
      '30 2 * * *',
      usual,
      '2027-03-27T00:00Z',
      ['2027-03-28T02:30:00+05:30', '2027-03-29T02:30:00+05:30'],
    ],
    [
      'nor in October',
      '0 * * * *',
      twice,
      '2027-10-30T23:45Z',
      ['2027-10-31T06:00:00+05:30', '2027-10-31T07:00:00+05:30'],
    ],
  ],
  'Asia/Kathmandu': [
    [
      'a quarter of an hour was left out for good in 1986',
      '10 0 * * *',
      usual,
      '1985-12-30T18:00Z',
      ['1985-12-31T00:10:00+05:30', '1986-01-01T00:15:00+05:45 moved', '1986-01-02T00:10:00+05:45'],
    ],
    [
      'today',
      '0 6 * * *',
      usual,
      '2027-03-28T00:00Z',
      ['2027-03-28T06:00:00+05:45', '2027-03-29T06:00:00+05:45'],
    ],
  ],
  'Pacific/Apia': [
    [
      'a day that never was is due when the next begins',
      '0 12 * * *',
      usual,
      '2011-12-29T00:00Z',
      ['2011-12-29T12:00:00-10:00', '2011-12-31T00:00:00+14:00 moved', '2011-12-31T12:00:00+14:00'],
    ],
    ['or skipped', '0 12 30 12 *', skip, '2011-12-01T00:00Z', ['2012-12-30T12:00:00+14:00']],
    [
      'all the hours of that day are due once',
      '30 * * * *',
      usual,
      '2011-12-30T09:00Z',
      ['2011-12-29T23:30:00-10:00', '2011-12-31T00:00:00+14:00 moved', '2011-12-31T00:30:00+14:00'],
    ],
    [
      'a Friday that never was',
      { kind: 'weekly', weekdays: [5], at: at('09:00') },
      usual,
      '2011-12-20T00:00Z',
      ['2011-12-23T09:00:00-10:00', '2011-12-31T00:00:00+14:00 moved', '2012-01-06T09:00:00+14:00'],
    ],
    [
      'the ordinary fold of its summer time',
      '30 3 * * *',
      twice,
      '2012-03-31T00:00Z',
      ['2012-04-01T03:30:00+14:00 first', '2012-04-01T03:30:00+13:00 second', '2012-04-02T03:30:00+13:00'],
    ],
  ],
  'Africa/Casablanca': [
    [
      'the clock goes back before Ramadan',
      '30 2 * * *',
      usual,
      '2025-02-22T12:00Z',
      ['2025-02-23T02:30:00+01:00 first', '2025-02-24T02:30:00+00:00'],
    ],
    [
      'and forward after it',
      '30 2 * * *',
      usual,
      '2025-04-05T12:00Z',
      ['2025-04-06T03:00:00+01:00 moved', '2025-04-07T02:30:00+01:00'],
    ],
  ],
  'Europe/Dublin': [
    [
      'winter is the exception there, and the gap the same',
      '30 1 * * *',
      usual,
      '2027-03-27T12:00Z',
      ['2027-03-28T02:00:00+01:00 moved', '2027-03-29T01:30:00+01:00'],
    ],
    [
      'the fold',
      '30 1 * * *',
      twice,
      '2027-10-30T12:00Z',
      ['2027-10-31T01:30:00+01:00 first', '2027-10-31T01:30:00+00:00 second', '2027-11-01T01:30:00+00:00'],
    ],
  ],
  'Pacific/Chatham': [
    [
      'a gap from a quarter to three to a quarter to four',
      '0 3 * * *',
      usual,
      '2026-09-26T00:00Z',
      ['2026-09-27T03:45:00+13:45 moved', '2026-09-28T03:00:00+13:45'],
    ],
    [
      'the fold',
      '0 3 * * *',
      usual,
      '2026-04-04T00:00Z',
      ['2026-04-05T03:00:00+13:45 first', '2026-04-06T03:00:00+12:45'],
    ],
  ],
  'Asia/Beirut': [
    [
      'no midnight in March',
      '0 0 * * *',
      usual,
      '2022-03-26T12:00Z',
      ['2022-03-27T01:00:00+03:00 moved', '2022-03-28T00:00:00+03:00'],
    ],
  ],
  'Africa/Cairo': [
    [
      'no midnight in April',
      '5 0 * * 5',
      usual,
      '2024-04-25T12:00Z',
      ['2024-04-26T01:00:00+03:00 moved', '2024-05-03T00:05:00+03:00'],
    ],
  ],
};

for (const [zone, rows] of Object.entries(zones)) {
  for (const [promise, schedule, rule, from, due] of rows) {
    const words = typeof schedule === 'string' ? schedule : schedule.kind;
    test(`${zone}, ${words}: ${promise}`, () => {
      assert.deepEqual(dueTexts(calendarOf(schedule, zone, rule), from, due.length), due);
    });
  }
}
