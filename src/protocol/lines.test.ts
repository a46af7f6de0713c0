import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { jsonFields, lineSplitter } from './lines.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('a line may arrive in pieces, and several lines in one piece', () => {
  const splitter = lineSplitter();
  assert.deepEqual(splitter.push(bytes('one\ntw')), ['one']);
  assert.deepEqual(splitter.push(bytes('o')), []);
  assert.deepEqual(splitter.push(bytes('\n\nfour\n')), ['two', '', 'four']);
  assert.deepEqual(splitter.end(), []);
});

test('the last line counts without its newline', () => {
  const splitter = lineSplitter();
  assert.deepEqual(splitter.push(bytes('done\nalmost')), ['done']);
  assert.deepEqual(splitter.end(), ['almost']);
  assert.deepEqual(splitter.end(), []);
});

test('a carriage return before the newline is no content, also when the two arrive apart', () => {
  const splitter = lineSplitter();
  assert.deepEqual(splitter.push(bytes('a\r\nb\r')), ['a']);
  assert.deepEqual(splitter.push(bytes('\nc\rd\n')), ['b', 'c\rd']);
});

test('a character that arrives in halves is whole, and bytes that are no UTF-8 become a mark', () => {
  const splitter = lineSplitter();
  const [first, ...rest] = bytes('€');
  assert.deepEqual(splitter.push(Uint8Array.of(first ?? 0)), []);
  assert.deepEqual(splitter.push(Uint8Array.of(...rest, 0x0a)), ['€']);
  assert.deepEqual(splitter.push(Uint8Array.of(0x61, 0xff, 0xfe, 0x62, 0x0a)), ['a\ufffd\ufffdb']);
  assert.deepEqual(splitter.push(Uint8Array.of(0xe2, 0x82)), []);
  assert.deepEqual(splitter.end(), ['\ufffd']);
});

test('a line beyond the limit is cut and says how much is missing', () => {
  const splitter = lineSplitter(10);
  assert.deepEqual(splitter.push(bytes('1234567890\n1234567890\r\n')), ['1234567890', '1234567890']);
  assert.deepEqual(splitter.push(bytes('12345678901\n')), ['1234567890… [1 more characters cut]']);
  for (let i = 0; i < 1_000; i++) assert.deepEqual(splitter.push(bytes('x'.repeat(100))), []);
  assert.deepEqual(splitter.push(bytes('\nnext\n')), [
    `${'x'.repeat(10)}… [99990 more characters cut]`,
    'next',
  ]);
});

test('a cut does not go through the middle of a character', () => {
  assert.deepEqual(lineSplitter(3).push(bytes('ab😀cd\n')), ['ab… [4 more characters cut]']);
});

test('however the bytes are cut into pieces, the lines are the same', () => {
  const text = fc.array(fc.constantFrom('a', 'é', '😀', '\n', '\r\n', '{', ' '), { maxLength: 60 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(5), { maxLength: 60 }), (parts, cuts) => {
      const all = bytes(parts.join(''));
      const splitter = lineSplitter(8);
      const lines: string[] = [];
      let from = 0;
      for (const cut of cuts) {
        lines.push(...splitter.push(all.subarray(from, from + cut)));
        from += cut;
      }
      lines.push(...splitter.push(all.subarray(from)), ...splitter.end());
      const whole = lineSplitter(8);
      assert.deepEqual(lines, [...whole.push(all), ...whole.end()]);
    }),
  );
});

test('a line that is one JSON object is also its fields; anything else is only a line', () => {
  assert.deepEqual(jsonFields(' {"level":30,"msg":"up"} '), { level: 30, msg: 'up' });
  for (const line of ['', 'text', '[1]', '"a"', '{', '{not json}', '{"a":1} {"b":2}', 'null']) {
    assert.equal(jsonFields(line), undefined, line);
  }
});
