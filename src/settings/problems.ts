/**
 * What is wrong with a configuration, in words: what was expected, what was found, what was probably meant.
 *
 * zod answers with a tree, because a value of several forms fails once for each form. Here it becomes a flat list:
 * of the forms, the one is reported that the value was meant to have. Values that may be secrets are never repeated.
 */
import type { z } from 'zod';
import { knownKeys, placesOfKey } from './json-schema.ts';
import { nearestName } from './nearest-name.ts';
import { isSecretName, redacted } from './secrets.ts';

type Issue = z.core.$ZodIssue;
export type Path = readonly PropertyKey[];

/** Nobody reads more, and a hostile file could have a hundred thousand. */
export const mostProblems = 100;

export interface Problem {
  readonly path: Path;
  readonly pathText: string;
  /** The key itself is wrong, not the value behind it. */
  readonly atKey: boolean;
  readonly message: string;
}

export function problemsOf(issues: readonly Issue[], document: unknown): Problem[] {
  const problems = issues.slice(0, mostProblems).flatMap((issue) => flatten(issue, [], document));
  const seen = new Set<string>();
  return problems.filter(({ pathText, message }) => {
    const line = `${pathText}: ${message}`;
    return seen.has(line) ? false : seen.add(line);
  });
}

export function problemAt(path: Path, message: string, atKey = false): Problem {
  return { path, pathText: pathText(path), atKey, message };
}

function pathText(path: Path): string {
  if (path.length === 0) return 'the file';
  const parts = path.map((part) => {
    if (typeof part === 'number') return `[${part}]`;
    const key = String(part);
    return /^[\w-]+$/.test(key) ? `.${key}` : `[${JSON.stringify(key.slice(0, 60))}]`;
  });
  return parts.join('').replace(/^\./, '');
}

function flatten(issue: Issue, prefix: Path, document: unknown): Problem[] {
  const path = [...prefix, ...issue.path];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.slice(0, mostProblems).map((key) => unknownKey(path, key));
    case 'invalid_key':
      return [
        problemAt(
          path,
          `${issue.issues[0]?.message ?? 'expected another name'}${found(path.at(-1), [])}`,
          true,
        ),
      ];
    case 'invalid_union':
      return flattenUnion(issue, path, document);
    default:
      return [problemAt(path, describe(issue, path, document))];
  }
}

function describe(issue: Issue, path: Path, document: unknown): string {
  const value = valueAt(document, path);
  const message = issue.message.startsWith('expected ') ? issue.message : defaultMessage(issue);
  if (!message.startsWith('expected ')) return message;
  const missing = value === undefined ? ', found nothing' : found(value, path);
  return `${message}${missing}${nearestValue(value, issue, path)}`;
}

/** For values whose definition gave no words of its own. */
function defaultMessage(issue: Issue): string {
  if (issue.code === 'invalid_type') {
    const nouns: Record<string, string> = {
      object: 'a map',
      record: 'a map',
      array: 'a list',
      string: 'a text',
    };
    return `expected ${nouns[issue.expected] ?? `a ${issue.expected}`}`;
  }
  if (issue.code === 'invalid_value') return `expected ${issue.values.map(String).join(' or ')}`;
  return issue.message;
}

function flattenUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  path: Path,
  document: unknown,
): Problem[] {
  const meant = issue.errors.filter((branch) => !branch.some(isOtherForm));
  const value = valueAt(document, path);
  const whole = problemAt(path, describe(issue, path, document));
  const onlyWrong = (one: Issue) => one.path.length === 0 && one.code === 'invalid_format';
  if (meant.length === 0 || meant.every((branch) => branch.every(onlyWrong))) return [whole];

  const isShape = (one: Issue) =>
    one.code === 'unrecognized_keys' || (one.code === 'invalid_type' && !hasValue(value, one.path));
  const fitting = meant.find((branch) => !branch.some((one) => one.path.length <= 1 && isShape(one)));
  if (fitting) return fitting.flatMap((one) => flatten(one, path, document));
  const keys = meant.map((branch) =>
    branch.flatMap((one) => (one.code === 'unrecognized_keys' && one.path.length === 0 ? one.keys : [])),
  );
  const unknownToAll = (keys[0] ?? []).filter((key) => keys.every((others) => others.includes(key)));
  return unknownToAll.length > 0 ? unknownToAll.map((key) => unknownKey(path, key)) : [whole];
}

/** The value is not of this form at all: a text where the form is a map, or another word than the one it allows. */
function isOtherForm(issue: Issue): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === 'invalid_union') return issue.errors.every((branch) => branch.some(isOtherForm));
  return issue.code === 'invalid_type' || issue.code === 'invalid_value';
}

function hasValue(value: unknown, path: Path): boolean {
  return valueAt(value, path) !== undefined;
}

function valueAt(document: unknown, path: Path): unknown {
  let value = document;
  for (const segment of path) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, segment)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[segment];
  }
  return value;
}

function unknownKey(path: Path, key: string): Problem {
  const known = knownKeys(path);
  const near = nearestName(key, known);
  const [elsewhere] = near === undefined ? placesOfKey(key) : [];
  const list = `known here: ${known.join(', ')}`;
  const hint =
    near === undefined
      ? elsewhere === undefined
        ? list
        : `it belongs to ${elsewhere}; ${list}`
      : `did you mean "${near}"?`;
  return problemAt([...path, key], `unknown key; ${hint}`, true);
}

function nearestValue(value: unknown, issue: Issue, path: Path): string {
  if (typeof value !== 'string' || isSecretPath(path)) return '';
  const near = nearestName(value, choices(issue));
  return near === undefined ? '' : `; did you mean "${near}"?`;
}

function choices(issue: Issue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map(String);
  if (issue.code === 'invalid_union') return issue.errors.flat().flatMap(choices);
  if (issue.code === 'custom' && issue.message.includes('time zone'))
    return Intl.supportedValuesOf('timeZone');
  return [];
}

function found(value: unknown, path: Path): string {
  if (value === undefined) return '';
  if (value === null) return ', found nothing (the key has no value)';
  if (Array.isArray(value)) return value.length === 0 ? ', found an empty list' : ', found a list';
  if (typeof value === 'object')
    return Object.keys(value).length === 0 ? ', found an empty map' : ', found a map';
  if (isSecretPath(path))
    return `, found a ${typeof value === 'string' ? 'text' : typeof value} (not shown here)`;
  if (typeof value === 'number') return `, found the number ${value}`;
  if (typeof value !== 'string') return `, found ${String(value)}`;
  const shown = String(redacted(value));
  return `, found ${JSON.stringify(shown.length > 60 ? `${shown.slice(0, 57)}…` : shown)}`;
}

function isSecretPath(path: Path): boolean {
  const places = ['database', 'environment', 'settings', 'payload'];
  // The path of a webhook is often a secret in itself.
  if (path[0] === 'alarm' && path[1] === 'post') return true;
  return path.some((part) => typeof part === 'string' && (places.includes(part) || isSecretName(part)));
}
