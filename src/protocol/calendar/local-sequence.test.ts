import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cronProblem } from '../../settings/cron-syntax.ts';
import { at } from './due-texts.fixture.ts';
import { localSequence } from './local-sequence.ts';
import type { EventSchedule } from './schedule.ts';

function times(
  schedule: Exclude<EventSchedule, { kind: 'every' }> | string,
  from: string,
  count: number,
): string[] {
  const sequence = localSequence(typeof schedule === 'string' ? { kind: 'cron', cron: schedule } : schedule);
  const texts = [];
  let local: number | undefined = Date.parse(`${from}Z`) - 1;
  for (let index = 0; index < count && local !== undefined; index += 1) {
    local = sequence.after(local);
    texts.push(
      local === undefined ? 'never' : new Date(local).toISOString().slice(0, 19).replace(/:00$/, ''),
    );
  }
  return texts;
}
/** The days only, for schedules at one time of day. */
const days = (...asked: Parameters<typeof times>) => times(...asked).map((text) => text.slice(0, 10));

const cron: [string, string, string[]][] = [
  ['0 2 * * *', '2027-01-31', ['2027-01-31T02:00', '2027-02-01T02:00']],
  ['15 30 2 * * *', '2027-01-31', ['2027-01-31T02:30:15', '2027-02-01T02:30:15']],
  ['*/20 8-9 * * *', '2027-01-31T08:30', ['2027-01-31T08:40', '2027-01-31T09:00', '2027-01-31T09:20']],
  [
    '5/20 8 * * *',
    '2027-01-31',
    ['2027-01-31T08:05', '2027-01-31T08:25', '2027-01-31T08:45', '2027-02-01T08:05'],
  ],
  ['0 0 L * *', '2028-01-31', ['2028-01-31T00:00', '2028-02-29T00:00', '2028-03-31T00:00']],
  ['0 0 15,L 2 *', '2027-01-01', ['2027-02-15T00:00', '2027-02-28T00:00']],
  ['0 0 * * 0', '2027-01-01', ['2027-01-03T00:00', '2027-01-10T00:00']],
  ['0 0 * * 7', '2027-01-01', ['2027-01-03T00:00', '2027-01-10T00:00']],
  ['0 0 * * Sun', '2027-01-01', ['2027-01-03T00:00', '2027-01-10T00:00']],
  ['0 0 * * 7/2', '2027-01-01', ['2027-01-03T00:00', '2027-01-10T00:00']],
  [
    '0 0 * * 5-7',
    '2027-01-04',
    ['2027-01-08T00:00', '2027-01-09T00:00', '2027-01-10T00:00', '2027-01-15T00:00'],
  ],
  [
    '0 0 * * MON-fri/2',
    '2027-01-04',
    ['2027-01-04T00:00', '2027-01-06T00:00', '2027-01-08T00:00', '2027-01-11T00:00'],
  ],
  ['0 0 ? jan,JUL 1#2', '2027-01-01', ['2027-01-11T00:00', '2027-07-12T00:00', '2028-01-10T00:00']],
  ['0 0 * * 5L', '2027-01-01', ['2027-01-29T00:00', '2027-02-26T00:00']],
  ['0 0 * * fri#L', '2027-01-01', ['2027-01-29T00:00', '2027-02-26T00:00']],
  [
    '0 0 * * mon#1,fri#5',
    '2027-01-01',
    ['2027-01-04T00:00', '2027-01-29T00:00', '2027-02-01T00:00', '2027-03-01T00:00'],
  ],
  ['0 0 29 2 *', '2095-01-01', ['2096-02-29T00:00', '2104-02-29T00:00']],
];
for (const [text, from, expected] of cron) {
  test(`cron "${text}" is due at ${expected.join(', ')}`, () => {
    assert.equal(cronProblem(text), undefined);
    assert.deepEqual(times(text, from, expected.length), expected);
  });
}

test('cron: a day of month and a day of week, both restricted, mean either of them', () => {
  assert.deepEqual(days('0 0 13 * 5', '2027-08-06', 4), [
    '2027-08-06',
    '2027-08-13',
    '2027-08-20',
    '2027-08-27',
  ]);
  assert.deepEqual(days('0 0 L * 1', '2027-01-25', 3), ['2027-01-25', '2027-01-31', '2027-02-01']);
  assert.deepEqual(days('0 0 ? * 5', '2027-08-06', 2), ['2027-08-06', '2027-08-13'], 'a ? restricts nothing');
  assert.deepEqual(days('0 0 13 * ?', '2027-08-06', 2), ['2027-08-13', '2027-09-13']);
});

test('cron: a day that never comes is found out once, and is quick to tell again', () => {
  const sequence = localSequence({ kind: 'cron', cron: '0 0 30 2 *' });
  assert.equal(sequence.after(Date.UTC(2027, 0, 1)), undefined);
  const startedMs = performance.now();
  for (let year = 2028; year < 3000; year += 1) assert.equal(sequence.after(Date.UTC(year, 0, 1)), undefined);
  assert.equal(performance.now() - startedMs < 100, true);
});

test('cron: only an hour field that holds every hour is due in every hour', () => {
  const everyHour = (text: string) => localSequence({ kind: 'cron', cron: text }).everyHour;
  for (const text of ['0 * * * *', '*/15 0-23 * * 1', '5 */1 1 * *', '0 0 0-11,12-23 * * *'])
    assert.equal(everyHour(text), true, text);
  for (const text of ['0 2 * * *', '0 */2 * * *', '0 1-23 * * *']) assert.equal(everyHour(text), false, text);
});

test('cron: whatever the settings let through is understood here', () => {
  const item = (numbers: fc.Arbitrary<string>, steps: number) =>
    fc.oneof(
      fc.constant('*'),
      numbers,
      fc.tuple(numbers, numbers).map(([low, high]) => `${low}-${high}`),
      fc
        .tuple(fc.oneof(fc.constant('*'), numbers), fc.integer({ min: 1, max: steps }))
        .map(([range, step]) => `${range}/${step}`),
    );
  const number = (min: number, max: number) => fc.integer({ min, max }).map(String);
  const list = (one: fc.Arbitrary<string>) =>
    fc.array(one, { minLength: 1, maxLength: 3 }).map((all) => all.join(','));
  const weekday = fc.oneof(number(0, 7), fc.constantFrom('sun', 'MON', 'Tue', 'wed', 'thu', 'fri', 'sat'));
  const nth = fc.tuple(weekday, fc.constantFrom('L', 'l', '#1', '#5', '#L')).map((parts) => parts.join(''));
  const text = fc
    .tuple(
      list(item(number(0, 59), 59)),
      list(item(number(0, 23), 23)),
      list(fc.oneof(item(number(1, 31), 31), fc.constantFrom('L', '?', 'l'))),
      list(item(fc.oneof(number(1, 12), fc.constantFrom('jan', 'Feb', 'MAY', 'dec')), 12)),
      list(fc.oneof(item(weekday, 7), nth, fc.constant('?'))),
    )
    .map((fields) => fields.join(' '));
  let understood = 0;
  fc.assert(
    fc.property(text, (one) => {
      if (cronProblem(one)) return;
      understood += 1;
      const start = Date.UTC(2027, 0, 1);
      const next = localSequence({ kind: 'cron', cron: one }).after(start);
      assert.equal(next === undefined || next > start, true);
    }),
    { seed: 3, numRuns: 600 },
  );
  assert.equal(understood > 200, true);
});

test('weekly is due on each of its weekdays', () => {
  const weekly = { kind: 'weekly', weekdays: [7, 1, 3], at: at('08:30') } as const;
  assert.deepEqual(times(weekly, '2027-01-01', 4), [
    '2027-01-03T08:30',
    '2027-01-04T08:30',
    '2027-01-06T08:30',
    '2027-01-10T08:30',
  ]);
  assert.deepEqual(times(weekly, '2027-01-03T08:30', 1), ['2027-01-03T08:30']);
  assert.deepEqual(times(weekly, '2027-01-03T08:30:01', 1), ['2027-01-04T08:30']);
});

test('monthly leaves out the months that do not have the day, and knows the last day of each', () => {
  const monthly = (day: number | 'last') => ({ kind: 'monthly', day, at: at('00:00') }) as const;
  assert.deepEqual(days(monthly(31), '2027-01-31', 4), [
    '2027-01-31',
    '2027-03-31',
    '2027-05-31',
    '2027-07-31',
  ]);
  assert.deepEqual(days(monthly(30), '2027-01-01', 3), ['2027-01-30', '2027-03-30', '2027-04-30']);
  assert.deepEqual(days(monthly(29), '2027-02-01', 2), ['2027-03-29', '2027-04-29']);
  assert.deepEqual(days(monthly(29), '2028-02-01', 2), ['2028-02-29', '2028-03-29']);
  assert.deepEqual(days(monthly('last'), '2028-01-01', 4), [
    '2028-01-31',
    '2028-02-29',
    '2028-03-31',
    '2028-04-30',
  ]);
  assert.deepEqual(days(monthly(1), '2027-12-02', 1), ['2028-01-01']);
});

test('a weekday of the month counts from the first, and the last may be the fourth or the fifth', () => {
  const weekday = (which: 'first' | 'second' | 'third' | 'fourth' | 'last', day: number) =>
    ({ kind: 'monthlyWeekday', weekday: day, which, at: at('09:00') }) as const;
  assert.deepEqual(days(weekday('first', 5), '2027-01-01', 3), ['2027-01-01', '2027-02-05', '2027-03-05']);
  assert.deepEqual(days(weekday('second', 1), '2027-01-01', 3), ['2027-01-11', '2027-02-08', '2027-03-08']);
  assert.deepEqual(days(weekday('third', 7), '2027-01-01', 2), ['2027-01-17', '2027-02-21']);
  assert.deepEqual(days(weekday('fourth', 5), '2027-01-01', 2), ['2027-01-22', '2027-02-26']);
  assert.deepEqual(days(weekday('last', 5), '2027-01-01', 3), ['2027-01-29', '2027-02-26', '2027-03-26']);
});

test('yearly on 29 February is due in leap years alone, of which 2100 is none and 2000 is one', () => {
  const yearly = (month: number, day: number | 'last') =>
    ({ kind: 'yearly', month, day, at: at('12:00') }) as const;
  assert.deepEqual(days(yearly(2, 29), '2095-01-01', 2), ['2096-02-29', '2104-02-29']);
  assert.deepEqual(days(yearly(2, 29), '1999-03-01', 2), ['2000-02-29', '2004-02-29']);
  assert.deepEqual(days(yearly(2, 'last'), '2099-01-01', 3), ['2099-02-28', '2100-02-28', '2101-02-28']);
  assert.deepEqual(days(yearly(12, 31), '2027-12-31T12:00:01', 1), ['2028-12-31']);
  assert.deepEqual(days(yearly(2, 30), '2027-01-01', 1), ['never']);
});
