/**
 * Reads m2ee.yaml files as m2ee-tools does: several files merged in their order, then the files under `include`, once.
 * Maps merge deeply, lists are put together, anything else replaces what was there.
 *
 * Some of what it does is silent, and has surprised people: a file that puts a map or a list over something else is
 * dropped whole; `yes` is true and `010` is eight, because the language is YAML 1.1; a key that stands twice counts
 * once. The result is the same here, and each such place is reported as a trap.
 */
import {
  type DocumentOptions,
  isMap,
  isScalar,
  type ParseOptions,
  parseDocument,
  type ScalarTag,
  type SchemaOptions,
  type Tags,
  visit,
} from 'yaml';

export type M2eeValue = null | boolean | number | string | M2eeValue[] | { [key: string]: M2eeValue };
export type M2eeMap = { [key: string]: M2eeValue };

export interface M2eeFile {
  readonly path: string;
  /** Undefined where the file cannot be read. */
  readonly text: string | undefined;
}

export interface M2eeTrap {
  readonly file: string;
  readonly text: string;
}

export interface M2eeReading {
  readonly merged: M2eeMap;
  readonly traps: readonly M2eeTrap[];
}

const maxBytes = 1_048_576;

/** The dialect of m2ee-tools' parser: YAML 1.1, in which a lone `y` or `n` is a text, and so is a number such as `1e3`. */
const olderYaml: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.1',
  uniqueKeys: false,
  merge: true,
  customTags: (tags: Tags) => tags.map((tag) => (typeof tag === 'object' ? narrowed(tag as ScalarTag) : tag)),
};

function narrowed(tag: ScalarTag): ScalarTag {
  const { test } = tag;
  if (!test || !['tag:yaml.org,2002:bool', 'tag:yaml.org,2002:float'].includes(tag.tag)) return tag;
  const isBool = tag.tag.endsWith('bool');
  const leftOut = isBool ? '(?![yYnN]$)' : '(?![-+]?[0-9][0-9_]*[eE])(?![^eE]*[eE][0-9])';
  return { ...tag, test: new RegExp(`^${leftOut}${test.source.replace(/^\^/, '')}`) };
}

/** `include` reads a file that another one names. */
export async function readM2ee(
  files: readonly M2eeFile[],
  include: (path: string) => Promise<M2eeFile>,
): Promise<M2eeReading> {
  const traps: M2eeTrap[] = [];
  let merged: M2eeMap = {};
  for (const file of files) merged = add(merged, file, traps);
  const named = merged.include;
  if (named === undefined) return { merged, traps };
  const nameOf = files.at(-1)?.path ?? '';
  if (!Array.isArray(named)) {
    traps.push({ file: nameOf, text: '`include` is no list, so nothing is included' });
    return { merged, traps };
  }
  for (const path of named) {
    const file = await include(String(path));
    const before = named.length;
    merged = add(merged, file, traps);
    const after = Array.isArray(merged.include) ? merged.include.length : 0;
    if (after > before) traps.push({ file: file.path, text: 'its own `include` is not followed' });
  }
  return { merged, traps };
}

function add(merged: M2eeMap, file: M2eeFile, traps: M2eeTrap[]): M2eeMap {
  const trap = (text: string): void => void traps.push({ file: file.path, text });
  if (file.text === undefined) {
    trap('it cannot be read and counts as if it were not there');
    return merged;
  }
  const parsed = parse(file.text);
  if (typeof parsed === 'string') {
    trap(`it is dropped whole: ${parsed}`);
    return merged;
  }
  parsed.surprises.forEach(trap);
  if (parsed.value === null) return merged;
  try {
    return mergeMaps(merged, parsed.value, '', trap);
  } catch (error) {
    if (!(error instanceof Unmergeable)) throw error;
    trap(`it is dropped whole, without an error: ${error.message}`);
    return merged;
  }
}

/** What makes m2ee-tools give up on the file that it is merging. */
class Unmergeable extends Error {}

function mergeMaps(base: M2eeMap, addition: M2eeMap, at: string, trap: (text: string) => void): M2eeMap {
  const result: M2eeMap = { ...base };
  for (const [key, value] of Object.entries(addition)) {
    const before = base[key];
    result[key] =
      before === undefined ? value : mergeValue(before, value, at === '' ? key : `${at}.${key}`, trap);
  }
  return result;
}

function mergeValue(
  before: M2eeValue,
  value: M2eeValue,
  at: string,
  trap: (text: string) => void,
): M2eeValue {
  if (Array.isArray(value)) {
    if (!Array.isArray(before))
      throw new Unmergeable(`${at} is ${kindOf(before)}, and a list is put over it`);
    return [...before, ...value];
  }
  if (isM2eeMap(value)) {
    if (before === null) return value;
    if (!isM2eeMap(before)) throw new Unmergeable(`${at} is ${kindOf(before)}, and a map is put over it`);
    return mergeMaps(before, value, at, trap);
  }
  if (before !== null && typeof before === 'object')
    trap(`${at} was ${kindOf(before)}, and ${kindOf(value)} replaces all of it`);
  return value;
}

export const isM2eeMap = (value: unknown): value is M2eeMap =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

function kindOf(value: M2eeValue): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === 'object' ? `a map with ${Object.keys(value).length} keys` : 'a single value';
}

/** The content and what may surprise in it; a text: why the file cannot be used. */
function parse(text: string): { value: M2eeMap | null; surprises: string[] } | string {
  if (text.length > maxBytes) return 'it is larger than 1 MB';
  const surprises: string[] = [];
  let value: unknown;
  let plain: unknown;
  try {
    const document = parseDocument(text, { ...olderYaml, prettyErrors: false });
    const [problem] = document.errors;
    if (problem) return problem.message.replaceAll(/\s+/g, ' ');
    visit(document, {
      Map(_key, map) {
        const keys = map.items.map(({ key }) => (isScalar(key) ? String(key.value) : ''));
        for (const key of new Set(keys.filter((one, index) => keys.indexOf(one) !== index)))
          surprises.push(`the key ${key} stands twice in one map; the last one counts`);
      },
    });
    if (document.contents !== null && !isMap(document.contents) && document.toJS() !== null)
      return 'it holds no map of sections';
    value = document.toJS({ maxAliasCount: 100 });
    plain = parseDocument(text, { uniqueKeys: false, prettyErrors: false, merge: true }).toJS({
      maxAliasCount: 100,
    });
  } catch (error) {
    return `it cannot be read as YAML: ${error instanceof Error ? error.message : String(error)}`;
  }
  surprises.push(...olderMeanings(value, plain, ''));
  return { value: asM2ee(value) as M2eeMap | null, surprises };
}

/** Where YAML 1.1 understands something else than people do who know 1.2. */
function olderMeanings(old: unknown, plain: unknown, at: string): string[] {
  if (Array.isArray(old) && Array.isArray(plain))
    return old.flatMap((item, index) => olderMeanings(item, plain[index], `${at}[${index}]`));
  if (isM2eeMap(old) && isM2eeMap(plain) && !((old as unknown) instanceof Date)) {
    return Object.entries(old).flatMap(([key, value]) => {
      const path = at === '' ? key : `${at}.${key}`;
      return key in plain
        ? olderMeanings(value, plain[key], path)
        : [`the key ${path} is written in another way`];
    });
  }
  if (Object.is(old, plain)) return [];
  const shown = old instanceof Date ? 'a date' : JSON.stringify(old);
  return [`${at} is read as ${shown}: put it between quotes if another value is meant`];
}

/** Dates, which m2ee-tools cannot send, become texts; everything else is as it is. */
function asM2ee(value: unknown): M2eeValue {
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(asM2ee);
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asM2ee(one)]));
  return (value ?? null) as M2eeValue;
}
