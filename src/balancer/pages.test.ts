import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { HoldfastError } from '../support/errors.ts';
import { loadPages, type PageFacts, pageFor } from './pages.ts';

const facts: PageFacts = {
  status: 503,
  title: 'Service Unavailable',
  text: 'No instance of the application can be reached at the moment.',
  retryAfterS: 2,
  requestId: '0af7651916cd43dd8448eb211c80319c',
  accept: undefined,
};

const kindFor = (accept: string | undefined): string =>
  pageFor({ ...facts, accept }, {}).contentType.replace(/;.*/, '');

test('who accepts everything, or says nothing, gets plain text', () => {
  const body =
    'No instance of the application can be reached at the moment. Please try again in 2 seconds.\n';
  for (const accept of [undefined, '*/*', '*/*;q=0.1', 'text/*', 'image/webp,*/*;q=0.8']) {
    assert.deepEqual(
      pageFor({ ...facts, accept }, {}),
      { contentType: 'text/plain; charset=utf-8', body },
      accept,
    );
  }
});

test('browsers get HTML', () => {
  const chromium =
    'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8';
  const firefox = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
  for (const accept of [chromium, firefox, 'TEXT/HTML', 'text/html;level=1', 'text/html, */*']) {
    assert.equal(kindFor(accept), 'text/html', accept);
  }
});

test('programs that ask for JSON get problem details', () => {
  const asking = [
    'application/json',
    'application/problem+json',
    'application/vnd.api+json',
    'application/*',
    'application/json, text/plain, */*',
    'application/json, text/javascript, */*; q=0.01',
    '*/*;q=0.1, Application/JSON ; q=0.2',
  ];
  for (const accept of asking) assert.equal(kindFor(accept), 'application/problem+json', accept);
});

test('the q-values decide, then what was named, then what was named first', () => {
  const cases: [accept: string, kind: string][] = [
    ['text/html;q=0.8, application/json;q=0.9', 'application/problem+json'],
    ['text/html;q=0.9, application/json;q=0.8', 'text/html'],
    ['text/html, application/json', 'text/html'],
    ['application/json, text/html', 'application/problem+json'],
    ['text/plain;q=0.5, text/html;q=0.4, */*;q=0.3', 'text/plain'],
    ['text/plain;q=0, */*', 'text/html'],
    ['text/*;q=0, */*;q=0.1', 'application/problem+json'],
    ['text/html;q=0, text/*', 'text/plain'],
    ['application/json;q=0, application/*', 'text/plain'],
    ['application/json;q=0, application/problem+json;q=0.5', 'application/problem+json'],
    ['*/*, text/html;q=0.1', 'text/plain'],
    ['text/html;q=1.5, application/json;q=0.1', 'application/problem+json'],
  ];
  for (const [accept, kind] of cases) assert.equal(kindFor(accept), kind, accept);
});

test('who accepts nothing of ours is told in plain text', () => {
  for (const accept of ['image/png', '', '*/*;q=0', 'text/html;q=0', 'nonsense', ';;,,;q=']) {
    assert.equal(kindFor(accept), 'text/plain', accept);
  }
});

test('JSON follows RFC 9457', () => {
  const { body } = pageFor({ ...facts, accept: 'application/json' }, {});
  assert.deepEqual(JSON.parse(body), {
    type: 'about:blank',
    title: 'Service Unavailable',
    status: 503,
    detail: 'No instance of the application can be reached at the moment.',
    retryAfterS: 2,
    requestId: '0af7651916cd43dd8448eb211c80319c',
  });
  const bare = pageFor({ status: 400, title: 'Bad Request', text: 'x', accept: 'application/json' }, {});
  assert.deepEqual(Object.keys(JSON.parse(bare.body)), ['type', 'title', 'status', 'detail']);
});

test('the built-in page says all there is to say, in less than 3 KB, and asks nobody for anything', () => {
  const { body } = pageFor({ ...facts, accept: 'text/html' }, {});
  for (const part of ['503', facts.title, facts.text, 'in 2 seconds', facts.requestId as string]) {
    assert.ok(body.includes(part), part);
  }
  assert.ok(Buffer.byteLength(body) < 3_072, `${Buffer.byteLength(body)} bytes`);
  assert.doesNotMatch(body, /<script|<link|src=|url\(|@import|http-equiv/);
  const bare = pageFor({ status: 400, title: 'Bad Request', text: 'x', accept: 'text/html' }, {}).body;
  assert.doesNotMatch(bare, /Request <code>|try again|undefined/);
});

test('nothing that is filled in can be taken for markup', () => {
  const nasty = `<script>alert("1")</script>'&amp;{{text}}$&`;
  const shown = '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;amp;{{text}}$&amp;';
  const all = { status: 500, title: nasty, text: nasty, requestId: nasty, accept: 'text/html' };
  const builtIn = pageFor(all, {}).body;
  assert.equal(builtIn.split(shown).length - 1, 4);
  assert.ok(!builtIn.includes('<script'));
  const own = pageFor(all, { 500: '<p>{{text}}</p><i title="{{ requestId }}">{{other}}</i>' }).body;
  assert.equal(own, `<p>${shown}</p><i title="${shown}">{{other}}</i>`);
});

test('an own file stands instead of the page of its status, for those who get HTML', () => {
  const own = { 503: '<h1>Back soon</h1> {{requestId}}', maintenance: '<h1>Closed</h1>' };
  const page = { ...facts, accept: 'text/html' };
  assert.equal(pageFor(page, own).body, '<h1>Back soon</h1> 0af7651916cd43dd8448eb211c80319c');
  assert.equal(pageFor({ ...page, requestId: undefined }, own).body, '<h1>Back soon</h1> ');
  assert.equal(pageFor({ ...page, maintenance: true }, own).body, '<h1>Closed</h1>');
  assert.equal(pageFor({ ...page, maintenance: true }, { 503: 'x' }).body, 'x');
  assert.match(pageFor({ ...page, status: 502 }, own).body, /<title>Service Unavailable</);
  assert.match(pageFor({ ...facts, accept: '*/*' }, own).body, /^No instance/);
  assert.match(pageFor({ ...facts, accept: 'application/json' }, own).body, /^\{/);
});

test('when to try again is said in units that people use', () => {
  const cases: [seconds: number, words: string][] = [
    [0.4, 'a second'],
    [1, 'a second'],
    [30, '30 seconds'],
    [119, '119 seconds'],
    [120, '2 minutes'],
    [121, '3 minutes'],
    [7_200, '2 hours'],
  ];
  for (const [retryAfterS, words] of cases) {
    assert.match(pageFor({ ...facts, retryAfterS }, {}).body, new RegExp(`try again in ${words}\\.\n$`));
  }
});

test('no Accept header makes it throw', () => {
  const pieces = fc.constantFrom(
    'text/html',
    '*/*',
    'application/json',
    ';',
    'q=',
    '0.5',
    ',',
    ' ',
    '/',
    '=',
    '"',
    'q=1',
  );
  const accept = fc.oneof(
    fc.string(),
    fc.array(pieces).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(accept, (text) => {
      assert.match(kindFor(text), /^(?:text\/plain|text\/html|application\/problem\+json)$/);
    }),
    { numRuns: 2_000 },
  );
});

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-pages-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

test('own files are read once, at the start', async (t) => {
  const file = join(await folder(t), 'closed.html');
  await writeFile(file, '<h1>Geschloßen</h1>');
  assert.deepEqual(await loadPages({ maintenance: file, 503: file }), {
    503: '<h1>Geschloßen</h1>',
    maintenance: '<h1>Geschloßen</h1>',
  });
  assert.deepEqual(await loadPages({}), {});
});

test('P10: a file that cannot be used is named together with its setting', async (t) => {
  const path = await folder(t);
  const latin1 = join(path, 'latin1.html');
  await writeFile(latin1, Buffer.from('Geschlo\xdfen', 'latin1'));
  const cases: [files: Record<string, string>, message: RegExp][] = [
    [{ 503: join(path, 'none.html') }, /^balancer\.pages\.503: .*none\.html cannot be used: ENOENT/],
    [{ maintenance: path }, /^balancer\.pages\.maintenance: .* cannot be used: EISDIR/],
    [{ 502: latin1 }, /^balancer\.pages\.502: .*latin1\.html cannot be used: it is not UTF-8/],
    [{ 200: latin1 }, /^balancer\.pages\.200: there is no such page/],
    [{ down: latin1 }, /^balancer\.pages\.down: there is no such page/],
  ];
  for (const [files, message] of cases) {
    await assert.rejects(loadPages(files), (error) => {
      assert.ok(error instanceof HoldfastError);
      assert.equal(error.code, 'CONFIGURATION_INVALID');
      assert.ok(error.remedy);
      assert.match(error.message, message);
      return true;
    });
  }
});
