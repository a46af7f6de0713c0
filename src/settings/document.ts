/**
 * The stored form of a configuration: the input as JSON, exactly as written apart from a database password, and a
 * digest by which two of them are compared. Defaults are not stored, so that a document says what its author decided.
 *
 * A password in the database's address is left out. Whoever reads a document has already opened the arbiter and
 * needs none, a changed password is not a changed configuration, and the arbiter never keeps its own key.
 */
import { createHash } from 'node:crypto';
import { HoldfastError } from '../support/errors.ts';
import type { Configuration } from './configuration.ts';
import { problemsOf } from './problems.ts';
import { resolve } from './resolve.ts';
import { configurationSchema } from './schema.ts';
import { withoutUrlPassword } from './secrets.ts';

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

export interface ConfigurationDocument {
  readonly document: JsonValue;
  /** SHA-256 of the canonical JSON, in hexadecimal. */
  readonly digest: string;
}

export function documentFrom(input: JsonValue): ConfigurationDocument {
  const document = withoutDatabasePassword(input);
  return { document, digest: digestOf(document) };
}

export function digestOf(document: JsonValue): string {
  return createHash('sha256').update(canonicalJson(document)).digest('hex');
}

/** JSON with the keys of every object in order: PostgreSQL's `jsonb` and people both reorder them freely. */
export function canonicalJson(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] ?? null)}`);
  return `{${members.join(',')}}`;
}

/**
 * The configuration that a stored document means on this host. Relative paths are meant from `directory`, by default
 * the working directory of the process.
 */
export function configurationFromDocument(
  document: unknown,
  options: { directory?: string; name?: string; remedy?: string } = {},
): Configuration {
  const parsed = configurationSchema.safeParse(document);
  if (parsed.success) return resolve(parsed.data, options.directory ?? process.cwd());
  const name = options.name ?? 'the stored configuration';
  const problems = problemsOf(parsed.error.issues, document).map(
    ({ pathText, message }) => `${pathText}: ${message}`,
  );
  throw new HoldfastError('CONFIGURATION_INVALID', `${name} cannot be used:\n  ${problems.join('\n  ')}`, {
    remedy:
      options.remedy ??
      'It was probably stored by another version of Holdfast: run the same version everywhere.',
  });
}

function withoutDatabasePassword(input: JsonValue): JsonValue {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return input;
  const { database } = input;
  if (typeof database === 'string') return { ...input, database: withoutUrlPassword(database) };
  if (
    database &&
    typeof database === 'object' &&
    !Array.isArray(database) &&
    typeof database.url === 'string'
  ) {
    return { ...input, database: { ...database, url: withoutUrlPassword(database.url) } };
  }
  return input;
}
