import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assignSlots } from './slots.ts';

const held = (entries: Record<string, number>): Map<string, number> => new Map(Object.entries(entries));

test('newcomers get the first slots, and everybody keeps his own', () => {
  const { slots } = assignSlots(new Map(), ['shop-1', 'shop-2'], 4);
  assert.deepEqual(
    [...slots],
    [
      ['shop-1', 1],
      ['shop-2', 2],
    ],
  );
  assert.deepEqual(
    [...assignSlots(slots, ['shop-2', 'shop-3'], 4).slots],
    [
      ['shop-2', 2],
      ['shop-3', 3],
    ],
  );
});

test('a slot that was just given up is taken last', () => {
  const before = held({ 'shop-1': 1, 'shop-2': 2 });
  assert.deepEqual([...assignSlots(before, ['shop-3'], 3).slots], [['shop-3', 3]]);
  assert.deepEqual(
    [...assignSlots(before, ['shop-3', 'shop-4'], 3).slots],
    [
      ['shop-3', 3],
      ['shop-4', 1],
    ],
  );
});

test('P10: who finds no slot is named, and nobody loses his for it', () => {
  const { slots, without } = assignSlots(held({ a: 1, b: 2 }), ['c', 'a', 'b', 'd'], 3);
  assert.deepEqual([...slots].sort(), [
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ]);
  assert.deepEqual(without, ['d']);
});

test('whatever comes and goes: no slot is held twice, none is beyond the last, and who stays keeps his', () => {
  const name = fc.constantFrom(...'abcdefgh');
  fc.assert(
    fc.property(fc.array(fc.uniqueArray(name)), fc.integer({ min: 1, max: 6 }), (tables, count) => {
      let before: ReadonlyMap<string, number> = new Map();
      for (const instances of tables) {
        const { slots, without } = assignSlots(before, instances, count);
        const taken = [...slots.values()];
        assert.equal(new Set(taken).size, taken.length);
        assert.ok(taken.every((slot) => slot >= 1 && slot <= count));
        assert.deepEqual([...slots.keys(), ...without].sort(), [...instances].sort());
        assert.ok(without.length === 0 || slots.size === count);
        for (const [instance, slot] of before)
          if (instances.includes(instance)) assert.equal(slots.get(instance), slot);
        before = slots;
      }
    }),
  );
});
