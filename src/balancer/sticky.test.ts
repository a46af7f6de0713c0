import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stickySetCookie, takeStickyCookie } from './sticky.ts';

test('the sticky cookie is taken out and the others stay as they were', () => {
  const reading = takeStickyCookie(['Cookie', 'a=1;  holdfast=abc; b="x; y"', 'Accept', '*/*'], 'holdfast');
  assert.deepEqual(reading, { values: ['abc'], headers: ['Cookie', 'a=1; b="x; y"', 'Accept', '*/*'] });
});

test('a Cookie header that held nothing else is gone, and every copy is taken', () => {
  const headers = ['cookie', 'holdfast="abc"', 'COOKIE', 'holdfast=def; a=1; holdfast=ghi'];
  assert.deepEqual(takeStickyCookie(headers, 'holdfast'), {
    values: ['abc', 'def', 'ghi'],
    headers: ['COOKIE', 'a=1'],
  });
});

test('P10: whatever a Cookie header holds, headers of other names are untouched and no sticky pair is left', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom('holdfast=x', ' holdfast = y', 'holdfast', '=;', 'a=b'),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const { headers } = takeStickyCookie(['Cookie', pieces.join(';'), 'X-Kept', 'holdfast=z'], 'holdfast');
      assert.deepEqual(headers.slice(-2), ['X-Kept', 'holdfast=z']);
      assert.deepEqual(takeStickyCookie(headers, 'holdfast').values, []);
    }),
  );
});

test('the cookie is out of reach of scripts and other sites, and Secure where the user came by https', () => {
  assert.equal(stickySetCookie({ cookie: 'h' }, 'v', false), 'h=v; Path=/; HttpOnly; SameSite=Lax');
  assert.equal(
    stickySetCookie({ cookie: 'h', maxAgeMs: 90_500 }, 'v', true),
    'h=v; Path=/; Max-Age=90; HttpOnly; SameSite=Lax; Secure',
  );
});
