/** The JSON Schema of the file as people write it, made from the grammar: for editors, and for finding near keys. */
import { z } from 'zod';
import { configurationSchema } from './schema.ts';

export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

let built: JsonSchema | undefined;

export function configurationJsonSchema(): JsonSchema {
  built ??= {
    title: 'Holdfast configuration',
    ...z.toJSONSchema(configurationSchema, { io: 'input' }),
  } as JsonSchema;
  return built;
}

/** Every form that a value may have. */
export function alternatives(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf ? schema.anyOf.flatMap(alternatives) : [schema];
}

/** The keys that may stand at a path, in all forms that the value there may have. */
export function knownKeys(path: readonly PropertyKey[]): string[] {
  let schemas = alternatives(configurationJsonSchema());
  for (const segment of path)
    schemas = schemas.flatMap((schema) => childAt(schema, segment)).flatMap(alternatives);
  return [...new Set(schemas.flatMap((schema) => Object.keys(schema.properties ?? {})))];
}

function childAt(schema: JsonSchema, segment: PropertyKey): JsonSchema[] {
  if (typeof segment === 'number') return schema.items ? [schema.items] : [];
  const { properties = {}, additionalProperties } = schema;
  const property = Object.hasOwn(properties, segment) ? properties[String(segment)] : undefined;
  if (property) return [property];
  return typeof additionalProperties === 'object' ? [additionalProperties] : [];
}

/** Where else a key of this name exists, as dotted paths; `*` stands for any name. */
export function placesOfKey(key: string, schema = configurationJsonSchema(), at = ''): string[] {
  return alternatives(schema).flatMap((form) => {
    const own = Object.entries(form.properties ?? {}).flatMap(([name, child]) => {
      const path = at === '' ? name : `${at}.${name}`;
      return [...(name === key ? [path] : []), ...placesOfKey(key, child, path)];
    });
    const named = typeof form.additionalProperties === 'object' ? form.additionalProperties : undefined;
    return named ? [...own, ...placesOfKey(key, named, `${at}.*`)] : own;
  });
}
