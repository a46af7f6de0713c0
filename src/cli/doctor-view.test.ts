import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Result } from '../doctor/examine.ts';
import { chooseChecks } from './doctor.ts';
import { reportJson, resultText, summaryText } from './doctor-view.ts';

const result = (changed: Partial<Result> = {}): Result => ({
  ...{ id: 'arbiter.primary', group: 'arbiter', claim: 'The arbiter answers', verdict: 'green', tookMs: 3 },
  ...{ evidence: ['PostgreSQL 18.4 at db1.'], ...changed },
});

test('a result is its verdict, its claim, what was seen and what to do, within the width of the screen', () => {
  const remedy = 'Grant the role pg_monitor, so that it can be seen which standbys there are.';
  const text = resultText(result({ verdict: 'yellow', remedy }), 60);
  assert.equal(
    text,
    `  ! The arbiter answers  arbiter.primary
      PostgreSQL 18.4 at db1.
      → Grant the role pg_monitor, so that it can be seen
        which standbys there are.`,
  );
});

test('what was not checked says so in its first line', () => {
  const text = resultText(result({ verdict: 'not checked', remedy: 'Mount the probe.' }), 80);
  assert.match(text, /^ {2}– The arbiter answers: not checked {2}arbiter\.primary\n/);
});

test('P10: what others have written cannot speak to the terminal', () => {
  const text = resultText(result({ evidence: ['shop-1: \x1b[2Jgone\r\nand more.'] }), 80);
  assert.ok(!text.includes('\x1b[2J'));
  assert.match(text, /shop-1: ·\[2Jgone and more\./);
});

test('the summary counts every verdict, and so does the report for scripts', () => {
  const results = [result(), result({ verdict: 'red', remedy: 'Start it.' })];
  assert.match(summaryText(results, 1_234), /^1 green, 0 yellow, 1 red, 0 not checked {2}in 1\.2 s/);
  const { counts, at, checks } = reportJson('shop', new Date(0), results);
  assert.deepEqual(counts, { green: 1, yellow: 0, red: 1, 'not checked': 0 });
  assert.equal(at, '1970-01-01T00:00:00.000Z');
  assert.equal(checks.length, 2);
});

test('--only takes checks and groups; another name is wrong usage, with the nearest one', () => {
  const ids = (only: string[]) => chooseChecks(only).map(({ id }) => id);
  assert.deepEqual(ids(['arbiter.latency', 'events']), [
    'arbiter.latency',
    'events.preview',
    'events.overdue',
    'events.everywhere',
  ]);
  assert.throws(() => chooseChecks(['trafic']), { code: 'USAGE', remedy: /Did you mean traffic\?/ });
});
