import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Result } from '../doctor/examine.ts';
import { chooseChecks } from './doctor.ts';
import { reportPage } from './doctor-page.ts';
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
  assert.match(
    summaryText(results, 1_234),
    /^1 green, 0 yellow, 1 red, 0 not checked {2}in 1\.2 s.*\nred: arbiter\.primary$/,
  );
  const { counts, at, checks } = reportJson('shop', new Date(0), results);
  assert.deepEqual(counts, { green: 1, yellow: 0, red: 1, 'not checked': 0 });
  assert.equal(at, '1970-01-01T00:00:00.000Z');
  assert.equal(checks.length, 2);
});

test('P10: the page has every result, forbids scripts, and nothing that others have written is markup', () => {
  const results = [
    result({
      evidence: ['shop-1: <script>alert("1")</script> & more.'],
      verdict: 'red',
      remedy: "Don't <b>wait</b>.",
    }),
    result({ id: 'hosts.disk', group: 'hosts', claim: 'There is room' }),
  ];
  const page = reportPage(reportJson('sh<op', new Date(0), results));
  assert.match(page, /shop-1: &lt;script&gt;alert\(&quot;1&quot;\)&lt;\/script&gt; &amp; more\./);
  assert.match(page, /Don&#39;t &lt;b&gt;wait/);
  assert.match(page, /<h1>sh&lt;op<\/h1>/);
  assert.match(page, /id="hosts\.disk"/);
  assert.match(page, /default-src 'none'/);
  assert.doesNotMatch(page, /<script|<h2>Instances/);
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
