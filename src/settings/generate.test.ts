import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { generatedFiles } from './generate.ts';
import { alternatives, configurationJsonSchema, type JsonSchema } from './json-schema.ts';

for (const [path, content] of Object.entries(generatedFiles())) {
  test(`${path} is up to date with the schema`, async () => {
    const written = await readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
    assert.ok(written === content, `${path} is out of date: run \`node src/settings/generate.ts\``);
  });
}

test('every key of the configuration has a description', () => {
  const undescribed = (schema: JsonSchema, at: string): string[] =>
    alternatives(schema).flatMap(({ properties = {}, additionalProperties, items }) => [
      ...Object.entries(properties).flatMap(([key, child]) => [
        ...(child.description ? [] : [`${at}.${key}`]),
        ...undescribed(child, `${at}.${key}`),
      ]),
      ...(typeof additionalProperties === 'object' ? undescribed(additionalProperties, `${at}.*`) : []),
      ...(items ? undescribed(items, `${at}[]`) : []),
    ]);
  assert.deepEqual(undescribed(configurationJsonSchema(), ''), []);
});
