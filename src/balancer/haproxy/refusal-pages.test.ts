import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindRules, pagesMap, type RefusalName, refuse } from './refusal-pages.ts';

/** What HAProxy finds in the map: the value of the first expression that matches, with what it captured. */
function found(map: string, key: string): string | undefined {
  for (const line of map.split('\n').filter((text) => text !== '')) {
    const [expression = '', ...rest] = line.split(' ');
    const match = new RegExp(expression).exec(key);
    if (match) return rest.join(' ').replace(/\\(.)/g, (_, what) => (what === '1' ? (match[1] ?? '') : what));
  }
  return undefined;
}

const names: readonly RefusalName[] = ['badRequest', 'noInstance', 'fateUnknown', 'underMaintenance', 'lost'];

test('each answer has a page for people, one for programs, and a line for the rest', () => {
  const map = pagesMap({});
  for (const name of names) {
    assert.match(found(map, `${name}.html.4bf9`) ?? '', /^<!doctype html>.*<code>4bf9<\/code>/, name);
    assert.equal(JSON.parse(found(map, `${name}.json.4bf9`) ?? '').requestId, '4bf9', name);
    assert.match(found(map, `${name}.text.4bf9`) ?? '', /^[A-Z][^<{]+\.$/, name);
    assert.equal(found(map, `${name}..`), found(map, `${name}.text.4bf9`), 'before the headers are read');
  }
});

test('of the name of one answer no other one is found', () => {
  const map = pagesMap({});
  assert.notEqual(found(map, 'noResponse.text.'), found(map, 'noResponseFateUnknown.text.'));
  assert.equal(found(map, 'nothing.html.4bf9'), undefined);
});

test('own pages are for people only, may say the id more than once, and are one line for HAProxy', () => {
  const page = '<p>Zurück um \\d+\r\n<b>{{requestId}}</b> {{ requestId }}\n';
  const map = pagesMap({ '503': page, maintenance: 'Wartung' });
  assert.equal(found(map, 'noInstance.html.4bf9'), '<p>Zurück um \\d+ <b>4bf9</b> 4bf9');
  assert.equal(found(map, 'underMaintenance.html.4bf9'), 'Wartung');
  assert.match(found(map, 'noInstance.text.4bf9') ?? '', /No instance/);
  assert.ok(map.split('\n').every((line) => line === '' || line.startsWith('^')));
});

test('a refusal is kept by nobody, ends the connection, and says when to come again', () => {
  const rule = refuse('allBusy', '/run/pages.map', 'if { always_true }');
  assert.match(rule, /^http-request return status 503 /);
  assert.match(
    rule,
    / hdr cache-control no-store hdr retry-after 2 hdr connection close if \{ always_true \}$/,
  );
});

/** The kind that the rules of HAProxy leave behind for this Accept header. */
function kindFor(accept: string): string | undefined {
  let kind: string | undefined;
  for (const rule of kindRules.split('\n')) {
    const [, name, pattern] = /str\((\w+)\)(?: if .* -m reg -i '(.*)' \})?$/.exec(rule) ?? [];
    const posix = pattern?.replaceAll('[[:space:]]', '\\s');
    if (posix === undefined || new RegExp(posix, 'i').test(accept)) kind = name;
  }
  return kind;
}

test('Accept is read as it is meant', () => {
  for (const [accept, kind] of [
    ['*/*', 'text'],
    ['', 'text'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'html'],
    ['application/json, text/plain, */*', 'json'],
    ['text/html;q=0.5, application/json', 'json'],
    ['application/json;q=0.5, text/html', 'html'],
    ['text/html;q=0, application/json;q=0.1', 'json'],
    ['application/problem+json', 'json'],
    ['text/html;level=1;q=0.0', 'text'],
  ] as const) {
    assert.equal(kindFor(accept), kind, accept);
  }
});
