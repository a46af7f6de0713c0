import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { HoldfastError } from '../support/errors.ts';
import { canonicalJson, configurationFromDocument } from './document.ts';
import { alternatives, configurationJsonSchema, type JsonSchema } from './json-schema.ts';
import { parseConfiguration } from './load.ts';

/** Valid, or refused with an error whose every line names the place. Anything else is a defect. */
function assertAnswered(text: string): boolean {
  try {
    const { document, digest } = parseConfiguration(text, 'f.yaml');
    configurationFromDocument(JSON.parse(canonicalJson(document)));
    assert.match(digest, /^[0-9a-f]{64}$/);
    return true;
  } catch (error) {
    assert.ok(
      error instanceof HoldfastError && error.code === 'CONFIGURATION_INVALID',
      String((error as Error).stack),
    );
    const [, ...lines] = error.message.split('\n');
    assert.ok(lines.length > 0);
    for (const line of lines) assert.match(line, /^(f\.yaml:(\d+:\d+:)? \S|… and more)/);
    return false;
  }
}

const snippets = fc.constantFrom(
  'cluster: shop\n',
  'app:\n',
  '  command: x\n',
  'events:\n',
  '  a: { every: 1h, run: gate }\n',
  '\t',
  '- ',
  '? ',
  ': ',
  '&a ',
  '*a',
  '<<: *a\n',
  '!!set ',
  '!!binary ',
  '%YAML 1.1\n',
  '---\n',
  '...\n',
  '{',
  '}',
  '[',
  ']',
  '|\n',
  '>-\n',
  '"',
  "'",
  '#',
  '\uFEFF',
  '\0',
  '\r',
  '\n',
  '\u2028',
  '__proto__: ',
  'constructor: ',
  '.inf',
  '0x1F',
  '~',
  'null: ',
);

test('P10: whatever text a configuration file has, the answer is a configuration or an error with the place', () => {
  const garbage = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc
      .array(fc.oneof(snippets, fc.string({ maxLength: 8 })), { maxLength: 30 })
      .map((parts) => parts.join('')),
    fc.json({ maxDepth: 4 }),
  );
  fc.assert(
    fc.property(garbage, (text) => void assertAnswered(text)),
    { numRuns: 3_000 },
  );
});

const words = [
  '2s',
  '5s',
  '1h',
  '/x',
  'shop',
  'shop-1',
  'LOG',
  'UTC',
  '0 2 * * *',
  '02:00',
  '1.2.3.4:5',
  '10.0.0.0/8',
  'postgres://u@h/d',
  'http://h:1',
  '2027-01-01',
  '2027-03-28T02:30',
  'shop_{instance}',
  '16KB',
  'GET',
  '200-299',
];

/** Mostly what the schema allows, sometimes anything. */
function valueFor(schema: JsonSchema): fc.Arbitrary<unknown> {
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('5s', '/x', 'shop-1', { file: '/x' }, 3),
  );
  const fitting = alternatives(schema).map((form): fc.Arbitrary<unknown> => {
    if (form.enum) return fc.constantFrom(...form.enum);
    if (form.const !== undefined) return fc.constant(form.const);
    if (form.type === 'integer') return fc.integer({ min: 1, max: 40 });
    if (form.type === 'number') return fc.double({ min: 0, max: 1, noNaN: true });
    if (form.type === 'boolean') return fc.boolean();
    if (form.type === 'array') return fc.array(valueFor(form.items ?? {}), { maxLength: 3 });
    if (form.type === 'string') {
      const fit = words.filter((word) => form.pattern === undefined || new RegExp(form.pattern).test(word));
      return fc.constantFrom(...(fit.length > 0 ? fit : words));
    }
    if (form.properties) {
      const keys = Object.entries(form.properties).map(([key, child]) => [key, valueFor(child)] as const);
      return fc.record(Object.fromEntries(keys), { requiredKeys: [...(form.required ?? [])] });
    }
    if (form.type !== 'object') return fc.jsonValue({ maxDepth: 2 });
    const named = typeof form.additionalProperties === 'object' ? form.additionalProperties : {};
    return fc.dictionary(fc.constantFrom('a', 'nightly', 'LOG', 'Bad Name'), valueFor(named), { maxKeys: 2 });
  });
  return fc.oneof({ weight: 100, arbitrary: fc.oneof(...fitting) }, { weight: 1, arbitrary: anything });
}

test('P10: whatever stands behind the known keys, the answer is a configuration or an error with the place', () => {
  let valid = 0;
  const base = { cluster: 'shop', app: { command: 'x' } };
  const root = configurationJsonSchema();
  const oneSection = Object.entries(root.properties ?? {}).map(([key, schema]) =>
    valueFor(schema).map((value) => ({ ...base, [key]: value })),
  );
  const check = fc.property(fc.oneof(valueFor(root), ...oneSection), (input) => {
    if (assertAnswered(stringify(input) ?? '')) valid++;
  });
  fc.assert(check, { numRuns: 1_500 });
  assert.ok(valid > 20, `only ${valid} were valid: the generator misses the grammar`);
});
