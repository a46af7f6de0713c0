import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  applyDelta,
  composeDeltas,
  conflictingKeys,
  type MergeResolvers,
  mergeAppended,
  mergeCounter,
  rebaseDelta,
  type SessionDelta,
  type SessionValues,
  sessionDelta,
} from './session-merge.ts';

const key = fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor');
const texts = fc
  .dictionary(key, fc.constantFrom('1', '2', '"x"', '[1]'))
  .map((it) => new Map(Object.entries(it)));
const values = texts.map(
  (it): SessionValues => new Map([...it].map(([name, text], index) => [name, { version: index + 1, text }])),
);

function textsOf(stored: SessionValues): Map<string, string> {
  return new Map([...stored].map(([name, { text }]) => [name, text]));
}

function sorted(map: ReadonlyMap<string, string>): [string, string][] {
  return [...map].sort(([one], [other]) => (one < other ? -1 : 1));
}

/** Saves as a store does: apply, or merge with what is there until nobody else came first. */
function save(current: SessionValues, delta: SessionDelta, version: number, resolvers: MergeResolvers = {}) {
  return applyDelta(current, rebaseDelta(delta, current, resolvers), version);
}

test('a delta turns what was read into what is there now', () => {
  fc.assert(
    fc.property(values, texts, (read, now) => {
      const after = applyDelta(read, sessionDelta(read, now), 99);
      assert.deepEqual(sorted(textsOf(after)), sorted(now));
    }),
  );
});

test('a request that changed nothing sends nothing', () => {
  fc.assert(fc.property(values, (read) => assert.equal(sessionDelta(read, textsOf(read)).size, 0)));
});

test('P6: a save leaves every key alone that its request did not change', () => {
  fc.assert(
    fc.property(values, texts, texts, (read, mine, theirs) => {
      const between = save(read, sessionDelta(read, theirs), 50);
      const delta = sessionDelta(read, mine);
      const after = save(between, delta, 51);
      for (const name of new Set([...between.keys(), ...after.keys()])) {
        if (!delta.has(name)) assert.deepEqual(after.get(name), between.get(name));
      }
    }),
  );
});

test('P6: requests that changed different keys end the same in either order', () => {
  fc.assert(
    fc.property(values, texts, texts, (read, one, other) => {
      const first = sessionDelta(read, one);
      const second = new Map([...sessionDelta(read, other)].filter(([name]) => !first.has(name)));
      assert.deepEqual(conflictingKeys(save(read, first, 50), second), []);
      const forth = save(save(read, first, 50), second, 51);
      const back = save(save(read, second, 50), first, 51);
      assert.deepEqual(sorted(textsOf(forth)), sorted(textsOf(back)));
    }),
  );
});

test('every key that both changed is a conflict, and no other', () => {
  fc.assert(
    fc.property(values, texts, texts, (read, one, other) => {
      const first = sessionDelta(read, one);
      const second = sessionDelta(read, other);
      const expected = [...second.keys()].filter((name) => {
        // Absent before and removed again is no change that anybody could see.
        return first.has(name) && (read.has(name) || first.get(name)?.text !== undefined);
      });
      assert.deepEqual(conflictingKeys(save(read, first, 50), second).sort(), expected.sort());
    }),
  );
});

test('a rebased delta has no conflict with what it was rebased on', () => {
  fc.assert(
    fc.property(values, values, texts, (read, current, mine) => {
      const rebased = rebaseDelta(sessionDelta(read, mine), current, { a: mergeCounter, b: mergeAppended });
      assert.deepEqual(conflictingKeys(current, rebased), []);
    }),
  );
});

test('two deltas composed do what they do one after the other', () => {
  fc.assert(
    fc.property(values, texts, texts, (read, once, twice) => {
      const first = sessionDelta(read, once);
      const between = applyDelta(read, first, 50);
      const second = sessionDelta(between, twice);
      const composed = composeDeltas(first, second);
      assert.deepEqual(conflictingKeys(read, composed), []);
      assert.deepEqual(sorted(textsOf(applyDelta(read, composed, 51))), sorted(twice));
    }),
  );
});

test('without a resolver the later save wins', () => {
  const read: SessionValues = new Map([['a', { version: 1, text: '1' }]]);
  const theirs = save(read, sessionDelta(read, new Map([['a', '2']])), 2);
  const after = save(theirs, sessionDelta(read, new Map([['a', '3']])), 3);
  assert.equal(after.get('a')?.text, '3');
  const removed = save(theirs, sessionDelta(read, new Map()), 3);
  assert.equal(removed.has('a'), false);
});

test('a key that was removed and added again is not mistaken for the old one', () => {
  const read: SessionValues = new Map([['a', { version: 1, text: '1' }]]);
  const removed = save(read, sessionDelta(read, new Map()), 2);
  const again = save(removed, sessionDelta(removed, new Map([['a', '1']])), 3);
  assert.deepEqual(conflictingKeys(again, sessionDelta(read, new Map([['a', '9']]))), ['a']);
});

test('a merged counter counts every request, in any order', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9 }), fc.array(fc.integer({ min: -5, max: 5 })), (start, steps) => {
      const read: SessionValues = new Map([['n', { version: 1, text: String(start) }]]);
      const deltas = steps.map((step) => sessionDelta(read, new Map([['n', String(start + step)]])));
      let current = read;
      deltas.forEach((delta, index) => {
        current = save(current, delta, index + 2, { n: mergeCounter });
      });
      assert.equal(Number(current.get('n')?.text), start + steps.reduce((sum, step) => sum + step, 0));
    }),
  );
});

test('a merged list keeps what every request appended', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(9), { maxLength: 3 }), { maxLength: 6 }), (appended) => {
      const read: SessionValues = new Map([['list', { version: 1, text: '[0]' }]]);
      let current = read;
      appended.forEach((items, index) => {
        const delta = sessionDelta(read, new Map([['list', JSON.stringify([0, ...items])]]));
        current = save(current, delta, index + 2, { list: mergeAppended });
      });
      assert.deepEqual(JSON.parse(current.get('list')?.text ?? ''), [0, ...appended.flat()]);
    }),
  );
});

test('resolvers leave values alone that are not of their kind', () => {
  assert.equal(mergeCounter(1, 'mine', 3), 'mine');
  assert.equal(mergeAppended([1], 'mine', [1, 2]), 'mine');
  assert.deepEqual(mergeAppended([1, 2], [2], [1, 2, 3]), [2, 3]);
  assert.deepEqual(mergeAppended([1, 2], [2], [1, 3]), [2]);
  assert.deepEqual(mergeAppended(undefined, ['mine'], ['theirs']), ['theirs', 'mine']);
  assert.equal(mergeCounter(undefined, 1, 1), 2);
});

test('names that every object inherits are ordinary keys', () => {
  const read: SessionValues = new Map();
  const theirs = save(read, sessionDelta(read, new Map([['constructor', '1']])), 2);
  const after = save(theirs, sessionDelta(read, new Map([['constructor', '2']])), 3);
  assert.equal(after.get('constructor')?.text, '2');
});
