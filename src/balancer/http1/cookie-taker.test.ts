import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CookieTaker } from './cookie-taker.ts';
import { HeadWriter } from './head-writer.ts';

/** What every socket reads into, one after the other. */
const shared = Buffer.alloc(8_192);
const writer = new HeadWriter();

/** The headers of one request: what is left of each, the value that was taken, and of how many. */
function take(taker: CookieTaker, ...headers: readonly string[]) {
  taker.reset();
  const left = headers.map((text) => {
    shared.write(`before${text}behind`, 'latin1');
    taker.write(writer, shared, 6, 6 + text.length);
    return writer.take().toString('latin1');
  });
  return { left, value: taker.value, count: taker.count };
}

const taking = (...headers: readonly string[]) => take(new CookieTaker('holdfast'), ...headers);

test('the cookie is taken out and the others stay as they were', () => {
  assert.deepEqual(taking('a=1;  holdfast=abc; b="x; y"; c=\xe9'), {
    left: ['Cookie: a=1; b="x; y"; c=\xe9\r\n'],
    value: 'abc',
    count: 1,
  });
});

test('a header without it passes whole', () => {
  for (const text of ['a=1; b=2', 'holdfasts=1', 'xholdfast=1', 'Holdfast=1', 'holdfast', 'a=holdfast=1'])
    assert.deepEqual(taking(text), { left: [`Cookie: ${text}\r\n`], value: '', count: 0 });
});

test('a header that held nothing else is gone, every copy is taken, and the first one counts', () => {
  assert.deepEqual(taking('holdfast="abc"', 'holdfast=def; a=1; holdfast=ghi'), {
    left: ['', 'Cookie: a=1\r\n'],
    value: 'abc',
    count: 3,
  });
  assert.deepEqual(taking('a=1', 'holdfast=def'), { left: ['Cookie: a=1\r\n', ''], value: 'def', count: 1 });
});

test('quotes and spaces around the value do not belong to it; an equals sign in it does', () => {
  assert.equal(taking(' holdfast = "a b" ').value, 'a b');
  assert.equal(taking('holdfast=a==').value, 'a==');
  assert.equal(taking('holdfast="').value, '"');
  assert.equal(taking('holdfast=').value, '');
});

const pieces = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary-ascii' }),
      fc.constantFrom('holdfast=x', ' holdfast = y', 'holdfast="z"', 'holdfast', '=;', 'a=b'),
    ),
  )
  .map((parts) => parts.join(';').trim());

test('P10: whatever a header holds, no copy of the cookie is left in it, and nothing else is lost', () => {
  fc.assert(
    fc.property(pieces, (text) => {
      const { left, count } = taking(text);
      const rest = left[0]?.slice('Cookie: '.length, -2) ?? '';
      assert.deepEqual(taking(rest).count, 0);
      assert.equal(rest.split(';').length, Math.max(1, text.split(';').length - count));
    }),
  );
});

test('what is remembered of the latest header makes no difference to what becomes of the next', () => {
  fc.assert(
    fc.property(fc.array(fc.array(pieces, { maxLength: 3 }), { maxLength: 6 }), (requests) => {
      const taker = new CookieTaker('holdfast');
      for (const headers of requests.flatMap((one) => [one, one]))
        assert.deepEqual(take(taker, ...headers), taking(...headers));
    }),
  );
});
