import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepOutput } from './output-keeper.ts';

function kept(limitBytes: number, pieces: readonly (string | Uint8Array)[]) {
  const keeper = keepOutput(limitBytes);
  for (const piece of pieces) keeper.push(Buffer.from(piece as Uint8Array));
  return keeper.end();
}

test('what fits is kept whole, however it arrives', () => {
  assert.deepEqual(kept(10, []), { output: '', truncated: false });
  assert.deepEqual(kept(10, ['0123', '456', '789']), { output: '0123456789', truncated: false });
  assert.deepEqual(kept(10, ['0123456789']), { output: '0123456789', truncated: false });
  assert.deepEqual(
    kept(
      6,
      [...Buffer.from('aé€')].map((byte) => Uint8Array.of(byte)),
    ),
    {
      output: 'aé€',
      truncated: false,
    },
  );
});

test('of what does not fit the beginning and the end are kept, and the rest is counted', () => {
  const text = '0123456789';
  const expected = { output: '01\n… [6 bytes left out] …\n89', truncated: true };
  assert.deepEqual(kept(4, [text]), expected);
  assert.deepEqual(kept(4, [...text]), expected);
  assert.deepEqual(kept(0, [text]), { output: '\n… [10 bytes left out] …\n', truncated: true });
  assert.deepEqual(kept(9, [text]), { output: '01234\n… [1 bytes left out] …\n6789', truncated: true });
});

test('cuts fall between characters, whatever the limit and the pieces are', () => {
  const text = 'a€é😀b€€😀z'.repeat(20);
  const bytes = Buffer.from(text);
  for (let limit = 0; limit <= bytes.length; limit += 1) {
    const size = 1 + (limit % 7);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
    const { output, truncated } = kept(limit, pieces);
    assert.equal(truncated, limit < bytes.length);
    if (!truncated) {
      assert.equal(output, text);
      continue;
    }
    const [, head = '', count = '', tail = ''] =
      /^(.*)\n… \[(\d+) bytes left out\] …\n(.*)$/u.exec(output) ?? [];
    const size2 = Buffer.byteLength(head) + Buffer.byteLength(tail);
    assert.ok(text.startsWith(head) && text.endsWith(tail) && !output.includes('\ufffd'), output);
    assert.equal(size2 + Number(count), bytes.length);
    assert.ok(size2 <= limit && size2 >= limit - 6, `${size2} of ${limit}`);
  }
});

test('what is no UTF-8, and zero, which a database does not take as text, are replaced', () => {
  assert.deepEqual(kept(100, [Uint8Array.of(0x61, 0xff, 0, 0x62, 0xe2, 0x82)]), {
    output: 'a\ufffd\ufffdb\ufffd',
    truncated: false,
  });
});

test('much output costs no more memory than little', () => {
  const keeper = keepOutput(1_000);
  const piece = Buffer.alloc(1_000_003, 'x');
  for (let count = 0; count < 50; count += 1) keeper.push(piece);
  const { output } = keeper.end();
  assert.match(output, /^x{500}\n… \[49999150 bytes left out\] …\nx{500}$/);
});
