import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { excerptLimitBytes, excerptOf } from './excerpt.ts';

test('a short text stays as it is, and nothing is null', () => {
  assert.equal(excerptOf('12 invoices'), '12 invoices');
  assert.equal(excerptOf(''), null);
});

test('what PostgreSQL refuses is replaced', () => {
  assert.equal(excerptOf('a\0b\ud800c'), 'a\ufffdb\ufffdc');
});

test('a long text is cut between characters', () => {
  assert.equal(excerptOf('a€€', 6), 'a€');
  assert.equal(excerptOf('a€€', 7), 'a€€');
  assert.equal(excerptOf('😀😀', 7), '😀');
});

test('whatever is said, what is kept is well-formed, within the limit, and its beginning', () => {
  const any = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(any, fc.integer({ min: 1, max: 60 }), (text, limitBytes) => {
      const kept = excerptOf(text, limitBytes) ?? '';
      assert.ok(kept.isWellFormed() && !kept.includes('\0'));
      assert.ok(Buffer.byteLength(kept) <= limitBytes);
      assert.ok(text.toWellFormed().replaceAll('\0', '\ufffd').startsWith(kept));
    }),
  );
  assert.equal(excerptOf('x'.repeat(1_000_000))?.length, excerptLimitBytes);
});
