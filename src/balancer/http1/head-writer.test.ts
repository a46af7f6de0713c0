import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeadWriter } from './head-writer.ts';

const latin1 = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1'));

test('runs, blocks and texts stand one behind the other, byte for byte', () => {
  const write = fc.tuple(fc.constantFrom('run', 'block', 'text'), latin1);
  const writer = new HeadWriter();
  fc.assert(
    fc.property(fc.array(write), (writes) => {
      writer.clear();
      for (const [how, text] of writes) {
        if (how === 'text') writer.text(text);
        else if (how === 'block') writer.block(Buffer.from(text, 'latin1'));
        else writer.run(Buffer.from(`<<${text}>`, 'latin1'), 2, 2 + text.length);
      }
      const expected = writes.map(([, text]) => text).join('');
      assert.equal(writer.length, expected.length);
      assert.equal(writer.take().toString('latin1'), expected);
      assert.equal(writer.length, 0);
    }),
  );
});

test('it grows with what is written, and keeps what was', () => {
  const writer = new HeadWriter();
  writer.text('first ');
  writer.text('x'.repeat(65_535));
  writer.run(Buffer.alloc(300_000, 'y'), 0, 300_000);
  assert.equal(writer.take().toString('latin1'), `first ${'x'.repeat(65_535)}${'y'.repeat(300_000)}`);
});

test('what was taken stays as it is while the next message is written', () => {
  const writer = new HeadWriter();
  writer.text('first');
  const taken = writer.take();
  writer.text('other');
  assert.equal(taken.toString('latin1'), 'first');
  assert.equal(writer.take().toString('latin1'), 'other');
});
