import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gapEndOf, localOf, localText, momentOfLocal, momentsOf, zoneOf } from './zone.ts';

const utc = (text: string) => Date.parse(`${text}Z`);
const iso = (ms: number | undefined) =>
  ms === undefined ? undefined : new Date(ms).toISOString().slice(0, 16);

test('a local time that exists once has one moment, which reads back as that local time', () => {
  const zone = zoneOf('Asia/Kathmandu');
  assert.deepEqual(momentsOf(zone, utc('2027-05-05T12:00')).map(iso), ['2027-05-05T06:15']);
  assert.equal(localOf(zone, utc('2027-05-05T06:15')), utc('2027-05-05T12:00'));
  assert.equal(gapEndOf(zone, utc('2027-05-05T12:00')), undefined);
});

const gaps: [string, string, string][] = [
  ['Europe/Amsterdam', '2027-03-28T02:30', '2027-03-28T01:00'],
  ['Australia/Lord_Howe', '2026-10-04T02:29', '2026-10-03T15:30'],
  ['America/Sao_Paulo', '2018-11-04T00:00', '2018-11-04T03:00'],
  ['Asia/Beirut', '2022-03-27T00:59', '2022-03-26T22:00'],
  ['Africa/Cairo', '2024-04-26T00:00', '2024-04-25T22:00'],
  ['Pacific/Apia', '2011-12-30T00:00', '2011-12-30T10:00'],
  ['Pacific/Apia', '2011-12-30T23:59', '2011-12-30T10:00'],
  ['Pacific/Chatham', '2026-09-27T03:44', '2026-09-26T14:00'],
];
for (const [name, local, end] of gaps) {
  test(`${local} does not exist in ${name}, and the gap ends at ${end} UTC`, () => {
    assert.deepEqual(momentsOf(zoneOf(name), utc(local)), []);
    assert.equal(iso(gapEndOf(zoneOf(name), utc(local))), end);
    assert.equal(iso(momentOfLocal(name, local)), end);
  });
}

const folds: [string, string, string, string][] = [
  ['Europe/Amsterdam', '2027-10-31T02:00', '2027-10-31T00:00', '2027-10-31T01:00'],
  ['America/New_York', '2026-11-01T01:30', '2026-11-01T05:30', '2026-11-01T06:30'],
  ['Australia/Lord_Howe', '2026-04-05T01:45', '2026-04-04T14:45', '2026-04-04T15:15'],
  ['America/Sao_Paulo', '2019-02-16T23:00', '2019-02-17T01:00', '2019-02-17T02:00'],
  ['Pacific/Chatham', '2026-04-05T02:45', '2026-04-04T13:00', '2026-04-04T14:00'],
  ['America/Havana', '2026-11-01T00:15', '2026-11-01T04:15', '2026-11-01T05:15'],
];
for (const [name, local, first, second] of folds) {
  test(`${local} occurs twice in ${name}`, () => {
    assert.deepEqual(momentsOf(zoneOf(name), utc(local)).map(iso), [first, second]);
    assert.equal(iso(momentOfLocal(name, local)), first);
    assert.equal(gapEndOf(zoneOf(name), utc(local)), undefined);
  });
}

test('both ends of a gap and of a fold exist once', () => {
  const amsterdam = zoneOf('Europe/Amsterdam');
  for (const local of [
    '2027-03-28T01:59:59',
    '2027-03-28T03:00',
    '2027-10-31T01:59:59',
    '2027-10-31T03:00',
  ]) {
    assert.equal(momentsOf(amsterdam, utc(local)).length, 1, local);
  }
});

test('an offset with seconds, as before the standard times, is exact', () => {
  const monrovia = zoneOf('Africa/Monrovia');
  assert.equal(localText(monrovia, utc('1970-06-01T00:00')), '1970-05-31T23:15:30-00:44:30');
  assert.deepEqual(momentsOf(monrovia, utc('1970-05-31T23:15:30')), [utc('1970-06-01T00:00')]);
});

test('a moment is written in local time with its offset, and with milliseconds where it has any', () => {
  assert.equal(localText(zoneOf('Europe/Amsterdam'), utc('2027-03-28T01:00')), '2027-03-28T03:00:00+02:00');
  assert.equal(localText(zoneOf('America/New_York'), utc('2027-01-01T00:00')), '2026-12-31T19:00:00-05:00');
  assert.equal(localText(zoneOf('UTC'), utc('2027-01-01T00:00') + 250), '2027-01-01T00:00:00.250+00:00');
});

test('a configured local time may leave out its seconds or its time of day', () => {
  assert.equal(momentOfLocal('Europe/Amsterdam', '2027-01-01'), utc('2026-12-31T23:00'));
  assert.equal(momentOfLocal('Europe/Amsterdam', '2027-01-01T00:00'), utc('2026-12-31T23:00'));
  assert.equal(momentOfLocal('Europe/Amsterdam', '2027-01-01 00:00:30'), utc('2026-12-31T23:00:30'));
});

test('P10: a text that is no local time, or a day that does not exist, has no moment', () => {
  for (const text of [
    '',
    'tomorrow',
    '2027-02-29',
    '2027-1-1',
    '2027-01-01T24:00',
    '2027-01-01T00:00Z',
    '2027-01-01T0:00',
  ]) {
    assert.equal(momentOfLocal('Europe/Amsterdam', text), undefined, text);
  }
  assert.throws(() => momentOfLocal('Europe/Atlantis', '2027-01-01'), RangeError);
});

test('many more days than are kept do not change an answer', () => {
  const zone = zoneOf('Europe/Dublin');
  const summers = Array.from(
    { length: 12_000 },
    (_, day) => localOf(zone, day * 86_400_000) - day * 86_400_000,
  );
  assert.equal(summers.filter((offset) => offset !== 0).length > 5000, true);
  assert.equal(localText(zone, utc('2027-07-01T00:00')), '2027-07-01T01:00:00+01:00');
});
