import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCalendar } from './calendar.ts';
import { dstRuleInWords } from './dst-rule.ts';
import { at, calendarOf, dueTexts, once, skip, twice, usual } from './due-texts.fixture.ts';

const minuteMs = 60_000;

test('an interval is counted from its start, which is its first due moment', () => {
  const calendar = calendarOf({ kind: 'every', everyMs: 15 * minuteMs }, 'Europe/Amsterdam', usual, {
    from: '2027-01-01T00:07:30Z',
  });
  assert.deepEqual(dueTexts(calendar, '2020-01-01T00:00Z', 2), [
    '2027-01-01T01:07:30+01:00',
    '2027-01-01T01:22:30+01:00',
  ]);
});

test('an interval without a start is counted from midnight of 1970 in its zone', () => {
  const daily = (zone: string) => calendarOf({ kind: 'every', everyMs: 1440 * minuteMs }, zone);
  assert.deepEqual(dueTexts(daily('Asia/Kolkata'), '2027-01-01T00:00Z', 1), ['2027-01-02T00:00:00+05:30']);
  assert.deepEqual(dueTexts(daily('Europe/Amsterdam'), '2027-01-01T00:00Z', 1), [
    '2027-01-02T00:00:00+01:00',
  ]);
  assert.deepEqual(dueTexts(daily('Europe/Amsterdam'), '2027-07-01T00:00Z', 1), [
    '2027-07-02T01:00:00+02:00',
  ]);
});

test('an interval does not drift: after a million of them it is where multiplication says', () => {
  const everyMs = 7 * minuteMs + 1;
  const fromMs = Date.UTC(2027, 0, 1);
  const calendar = openCalendar({
    schedule: { kind: 'every', everyMs },
    timezone: 'UTC',
    dst: usual,
    fromMs,
    untilMs: undefined,
  });
  assert.equal(calendar.next(fromMs + 1_000_000 * everyMs - 1), fromMs + 1_000_000 * everyMs);
  assert.equal(calendar.next(fromMs + 1_000_000 * everyMs), fromMs + 1_000_001 * everyMs);
});

test('the first moment is included and the last is not', () => {
  const span = { from: '2027-01-01T12:00Z', until: '2027-01-03T12:00Z' };
  const expected = ['2027-01-01T12:00:00+00:00', '2027-01-02T12:00:00+00:00', 'never'];
  assert.deepEqual(dueTexts(calendarOf('0 12 * * *', 'UTC', usual, span), '2020-01-01T00:00Z', 3), expected);
  const daily = calendarOf({ kind: 'every', everyMs: 1440 * minuteMs }, 'UTC', usual, span);
  assert.deepEqual(dueTexts(daily, '2020-01-01T00:00Z', 3), expected);
});

test('a repeated time whose first pass lies before the start is not due at its second', () => {
  const span = { from: '2027-10-31T01:00Z' };
  const due = (rule: typeof once) =>
    dueTexts(calendarOf('30 2 * * *', 'Europe/Amsterdam', rule, span), '2027-10-01T00:00Z', 1);
  assert.deepEqual(due(once), ['2027-11-01T02:30:00+01:00']);
  assert.deepEqual(due(twice), ['2027-10-31T02:30:00+01:00 second']);
});

test('next is strictly after, also when asked at a fraction of a second', () => {
  const calendar = calendarOf('* * * * * *', 'Europe/Amsterdam');
  const noonMs = Date.UTC(2027, 0, 1, 12);
  assert.equal(calendar.next(noonMs - 1), noonMs);
  assert.equal(calendar.next(noonMs), noonMs + 1000);
  assert.equal(calendar.next(noonMs + 0.5), noonMs + 1000);
  assert.equal(calendar.next(noonMs + 999), noonMs + 1000);
});

test('a schedule that is never due says so at once', () => {
  for (const cron of ['0 0 30 2 *', '0 0 31 2,4,6 *']) {
    assert.equal(calendarOf(cron, 'Europe/Amsterdam').next(Date.UTC(2027, 0, 1)), undefined);
  }
  const monthless = calendarOf({ kind: 'yearly', month: 2, day: 31, at: at('00:00') }, 'UTC');
  assert.equal(monthless.next(Date.UTC(2027, 0, 1)), undefined);
  assert.equal(calendarOf({ kind: 'weekly', weekdays: [], at: at('00:00') }, 'UTC').next(0), undefined);
});

test('a schedule that is rarely due is not lost on the way', () => {
  const rare = calendarOf({ kind: 'yearly', month: 2, day: 29, at: at('02:30') }, 'Australia/Lord_Howe');
  assert.deepEqual(dueTexts(rare, '2096-03-01T00:00Z', 1), ['2104-02-29T02:30:00+11:00']);
  assert.deepEqual(dueTexts(calendarOf('30 2 1 1 *', 'UTC'), '2027-01-01T02:30:00.001Z', 1), [
    '2028-01-01T02:30:00+00:00',
  ]);
});

test('the second pass of the day is found from within the first, however far the next day is', () => {
  const yearly = { kind: 'yearly', month: 10, day: 31, at: at('02:10') } as const;
  const next = (rule: typeof once) =>
    dueTexts(calendarOf(yearly, 'Europe/Amsterdam', rule), '2027-10-31T00:50Z', 1);
  assert.deepEqual(next(twice), ['2027-10-31T02:10:00+01:00 second']);
  assert.deepEqual(next(once), ['2028-10-31T02:10:00+01:00']);
});

test('a calendar gives the same answers in whichever order it is asked', () => {
  const [asked, fresh] = [
    calendarOf('*/7 1-3 * * *', 'Europe/Amsterdam', twice),
    () => calendarOf('*/7 1-3 * * *', 'Europe/Amsterdam', twice),
  ];
  const startMs = Date.parse('2027-10-30T22:00Z');
  for (let step = 0; step < 300; step += 1) {
    const ms = startMs + ((step * 37) % 300) * minuteMs;
    assert.equal(asked.next(ms), fresh().next(ms));
  }
});

test('P10: a zone or a cron text that does not exist is refused when the calendar is opened', () => {
  assert.throws(() => calendarOf('0 0 * * *', 'Europe/Atlantis'), RangeError);
  assert.throws(() => calendarOf('0 0 * *', 'UTC'), TypeError);
});

test('ten thousand calendars are opened and asked within a second or two', () => {
  const zones = ['Europe/Amsterdam', 'America/New_York', 'Asia/Kolkata', 'Pacific/Chatham'];
  const startedMs = performance.now();
  for (let index = 0; index < 10_000; index += 1) {
    const calendar = calendarOf(`${index % 60} ${index % 24} * * *`, zones[index % 4] ?? 'UTC');
    assert.notEqual(calendar.next(Date.UTC(2027, 2, 27, index % 24)), undefined);
  }
  assert.equal(performance.now() - startedMs < 4000, true);
});

test('the rule about the clocks can be said in words', () => {
  assert.equal(
    dstRuleInWords(usual),
    'A local time that the clocks leave out is due at the first moment after it; one that they show twice is due once, at the first. A schedule that is due in every hour of the day goes on by elapsed time instead.',
  );
  assert.match(dstRuleInWords(skip), /is not due at all; .* is due once, at the first\.$/);
  assert.match(dstRuleInWords(twice), /is due at both\.$/);
});
