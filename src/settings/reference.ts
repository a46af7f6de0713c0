/** docs/configuration.md, made from the JSON Schema: what an editor shows and what the page says cannot differ. */
import { alternatives, type JsonSchema } from './json-schema.ts';

const introduction = `# The configuration file

_Made from the schema by \`node src/settings/generate.ts\`. Change the descriptions in \`src/settings/\`, not this page._

One file, \`holdfast.yaml\`, describes the whole cluster. Only \`cluster\` and \`app\` are required. Times are written with
their unit: \`500ms\`, \`5s\`, \`10m\`, \`2h\`, \`7d\`; so are sizes: \`512B\`, \`16KB\`, \`10MB\`, \`1GB\`, where 1 KB is 1024
bytes. A key that is not on this page is an error that names file, line and column.

\`holdfast init\` writes a first file for the application in a folder. Editors show these descriptions while you type
if the file begins with a line that names the schema:

\`\`\`yaml
# yaml-language-server: $schema=./node_modules/holdfast/schema/holdfast.json
cluster: shop
app:
  command: node server.js
  instances: 3
\`\`\`

Secrets are references, never values: \`{ file: /run/secrets/db }\` or \`{ env: DB_PASSWORD }\`. They are resolved on the host
that uses them. A password in the address of the database works too, but is not stored with the configuration.
`;

interface Entry {
  readonly path: string;
  readonly schema: JsonSchema;
  readonly required: boolean;
}

export function configurationReference(root: JsonSchema): string {
  const sections = entriesOf(root, '').map((entry) => {
    const nested = descendants(entry);
    const heading = [`## ${entry.path}`, '', entry.schema.description ?? '', ''];
    if (nested.length === 0) return [...heading, ...table([entry]), ''];
    const own = isPlainMap(entry.schema) ? [] : [formLine(entry), ''];
    return [...heading, ...own, ...table(nested), ''];
  });
  return `${[introduction, ...sections.flat()].join('\n').trimEnd()}\n`;
}

/** A map that has nothing to say beyond its keys. */
function isPlainMap(schema: JsonSchema): boolean {
  return schema.properties !== undefined && schema.anyOf === undefined;
}

function entriesOf(schema: JsonSchema, at: string): Entry[] {
  const byPath = new Map<string, Entry>();
  const forms = alternatives(schema).filter((form) => !isReferencePart(form));
  for (const form of forms) {
    for (const [key, child] of Object.entries(form.properties ?? {})) {
      const path = at === '' ? key : `${at}.${key}`;
      const required = forms.length === 1 && (form.required ?? []).includes(key);
      if (!byPath.has(path)) byPath.set(path, { path, schema: child, required });
    }
  }
  return [...byPath.values()];
}

function descendants(entry: Entry): Entry[] {
  if (isReference(entry.schema)) return [];
  const named = alternatives(entry.schema).flatMap(({ additionalProperties }) =>
    typeof additionalProperties === 'object' && hasKeys(additionalProperties) ? [additionalProperties] : [],
  );
  const listed = alternatives(entry.schema).flatMap(({ items }) => (items && hasKeys(items) ? [items] : []));
  const children = [
    ...entriesOf(entry.schema, entry.path),
    ...named.flatMap((schema) => entriesOf(schema, `${entry.path}.NAME`)),
    ...listed.flatMap((schema) => entriesOf(schema, `${entry.path}[]`)),
  ];
  return children.flatMap((child) => [child, ...descendants(child)]);
}

function hasKeys(schema: JsonSchema): boolean {
  return (
    !isReference(schema) &&
    alternatives(schema).some((form) => form.properties !== undefined && !isReferencePart(form))
  );
}

/** Columns are padded, so that the page can be read as text and is what the formatter would make of it. */
function table(entries: readonly Entry[]): string[] {
  const rows = [
    ['key', 'value', 'default', 'meaning'],
    ...entries.map(({ path, schema, required }) => [
      `\`${path}\``,
      formOf(schema),
      defaultOf(schema, required),
      schema.description ?? '',
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const padded = rows.map((row) => line(row.map((cell, column) => cell.padEnd(widths[column] ?? 0))));
  const ruler = line(widths.map((width) => '-'.repeat(width)));
  return [padded[0] ?? '', ruler, ...padded.slice(1)];
}

function formLine({ schema, required }: Entry): string {
  const fallback = defaultOf(schema, required);
  return `Value: ${formOf(schema)}.${fallback === '' ? '' : ` Default: ${fallback}.`}`;
}

function defaultOf(schema: JsonSchema, required: boolean): string {
  if (required) return '_required_';
  const { default: value } = schema;
  if (value === undefined || value === '' || isEmptyMap(value)) return '';
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

function isEmptyMap(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0
  );
}

function formOf(schema: JsonSchema): string {
  if (isReference(schema)) return 'secret reference';
  const forms = alternatives(schema);
  const kept = forms.filter(
    (form) => !isReferencePart(form) || !forms.some((one) => one !== form && isReferencePart(one)),
  );
  const names = kept.map(oneForm);
  if (kept.length < forms.length) names.push('secret reference');
  return [...new Set(names)].join(' or ');
}

function oneForm(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (schema.type === 'string') return textKind(schema.pattern ?? '');
  if (schema.type === 'integer' || schema.type === 'number') return `${schema.minimum} to ${schema.maximum}`;
  if (schema.type === 'boolean') return '`true`, `false`';
  if (schema.type === 'array') return `list of ${schema.items ? formOf(schema.items) : 'anything'}`;
  if (schema.type === 'object') {
    const keys = Object.keys(schema.properties ?? {});
    return keys.length > 0 && keys.length <= 3 ? `\`{${keys.join(', ')}}\`` : 'map';
  }
  return schema.type ?? 'anything';
}

function textKind(pattern: string): string {
  if (pattern.includes('ms|s|m|h|d')) return 'duration';
  return pattern.includes('KB|MB|GB') ? 'size' : 'text';
}

/** `{file}` and `{env}` side by side are a reference to a secret. */
function isReference(schema: JsonSchema): boolean {
  const forms = alternatives(schema);
  return forms.length === 2 && forms.every(isReferencePart);
}

function isReferencePart({ properties }: JsonSchema): boolean {
  const keys = Object.keys(properties ?? {});
  return keys.length === 1 && (keys[0] === 'file' || keys[0] === 'env');
}
