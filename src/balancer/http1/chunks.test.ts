import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkReader, chunkHead } from './chunks.ts';

const piece = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
/** The same size may be written in many ways. */
const sizeLine = (length: number, zeros: number, upper: boolean): string => {
  const digits = `${'0'.repeat(zeros)}${length.toString(16)}`;
  return `${upper ? digits.toUpperCase() : digits}\r\n`;
};
const chunk = fc
  .tuple(piece, fc.nat(10), fc.boolean())
  .map(([text, zeros, upper]) => ({ text, wire: `${sizeLine(text.length, zeros, upper)}${text}\r\n` }));

interface Followed {
  readonly payload: string;
  /** Where the trailers begin; -1: not before the end of the bytes; undefined: it is not valid. */
  readonly end: number | undefined;
}

/** Reads bytes that come in parts, each cut at one of the places. */
function follow(wire: string, cuts: readonly number[], reader = new ChunkReader()): Followed {
  const bytes = Buffer.from(wire, 'latin1');
  const places = [...new Set([...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort(
    (a, b) => a - b,
  );
  let payload = '';
  let at = 0;
  for (const to of places) {
    while (at < to) {
      const step = reader.step(bytes, at, to);
      if (step === 'invalid') return { payload, end: undefined };
      assert.ok(
        reader.at > at && reader.at <= to,
        'every step takes something, and nothing that has not come',
      );
      if (step === 'payload') payload += bytes.toString('latin1', at, reader.at);
      at = reader.at;
      if (step === 'end') return { payload, end: at };
    }
  }
  return { payload, end: -1 };
}

const everywhere = Array.from({ length: 200 }, (_, index) => index);

test('whatever the chunks are and wherever they were split, the payload is read and the trailers are found', () => {
  fc.assert(
    fc.property(
      fc.array(chunk),
      fc.nat(10),
      fc.array(fc.nat(400)),
      fc.string(),
      (chunks, zeros, cuts, rest) => {
        const wire = `${chunks.map((each) => each.wire).join('')}${sizeLine(0, zeros, false)}`;
        const payload = chunks.map(({ text }) => text).join('');
        assert.deepEqual(follow(wire + rest, cuts), { payload, end: wire.length });
      },
    ),
  );
});

test('a body that has not ended is followed as far as it has come', () => {
  const wire = '5\r\nhello\r\n00A\r\n0123456789\r\n';
  for (let length = 0; length <= wire.length; length++)
    assert.equal(follow(wire.slice(0, length), everywhere).end, -1);
});

test('P10: framing that could be read in two ways is not valid, wherever it was split', () => {
  const wrong = [
    '\r\n',
    ' 5\r\nhello\r\n',
    '5 \r\nhello\r\n',
    '5\nhello\r\n',
    '5\r\rhello\r\n',
    '5;name=value\r\nhello\r\n',
    '5;\r\nhello\r\n',
    '0;a\r\n',
    '+5\r\nhello\r\n',
    '-0\r\n',
    '0x5\r\nhello\r\n',
    'g\r\n',
    '5\r\nhello0\r\n',
    '5\r\nhello\n0\r\n',
    '5\r\nhello\r0\r\n',
    '5\r\nhello\rx0\r\n',
    '5\r\nhellox\n0\r\n',
    '5\r\nhell\r\n0\r\n',
    '5\r\nhello\r\n\r\n',
    '\x00\r\n',
  ];
  for (const wire of wrong) {
    assert.equal(follow(wire, []).end, undefined, JSON.stringify(wire));
    assert.equal(follow(wire, everywhere).end, undefined, JSON.stringify(wire));
  }
});

test('P10: a size of more than 13 digits is not valid, and the largest of 13 is exact', () => {
  assert.equal(follow('00000000000005\r\n', everywhere).end, undefined);
  assert.equal(follow('fffffffffffff0', []).end, undefined);
  assert.deepEqual(follow('fffffffffffff\r\nhello', []), { payload: 'hello', end: -1 });
});

test('a reader that was left in the middle of anything begins anew after a reset', () => {
  const reader = new ChunkReader();
  const whole = '0000000000003\r\nabc\r\n0\r\n';
  for (const left of ['5', '5\r', '5\r\nhel', '5\r\nhello\r', '0\r\n', 'x']) {
    follow(left, everywhere, reader);
    reader.reset();
    assert.deepEqual(follow(whole, [], reader), { payload: 'abc', end: whole.length }, JSON.stringify(left));
  }
});

test('the framing for a piece of payload is the one that is read', () => {
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const wire = pieces.map((text) => `${chunkHead(text.length)}${text}\r\n`).join('');
      assert.equal(follow(`${wire}${chunkHead(0)}`, []).payload, pieces.join(''));
    }),
  );
});
