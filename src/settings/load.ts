/**
 * From the text of a configuration file to a Configuration, or to one error that lists every problem with its line
 * and column. The text is not trusted: size, nesting and aliases are bounded before anything looks at the content.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve as resolvePath } from 'node:path';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { HoldfastError } from '../support/errors.ts';
import type { Configuration } from './configuration.ts';
import { type ConfigurationDocument, documentFrom, type JsonValue } from './document.ts';
import { jsonProblems, maxDepth } from './json-problems.ts';
import { mostProblems, type Path, type Problem, problemsOf } from './problems.ts';
import { resolve } from './resolve.ts';
import { configurationSchema } from './schema.ts';

const maxBytes = 1_048_576;
export const configurationFileName = 'holdfast.yaml';

export interface LoadedConfiguration extends ConfigurationDocument {
  readonly configuration: Configuration;
}

interface PlacedProblem {
  readonly offset: number;
  readonly text: string;
}

/** Relative paths in the file are meant from `directory`, by default the folder of `fileName`. */
export function parseConfiguration(
  text: string,
  fileName: string,
  options: { directory?: string } = {},
): LoadedConfiguration {
  if (text.length > maxBytes) throw invalid(fileName, [`${fileName}: the file is larger than 1 MB`]);
  const lineCounter = new LineCounter();
  const document = parseYaml(text, fileName, lineCounter);
  const place = ({ offset, text: message }: PlacedProblem) => {
    const { line, col } = lineCounter.linePos(offset);
    return `${fileName}:${line || 1}:${col || 1}: ${message}`;
  };
  const refuse = (problems: readonly PlacedProblem[]) => {
    if (problems.length === 0) return;
    const lines = [...problems].sort((a, b) => a.offset - b.offset).map(place);
    throw invalid(fileName, [...new Set(lines)]);
  };

  refuse(yamlProblems(document));
  const input = plainValue(document, fileName);
  if (input === null) {
    refuse([{ offset: 0, text: 'the file is empty; expected a map with at least the keys cluster and app' }]);
  }
  refuse(placed(jsonProblems(input), document));
  const parsed = configurationSchema.safeParse(input);
  if (!parsed.success) {
    refuse(placed(problemsOf(parsed.error.issues, input), document));
    throw new Error('a configuration was refused without a problem');
  }
  const configuration = resolve(parsed.data, options.directory ?? dirname(resolvePath(fileName)));
  return { configuration, ...documentFrom(input as JsonValue) };
}

export async function loadConfiguration(
  path: string,
): Promise<LoadedConfiguration & { readonly path: string }> {
  const absolute = resolvePath(path);
  const bytes = await readBytes(absolute, path);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // The decoder does not say where; an editor will show it as soon as the file is opened as UTF-8.
    throw invalid(path, [`${path}: the file is not UTF-8 text`]);
  }
  return { ...parseConfiguration(text, path, { directory: dirname(absolute) }), path: absolute };
}

/** The nearest holdfast.yaml in this folder or one above it. */
export async function findConfiguration(cwd: string): Promise<string | undefined> {
  for (let folder = resolvePath(cwd); ; folder = dirname(folder)) {
    const candidate = join(folder, configurationFileName);
    const found = await stat(candidate).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (found) return candidate;
    if (dirname(folder) === folder) return undefined;
  }
}

async function readBytes(absolute: string, path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(absolute);
    if (size > maxBytes) throw invalid(path, [`${path}: the file is larger than 1 MB`]);
    return await readFile(absolute);
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const reasons: Record<string, string> = {
      ENOENT: 'does not exist',
      EISDIR: 'is a folder',
      EACCES: 'may not be read by this user',
    };
    throw new HoldfastError(
      'CONFIGURATION_MISSING',
      `${path} ${reasons[String(code)] ?? `cannot be read (${code})`}`,
      {
        remedy:
          code === 'ENOENT'
            ? `Run \`holdfast init\` to write a ${configurationFileName}, or name another file with -c.`
            : `Make ${basename(path)} a file that this user may read.`,
        cause: error,
      },
    );
  }
}

function invalid(fileName: string, lines: readonly string[]): HoldfastError {
  const shown = lines.slice(0, 50);
  if (lines.length > shown.length) shown.push('… and more');
  const count =
    lines.length === 1 ? '1 problem' : `${lines.length >= mostProblems ? 'many' : lines.length} problems`;
  return new HoldfastError(
    'CONFIGURATION_INVALID',
    `${count} in ${basename(fileName)}:\n${shown.join('\n')}`,
    {
      remedy: 'Every key is explained in docs/configuration.md.',
    },
  );
}

function parseYaml(text: string, fileName: string, lineCounter: LineCounter): Document.Parsed {
  try {
    // Keys are compared in jsonProblems' manner below: the parser's own comparison takes quadratic time.
    return parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false, version: '1.2' });
  } catch (error) {
    // Deep nesting exhausts the parser's stack; whatever else it throws is the text's doing as well.
    const reason = error instanceof RangeError ? 'it is nested too deeply' : String(error);
    throw invalid(fileName, [`${fileName}: the file cannot be read as YAML: ${reason}`]);
  }
}

function yamlProblems(document: Document.Parsed): PlacedProblem[] {
  const problems: PlacedProblem[] = [...document.errors, ...document.warnings].map(
    ({ pos, code, message }) => ({
      offset: pos[0],
      text:
        code === 'MULTIPLE_DOCS'
          ? 'expected one document, found another one after it'
          : message.replaceAll(/\s+/g, ' '),
    }),
  );
  const exhausted = problems.find(({ text }) => text.includes('call stack'));
  if (exhausted) return [{ offset: exhausted.offset, text: 'nested too deeply' }];
  if (document.directives.yaml.explicit && document.directives.yaml.version !== '1.2') {
    problems.push({ offset: 0, text: 'expected YAML 1.2: remove the %YAML directive' });
  }
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document)) return;
      problems.push({
        offset: offsetOf(alias) ?? 0,
        text: `the alias *${alias.source} has no anchor before it`,
      });
    },
    Map(_key, map, ancestors) {
      if (ancestors.length > 4 * maxDepth) return visit.BREAK;
      const seen = new Set<string>();
      for (const { key } of map.items) {
        const offset = offsetOf(key) ?? offsetOf(map) ?? 0;
        if (!isScalar(key) || (typeof key.value === 'object' && key.value !== null)) {
          problems.push({ offset, text: 'expected a plain key, found a list, map or alias as key' });
          continue;
        }
        const name = String(key.value);
        if (seen.has(name)) problems.push({ offset, text: `the key "${name}" stands twice in this map` });
        seen.add(name);
      }
      return undefined;
    },
  });
  return problems;
}

function plainValue(document: Document.Parsed, fileName: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // The one thing it refuses is an alias: undefined, or repeated so often that it is an attack.
    const reason = error instanceof Error ? error.message : String(error);
    throw invalid(fileName, [`${fileName}: the file cannot be read as YAML: ${reason}`]);
  }
}

function placed(problems: readonly Problem[], document: Document.Parsed): PlacedProblem[] {
  return problems.slice(0, mostProblems).map(({ path, pathText, atKey, message }) => ({
    offset: locate(document, path, atKey),
    text: `${pathText}: ${message}`,
  }));
}

/** Where a path stands in the text; for one that does not, the key of the nearest map around it. */
function locate(document: Document.Parsed, path: Path, atKey: boolean): number {
  let node: unknown = document.contents;
  let offset = offsetOf(node) ?? 0;
  for (const [index, segment] of path.entries()) {
    const target = isAlias(node) ? node.resolve(document) : node;
    if (isMap(target)) {
      const pair = target.items.find(({ key }) => isScalar(key) && String(key.value) === String(segment));
      if (!pair) return offset;
      const last = index === path.length - 1;
      const value = offsetOf(pair.value);
      offset = (last && !atKey ? value : undefined) ?? offsetOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(target) && typeof segment === 'number') {
      node = target.items[segment];
      offset = offsetOf(node) ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}

function offsetOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
