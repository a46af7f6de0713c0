import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { isTraceparent, traceIdOf, traceSource } from './trace.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';
const valid = `00-${traceId}-${parentId}-01`;

test('a trace id has 32 lower-case hexadecimal digits and does not come twice', () => {
  const source = traceSource(randomBytes);
  const ids = new Set(Array.from({ length: 5_000 }, () => source.nextTraceId()));
  assert.equal(ids.size, 5_000);
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
});

test('a traceparent that is made is valid, and marked as sampled', () => {
  const source = traceSource(randomBytes);
  for (let i = 0; i < 1_000; i++) {
    const made = source.nextTraceparent();
    assert.equal(isTraceparent(made), true, made);
    assert.ok(made.endsWith('-01'));
    assert.match(traceIdOf(made), /^[0-9a-f]{32}$/);
  }
});

test('random bytes are drawn in blocks, each used up and none twice', () => {
  const blocks: Buffer[] = [];
  const source = traceSource((bytes) => {
    blocks.push(randomBytes(bytes));
    return blocks.at(-1) as Buffer;
  });
  const idsInBlock = () => (blocks[0]?.length ?? 0) / 16;
  const ids = [source.nextTraceId()];
  while (ids.length < 3 * idsInBlock()) ids.push(source.nextTraceId());
  assert.equal(blocks.length, 3);
  assert.equal(ids.join(''), Buffer.concat(blocks).toString('hex'));
});

test('an id of zeros only, which stands for none, is passed over', () => {
  const begins = (start: Buffer, filling: number) => (bytes: number) =>
    Buffer.concat([start, Buffer.alloc(bytes - start.length, filling)]);
  assert.equal(traceSource(begins(Buffer.alloc(32), 0xab)).nextTraceId(), 'ab'.repeat(16));
  const traceThenZeros = Buffer.concat([Buffer.alloc(16, 1), Buffer.alloc(8)]);
  const expected = `00-${'01'.repeat(16)}-${'02'.repeat(8)}-01`;
  assert.equal(traceSource(begins(traceThenZeros, 2)).nextTraceparent(), expected);
});

test('digits are written in place, are those of the block, and never all zero', () => {
  const target = Buffer.from('<________________>');
  traceSource((bytes) => Buffer.alloc(bytes, 0xa7)).writeDigits(target, 1, 16);
  assert.equal(target.toString(), `<${'a7'.repeat(8)}>`);
  traceSource((bytes) => Buffer.alloc(bytes)).writeDigits(target, 1, 16);
  assert.equal(target.toString(), `<${'0'.repeat(15)}1>`);
});

test('a valid traceparent is known, and its trace id is read', () => {
  assert.equal(isTraceparent(valid), true);
  assert.equal(isTraceparent(`00-${traceId}-${parentId}-00`), true);
  assert.equal(traceIdOf(valid), traceId);
});

test('a later version is read like the first one, with fields behind a dash', () => {
  const later = `cc${valid.slice(2)}`;
  for (const good of [later, `${later}-`, `${later}-what-the-future-will-be`]) {
    assert.equal(isTraceparent(good), true, good);
  }
  for (const bad of [`${later}.`, `${later}a`, `${later}-a b`, `${later}-${'x'.repeat(201)}`]) {
    assert.equal(isTraceparent(bad), false, bad);
  }
});

test('an invalid traceparent is known as such', () => {
  const wrong = [
    '',
    valid.toUpperCase(),
    `ff${valid.slice(2)}`,
    `${valid}-`,
    `${valid}-00`,
    `${valid} `,
    ` ${valid}`,
    `${valid}\n`,
    valid.slice(0, -1),
    `0${valid.slice(2)}`,
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.slice(1)}-${parentId}-01`,
    `00-${traceId.slice(1)}g-${parentId}-01`,
    valid.replaceAll('-', '_'),
    `${valid}, ${valid}`,
  ];
  for (const text of wrong) assert.equal(isTraceparent(text), false, JSON.stringify(text));
});

test('one changed character never makes a valid traceparent out of digits that are none', () => {
  const places = fc.nat({ max: valid.length - 1 });
  fc.assert(
    fc.property(places, fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }), (at, letter) => {
      const changed = valid.slice(0, at) + letter + valid.slice(at + 1);
      const allowed = valid[at] === '-' ? '-' : at < 2 ? '0' : '0123456789abcdef';
      // A changed version is another version, which reads alike, and only ff is none.
      const otherVersion = at < 2 && /^[0-9a-f]$/.test(letter);
      assert.equal(isTraceparent(changed), allowed.includes(letter) || otherVersion);
    }),
  );
});
