/** `node src/settings/generate.ts` writes what is made from the schema: schema/holdfast.json, docs/configuration.md. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { configurationJsonSchema } from './json-schema.ts';
import { configurationReference } from './reference.ts';

/** Path from the root of the repository, and content. */
export function generatedFiles(): Record<string, string> {
  const schema = configurationJsonSchema();
  return {
    'schema/holdfast.json': `${JSON.stringify(schema, null, 2)}\n`,
    'docs/configuration.md': configurationReference(schema),
  };
}

if (import.meta.main) {
  const root = resolve(import.meta.dirname, '../..');
  for (const [path, content] of Object.entries(generatedFiles())) {
    await mkdir(dirname(resolve(root, path)), { recursive: true });
    await writeFile(resolve(root, path), content);
    process.stdout.write(`${path} written\n`);
  }
}
