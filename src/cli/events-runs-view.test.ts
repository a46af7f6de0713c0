import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OccurrenceView, RunView } from '../events/administration.ts';
import { occurrenceJson, progressText, runsText } from './events-runs-view.ts';

const nowMs = Date.parse('2027-01-02T12:00:00Z');
const dueMs = Date.parse('2027-01-02T01:00:00Z');

const run: RunView = {
  attempt: 1,
  instance: 'shop-1',
  token: String((1n << 40n) + 42n),
  startedMs: dueMs,
  endedMs: dueMs + 3_200,
  outcome: 'succeeded',
  reason: null,
  result: '12 invoices\nsent',
};

const one: OccurrenceView = {
  occurrence: '77',
  event: 'nightly-invoices',
  place: '',
  timezone: 'Europe/Amsterdam',
  dueMs,
  lastDueMs: dueMs,
  dues: 1,
  cause: 'schedule',
  askedBy: null,
  state: 'done',
  held: null,
  fenceOf: null,
  notBeforeMs: dueMs,
  outcome: 'succeeded',
  reason: null,
  endedMs: dueMs + 3_200,
  attempts: 1,
  runs: [run],
};

const twice: OccurrenceView = {
  ...one,
  attempts: 2,
  runs: [
    { ...run, outcome: 'lost', reason: 'declared lost by shop-2', result: null },
    {
      ...run,
      attempt: 2,
      instance: 'shop-2',
      token: String((1n << 40n) + 43n),
      startedMs: dueMs + 6_000,
      endedMs: dueMs + 7_000,
    },
  ],
};

const lines = (occurrence: OccurrenceView, options: { attempts?: boolean; width?: number } = {}) =>
  runsText(
    { nowMs, occurrences: [occurrence] },
    { attempts: options.attempts ?? false, width: options.width },
  )
    .split('\n')
    .slice(1);

test('an occurrence with one attempt is one line', () => {
  assert.deepEqual(lines(one), ['2027-01-02 02:00+01:00  nightly-invoices  succeeded  shop-1  3.2s']);
});

test('one with several has a line for each, with its token, times and reason', () => {
  assert.deepEqual(lines(twice), [
    '2027-01-02 02:00+01:00  nightly-invoices  succeeded  shop-2  1s    2 attempts',
    '    1. shop-1, lost after 3.2s: declared lost by shop-2 (2027-01-02 02:00+01:00–02:00:03+01:00, token 1.42)',
    '    2. shop-2, succeeded after 1s (2027-01-02 02:00:06+01:00–02:00:07+01:00, token 1.43)',
  ]);
});

test('with --attempts also a single one is shown, with what it answered, on one line', () => {
  assert.deepEqual(lines(one, { attempts: true }).slice(1), [
    '    1. shop-1, succeeded after 3.2s (2027-01-02 02:00+01:00–02:00:03+01:00, token 1.42)',
    '       answer: 12 invoices sent',
  ]);
});

test('moments missed in a row are one line that says how many and up to when', () => {
  const missed: OccurrenceView = {
    ...one,
    dues: 60,
    lastDueMs: dueMs + 3_540_000,
    outcome: 'missed',
    reason: 'too late',
    runs: [],
    attempts: 0,
  };
  assert.deepEqual(lines(missed), [
    '2027-01-02 02:00+01:00  nightly-invoices  missed   –   –     60 moments up to 2027-01-02 02:59+01:00; too late',
  ]);
});

test('on 80 columns notes go below their line, and no line is longer', () => {
  const failed: OccurrenceView = {
    ...twice,
    outcome: 'failed',
    reason: 'HTTP 500: the database is not there, and was not there for some time before this either',
    runs: twice.runs.map((each) => ({ ...each, startedMs: each.startedMs + 14_000 })),
  };
  const shown = lines(failed, { width: 80, attempts: true });
  assert.ok(
    shown.every((line) => line.length <= 80),
    shown.join('\n'),
  );
  assert.match(shown[1] ?? '', /^ {4}begun 14s late; 2 attempts; HTTP 500: the database/);
});

test('JSON has ISO times and the token both as people and as the run itself know it', () => {
  const shown = occurrenceJson(twice);
  assert.deepEqual(
    [shown.due, shown.ended, shown.place],
    ['2027-01-02T01:00:00.000Z', '2027-01-02T01:00:03.200Z', null],
  );
  assert.deepEqual(shown.runs[1], {
    attempt: 2,
    instance: 'shop-2',
    token: '1.43',
    tokenDecimal: '1099511627819',
    started: '2027-01-02T01:00:06.000Z',
    ended: '2027-01-02T01:00:07.000Z',
    durationMs: 1_000,
    outcome: 'succeeded',
    reason: null,
    result: '12 invoices\nsent',
  });
});

test('progress is told in one line per change', () => {
  const waiting: OccurrenceView = { ...one, state: 'waiting', outcome: null, endedMs: null, runs: [] };
  assert.equal(progressText(waiting), 'waits to be begun');
  assert.equal(progressText({ ...waiting, held: 'predecessor' }), 'in line behind the one before it');
  const [lost] = twice.runs;
  assert.ok(lost);
  assert.equal(
    progressText({ ...waiting, runs: [lost] }),
    'lost on shop-1: declared lost by shop-2; waits to be begun again',
  );
  const running: RunView = { ...run, attempt: 2, endedMs: null, outcome: null };
  assert.equal(
    progressText({ ...waiting, state: 'running', place: 'shop-1', runs: [lost, running] }),
    'shop-1: running on shop-1 (attempt 2), token 1.42',
  );
  assert.equal(progressText(one), 'succeeded on shop-1 after 3.2s\n  answer: 12 invoices sent');
});
