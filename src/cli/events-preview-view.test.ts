import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfiguration } from '../settings/index.ts';
import { type PreviewInput, previewJson, previewText } from './events-preview-view.ts';

function inputOf(event: string, from: string, count = 3): PreviewInput {
  const text = `cluster: shop\napp: { command: x, instances: [shop-1] }\nevents: { nightly: ${event} }\n`;
  const [settings] = parseConfiguration(text, 'shop.yaml').configuration.events;
  assert.ok(settings);
  const fromMs = Date.parse(from);
  return { settings, source: 'arbiter', fromMs, nowMs: fromMs, count };
}

const nightly = '{ schedule: "30 2 * * *", timezone: Europe/Amsterdam, run: { post: /nightly } }';

test('a preview shows each moment in its zone and in UTC, and marks the one that the clocks leave out', () => {
  assert.equal(
    previewText(inputOf(nightly, '2027-03-27T00:00Z'), 80),
    `nightly: daily at 02:30 Europe/Amsterdam; POST /nightly; on one

  Sat 2027-03-27 02:30+01:00  2027-03-27 01:30Z  in 1h 30m
  Sun 2027-03-28 03:00+02:00  2027-03-28 01:00Z  in 1d 1h   DST: moved past gap
  Mon 2027-03-29 02:30+02:00  2027-03-29 00:30Z  in 2d

The schedule is cron "30 2 * * *" in Europe/Amsterdam.
A local time that the clocks leave out is due at the first moment after the gap.
One that they show twice is due once, at the first pass; only a schedule that is
due in every hour goes on by elapsed time.`,
  );
});

test('both passes of a local time that occurs twice are marked', () => {
  const twice = nightly.replace('run:', 'dst: { repeated: twice }, run:');
  const { due } = previewJson(inputOf(twice, '2027-10-30T12:00Z', 2));
  assert.deepEqual(due, [
    { utc: '2027-10-31T00:30:00.000Z', local: '2027-10-31T02:30:00+02:00', dst: 'first' },
    { utc: '2027-10-31T01:30:00.000Z', local: '2027-10-31T02:30:00+01:00', dst: 'second' },
  ]);
  const text = previewText(inputOf(twice, '2027-10-30T12:00Z', 2), 80);
  assert.match(text, /DST: first pass\n.*DST: second pass/);
});

test('a moment before which the clocks changed says so, as the time between two moments is another one', () => {
  const text = previewText(
    inputOf('{ schedule: "0 12 * * *", timezone: Europe/Amsterdam, run: gate }', '2027-03-27T00:00Z', 2),
    80,
  );
  assert.match(text, /Sun 2027-03-28 12:00\+02:00.*DST: was \+01:00/);
});

test('from and until are shown, and that nothing is due any more after the end', () => {
  const limited = nightly.replace('run:', 'from: 2027-01-01, until: 2027-01-03, run:');
  const text = previewText(inputOf(limited, '2026-06-01T00:00Z', 10), 80);
  assert.match(text, /Fri 2027-01-01 02:30.*\n.*Sat 2027-01-02 02:30.*\n {2}Then never again\./);
  assert.match(
    text,
    /Not due before 2027-01-01 00:00\+01:00\.\nNot due at 2027-01-03 00:00\+01:00 or later\./,
  );
  assert.match(previewText(inputOf(limited, '2028-01-01T00:00Z'), 80), /Not due any more/);
  assert.equal(previewJson(inputOf(limited, '2026-06-01T00:00Z')).until, '2027-01-02T23:00:00.000Z');
});

test('the moment from which it begins is part of it', () => {
  const { due } = previewJson(inputOf('{ every: 15m, run: gate }', '2027-01-01T00:15:00Z', 2));
  assert.deepEqual(
    due.map(({ utc }) => utc),
    ['2027-01-01T00:15:00.000Z', '2027-01-01T00:30:00.000Z'],
  );
});

test('an event that is only appointed has no moments, in words and in JSON', () => {
  const input = inputOf('{ on: designated, appointed: { command: ./on } }', '2027-01-01T00:00Z');
  assert.match(previewText(input, 80), /an instance is appointed/);
  assert.deepEqual([previewJson(input).due, previewJson(input).timezone], [[], null]);
});

test('a preview from a file says so', () => {
  const input = { ...inputOf(nightly, '2027-01-01T00:00Z'), source: 'holdfast.yaml' };
  assert.match(previewText(input, undefined), /^nightly: .* \(as holdfast\.yaml says\)$/m);
  assert.equal(previewJson(input).source, 'holdfast.yaml');
});
