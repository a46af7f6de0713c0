import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCalendar } from '../protocol/calendar/calendar.ts';
import { parseConfiguration } from '../settings/index.ts';
import { ago, excerpt, plain, span, wrapped, zoneTime, zoneTimeWithDay } from './events-times.ts';
import { calendarInWords, dstInWords, placeInWords, runInWords } from './events-words.ts';

function settings(event: string) {
  const text = `cluster: shop\napp: { command: x, instances: [shop-1] }\nevents: { one: ${event} }\n`;
  const [definition] = parseConfiguration(text, 'shop.yaml').configuration.events;
  assert.ok(definition);
  return definition;
}

const schedules: readonly [string, string][] = [
  ['every: 15m', 'every 15m'],
  ['schedule: "* * * * *"', 'every minute UTC'],
  ['schedule: "*/15 * * * *"', 'every 15 minutes UTC'],
  ['schedule: "0 * * * *"', 'hourly UTC'],
  ['schedule: "30 * * * *"', 'hourly at minute 30 UTC'],
  ['schedule: "5 */6 * * *"', 'every 6 hours at minute 5 UTC'],
  ['schedule: "0 2 * * *", timezone: Europe/Amsterdam', 'daily at 02:00 Europe/Amsterdam'],
  ['schedule: "0 30 2 * * *"', 'daily at 02:30 UTC'],
  ['schedule: "0 2 1 * *"', 'day 1 of each month at 02:00 UTC'],
  ['schedule: "0 2 * * 1-5"', 'Mon–Fri at 02:00 UTC'],
  ['schedule: "0 2 * * MON,thu"', 'Mon, Thu at 02:00 UTC'],
  ['schedule: "0 2 * * 0"', 'Sun at 02:00 UTC'],
  ['weekly: { days: [sunday, monday], at: "06:30" }', 'Mon, Sun at 06:30 UTC'],
  ['monthly: { day: last, at: "23:59:30" }', 'last day of each month at 23:59:30 UTC'],
  ['monthly: { day: 15 }', 'day 15 of each month at 00:00 UTC'],
  ['monthly: { weekday: friday, which: last }', 'last Fri of each month at 00:00 UTC'],
  ['yearly: { month: february, day: 29 }', '29 Feb of each year at 00:00 UTC'],
  ['yearly: { month: february, day: last }', 'last day of Feb at 00:00 UTC'],
];
for (const [yaml, words] of schedules) {
  test(`{ ${yaml} } is said as "${words}"`, () => {
    assert.equal(calendarInWords(settings(`{ ${yaml}, run: gate }`).calendar), words);
  });
}

for (const cron of [
  '*/7 * * * *',
  '0 2 1 * 1',
  '0 2 1-7 * *',
  '15 0 2 * * *',
  '0 0 1 1 *',
  '0 9-17 * * *',
  '0 2 * * 5-1',
])
  test(`what a few words would not say truly stays as it was written: ${cron}`, () => {
    const calendar = { schedule: { kind: 'cron', cron }, timezone: 'UTC' } as const;
    const rest = {
      dst: { skipped: 'after', repeated: undefined },
      fromMs: undefined,
      untilMs: undefined,
    } as const;
    assert.equal(calendarInWords({ ...calendar, ...rest }), `cron ${cron} UTC`);
  });

test('the words of a cron schedule agree with its calendar', () => {
  const { calendar } = settings('{ schedule: "0 2 * * 0", run: gate }');
  assert.ok(calendar);
  const dueMs = openCalendar(calendar).next(Date.parse('2027-01-01T00:00Z')) ?? 0;
  assert.equal(zoneTimeWithDay(dueMs, 'UTC'), 'Sun 2027-01-03 02:00Z');
});

test('what is run and where is said in a few words', () => {
  const shown = (yaml: string) => [runInWords(settings(yaml)), placeInWords(settings(yaml))];
  assert.deepEqual(shown('{ every: 1h, run: { post: /jobs } }'), ['POST /jobs', 'one']);
  assert.deepEqual(shown('{ every: 1h, run: { command: ./run it }, on: each }'), ['./run it', 'each']);
  assert.deepEqual(shown('{ every: 1h, run: gate, on: { prefer: shop-1 } }'), [
    'gate: the application asks',
    'prefers shop-1',
  ]);
  assert.deepEqual(shown('{ on: designated, appointed: { post: /on } }'), ['appointment only', 'designated']);
});

test('the rule for the change of clocks is said for each setting', () => {
  const said = (yaml: string) => {
    const { calendar } = settings(`{ ${yaml}, run: gate }`);
    assert.ok(calendar);
    return dstInWords(calendar).join(' ');
  };
  assert.match(said('every: 1h'), /nothing shifts/);
  assert.match(said('schedule: "0 2 * * *"'), /first moment after the gap\. .*once, at the first pass; only/);
  assert.match(
    said('schedule: "0 2 * * *", dst: { skipped: skip, repeated: twice }'),
    /not due at all\. .*due at both passes/,
  );
});

test('moments are shown in their zone, short and with the offset', () => {
  assert.equal(zoneTime(Date.parse('2027-01-02T01:00:00Z'), 'Europe/Amsterdam'), '2027-01-02 02:00+01:00');
  assert.equal(zoneTime(Date.parse('2027-01-02T01:00:05.123Z'), null), '2027-01-02 01:00:05Z');
  assert.equal(zoneTime(Date.parse('2027-01-02T01:00:00Z'), 'Asia/Kolkata'), '2027-01-02 06:30+05:30');
});

test('spans have one or two units', () => {
  const shown = [3, 320, 3_200, 42_000, 185_000, 3_600_000, 7_800_000, 356_400_000].map(span);
  assert.deepEqual(shown, ['3ms', '0.3s', '3.2s', '42s', '3m 5s', '1h', '2h 10m', '4d 3h']);
  assert.deepEqual([span(-5), span(59_700), span(9_960)], ['0ms', '1m', '10s']);
  assert.equal(ago(1_000, 61_000), '1m ago');
});

test('text is made safe, wrapped between words, and cut', () => {
  assert.equal(plain(' a\n\tb\u0007\u001b]0;x\u0007 '), 'a b··]0;x·');
  assert.equal(wrapped('one two three four five six', 20, '  '), '  one two three four\n  five six');
  assert.equal(excerpt('abcdef', 4), 'abc…');
});
