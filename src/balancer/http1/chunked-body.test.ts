import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkedBody, type ChunkSink } from './chunked-body.ts';
import { trailerBytes } from './trailers.ts';

/** Remembers all that it is told. */
class Notes implements ChunkSink {
  wire = '';
  payload = '';
  /** One entry for each time that the body was said to be complete. */
  readonly trailers: string[] = [];

  chunkWire(bytes: Buffer, from: number, to: number): void {
    this.wire += bytes.toString('latin1', from, to);
  }

  chunkPayload(bytes: Buffer, from: number, to: number): void {
    this.payload += bytes.toString('latin1', from, to);
  }

  chunksEnded(lines: string): void {
    this.trailers.push(lines);
  }
}

/** Feeds bytes that come in parts, each cut at one of the places; says where the body ended in all of them. */
function feed(text: string, cuts: readonly number[], body = new ChunkedBody()) {
  const notes = new Notes();
  const all = Buffer.from(text, 'latin1');
  const places = [...new Set([...cuts.filter((cut) => cut < all.length), all.length])].sort((a, b) => a - b);
  let from = 0;
  let end = 0;
  for (const to of places) {
    if (from === to || notes.trailers.length > 0) continue;
    // Each part in a buffer of its own that is used again afterwards, as a socket's is, and behind other bytes.
    const part = Buffer.concat([Buffer.from('before'), all.subarray(from, to), Buffer.from('behind')]);
    const last = 6 + to - from;
    const reached = body.feed(part, 6, last, false, notes);
    part.fill('?');
    if (reached < 0) return { ...notes, end: -1 };
    assert.ok(reached <= last && (notes.trailers.length > 0 || reached === last));
    end = from + reached - 6;
    from = to;
  }
  return { ...notes, end };
}

const everywhere = Array.from({ length: 300 }, (_, index) => index);
const latin1 = fc
  .uint8Array({ minLength: 1, maxLength: 30 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const trailer = fc.tuple(fc.stringMatching(/^X-[a-z]{1,8}$/), fc.stringMatching(/^[!-~]{0,20}$/));

test('whatever the chunks, the trailers and the splits are, all of it arrives, and what follows is left', () => {
  fc.assert(
    fc.property(
      fc.array(latin1),
      fc.array(trailer, { maxLength: 4 }),
      fc.array(fc.nat(300)),
      fc.string({ maxLength: 40 }),
      (pieces, trailers, cuts, rest) => {
        const wire = `${pieces.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('')}0\r\n`;
        const lines = trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
        assert.deepEqual(feed(`${wire}${lines}\r\n${Buffer.from(rest).toString('latin1')}`, cuts), {
          wire,
          payload: pieces.join(''),
          trailers: [lines],
          end: wire.length + lines.length + 2,
        });
      },
    ),
  );
});

test('a body is complete with its last byte and not before', () => {
  const whole = '3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n';
  for (let length = 1; length < whole.length; length++) {
    const { trailers, end } = feed(whole.slice(0, length), everywhere);
    assert.deepEqual([trailers, end], [[], length]);
  }
  assert.deepEqual(feed(whole, everywhere).trailers, ['X-A: 1\r\n']);
});

test('P10: wrong framing and wrong trailers end it, wherever they were split', () => {
  const wrong = [
    '5;a\r\n',
    '5\nhello',
    '3\r\nabcd',
    'fffffffffffffff\r\n',
    '0\r\nX-A : 1\r\n\r\n',
    '0\r\nX-A: 1\n\r\n',
    '0\r\n\rx',
    `0\r\nX-A: ${'x'.repeat(trailerBytes)}\r\n\r\n`,
  ];
  for (const text of wrong) {
    assert.equal(feed(text, []).end, -1, text.slice(0, 40));
    assert.equal(feed(text, [...everywhere, 4_000, 8_000]).end, -1, text.slice(0, 40));
  }
});

test('trailers that drip in for ever are refused when they are too long', () => {
  const body = new ChunkedBody();
  const notes = new Notes();
  body.feed(Buffer.from('0\r\nX-A: '), 0, 8, false, notes);
  const drip = Buffer.from('x');
  let fed = 5;
  while (body.feed(drip, 0, 1, false, notes) === 1) fed++;
  assert.equal(fed, trailerBytes);
});

test('a body ends where it ends, however much of the next request came with it', () => {
  const next = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n${'x'.repeat(60_000)}`;
  for (const body of ['0\r\n\r\n', '3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n']) {
    assert.equal(feed(body + next, []).end, body.length);
    assert.equal(feed(body + next, [body.length - 1]).end, body.length);
  }
});

test('the next body begins anew after a reset, whatever became of the last one', () => {
  const body = new ChunkedBody();
  for (const left of ['5\r\nhel', '0\r\n', '0\r\nX-A: 1', 'x']) {
    feed(left, [], body);
    body.reset();
    assert.equal(feed('1\r\na\r\n0\r\n\r\n', [], body).payload, 'a', JSON.stringify(left));
  }
});
