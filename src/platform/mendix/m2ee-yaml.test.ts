import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { type M2eeMap, type M2eeReading, readM2ee } from './m2ee-yaml.ts';

/** The texts as files a, b, c; those of `included` are there to be included. */
function read(
  texts: readonly string[],
  included: Readonly<Record<string, string>> = {},
): Promise<M2eeReading> {
  return readM2ee(
    texts.map((text, index) => ({ path: String.fromCharCode(97 + index), text })),
    async (path) => ({ path, text: included[path] }),
  );
}

const trapsOf = ({ traps }: M2eeReading): string[] => traps.map(({ file, text }) => `${file}: ${text}`);

test('maps merge deeply, lists are put together, anything else replaces', async () => {
  const reading = await read([
    'mxruntime: {A: 1, B: {x: 1, y: 2}, L: [1]}\nlogging: [{name: one}]',
    'mxruntime: {A: two, B: {y: 3}, L: [2]}\nlogging: [{name: two}]',
  ]);
  assert.deepEqual(reading.merged, {
    mxruntime: { A: 'two', B: { x: 1, y: 3 }, L: [1, 2] },
    logging: [{ name: 'one' }, { name: 'two' }],
  });
  assert.deepEqual(reading.traps, []);
});

test('null replaces a value, and a map may come over null', async () => {
  const reading = await read(['mxruntime: {A: 1, B: null}', 'mxruntime: {A: null, B: {x: 1}}']);
  assert.deepEqual(reading.merged, { mxruntime: { A: null, B: { x: 1 } } });
});

for (const [what, first, second, why] of [
  [
    'a map over a text',
    'mxruntime: {A: x}',
    'mxruntime: {A: {x: 1}}',
    /A is a single value, and a map is put over it/,
  ],
  [
    'a list over a text',
    'mxruntime: {A: x}',
    'mxruntime: {A: [x]}',
    /A is a single value, and a list is put over it/,
  ],
  [
    'a list over null',
    'mxruntime: {A: null}',
    'mxruntime: {A: [x]}',
    /A is nothing, and a list is put over it/,
  ],
  [
    'a map over a list',
    'logging: [1]',
    'logging: {a: 1}',
    /logging is a list of 1, and a map is put over it/,
  ],
] as const) {
  test(`${what} drops the whole file, which is reported`, async () => {
    const reading = await read([first, `${second}\nm2ee: {app_name: lost}`, 'm2ee: {app_base: /kept}']);
    assert.equal(reading.merged.m2ee && (reading.merged.m2ee as M2eeMap).app_name, undefined);
    assert.deepEqual(reading.merged.m2ee, { app_base: '/kept' });
    assert.equal(reading.traps.length, 1);
    assert.match(trapsOf(reading)[0] ?? '', why);
    assert.match(trapsOf(reading)[0] ?? '', /^b: it is dropped whole, without an error/);
  });
}

test('a single value over a map loses the map, which is reported', async () => {
  const reading = await read([
    'mxruntime: {MicroflowConstants: {A: 1, B: 2}}',
    'mxruntime: {MicroflowConstants: }',
  ]);
  assert.deepEqual(reading.merged, { mxruntime: { MicroflowConstants: null } });
  assert.deepEqual(trapsOf(reading), [
    'b: mxruntime.MicroflowConstants was a map with 2 keys, and nothing replaces all of it',
  ]);
});

test('included files come after all others and theirs are not followed', async () => {
  const reading = await read(['include: [x]\nmxruntime: {A: 1}', 'mxruntime: {A: 2}'], {
    x: 'include: [y]\nmxruntime: {A: 3}',
    y: 'mxruntime: {A: 4}',
  });
  assert.deepEqual((reading.merged.mxruntime as M2eeMap).A, 3);
  assert.deepEqual(trapsOf(reading), ['x: its own `include` is not followed']);
});

test('an include that is no list, and a file that is not there, are reported', async () => {
  assert.deepEqual(trapsOf(await read(['include: x'])), ['a: `include` is no list, so nothing is included']);
  assert.deepEqual(trapsOf(await read(['include: [gone]'])), [
    'gone: it cannot be read and counts as if it were not there',
  ]);
});

test('what the older YAML means is what counts, and is reported where it may surprise', async () => {
  const reading = await read([
    'mxruntime: {A: yes, B: 010, C: 12:30, D: "yes", E: 2024-01-31, F: true, G: y, H: 1e3, I: 1.5e+3}',
  ]);
  assert.deepEqual(reading.merged.mxruntime, {
    A: true,
    B: 8,
    C: 750,
    D: 'yes',
    E: '2024-01-31T00:00:00.000Z',
    F: true,
    G: 'y',
    H: '1e3',
    I: 1500,
  });
  assert.deepEqual(
    trapsOf(reading).map((trap) => /^a: mxruntime\.(\w) is read as/.exec(trap)?.[1]),
    ['A', 'B', 'C', 'E', 'H'],
  );
});

test('a key that stands twice counts once, the last time', async () => {
  const reading = await read(['mxruntime: {A: 1, A: 2}']);
  assert.deepEqual(reading.merged, { mxruntime: { A: 2 } });
  assert.deepEqual(trapsOf(reading), ['a: the key A stands twice in one map; the last one counts']);
});

test('a file that is no YAML, or no map, is dropped and the others count', async () => {
  const reading = await read(['a: [', '- a\n- b', '', 'mxruntime: {A: 1}']);
  assert.deepEqual(reading.merged, { mxruntime: { A: 1 } });
  assert.equal(reading.traps.length, 2);
  assert.match(trapsOf(reading)[1] ?? '', /^b: it is dropped whole: it holds no map of sections/);
});

const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.string({ unit: fc.constantFrom('x', 'y', 'z') }).map((text) => `t${text}`),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value'), { maxKeys: 3 }),
  ),
})).value;
const sections = fc.dictionary(fc.constantFrom('mxruntime', 'm2ee', 'logging'), value, { maxKeys: 3 });

/** The documented rules once more, in the form in which they are documented. */
function documented(base: unknown, addition: unknown): unknown {
  if (base === null) return addition;
  if (typeof base !== 'object' || Array.isArray(base)) throw new Error('no keys');
  const result = { ...base } as Record<string, unknown>;
  for (const [key, one] of Object.entries(addition as object)) {
    if (!(key in result)) result[key] = one;
    else if (Array.isArray(one)) {
      if (!Array.isArray(result[key])) throw new Error('cannot be put together');
      result[key] = [...(result[key] as unknown[]), ...one];
    } else if (one !== null && typeof one === 'object') result[key] = documented(result[key], one);
    else result[key] = one;
  }
  return result;
}

test('any files merge as documented, whatever is in them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(sections, { maxLength: 4 }), async (files) => {
      let expected: unknown = {};
      for (const file of files) {
        try {
          expected = documented(expected, file);
        } catch {
          // that file is dropped
        }
      }
      const { merged } = await read(files.map((file) => stringify(file, { version: '1.1' })));
      assert.deepEqual(JSON.parse(JSON.stringify(merged)), JSON.parse(JSON.stringify(expected)));
    }),
    { numRuns: 300 },
  );
});
