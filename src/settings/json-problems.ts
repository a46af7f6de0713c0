/** YAML can express what JSON and PostgreSQL's `jsonb` cannot hold. Found here, so that the grammar need not look. */
import { type Path, type Problem, problemAt } from './problems.ts';

export const maxDepth = 64;

/** Also finds a value that contains itself, which aliases can build. */
export function jsonProblems(value: unknown, path: Path = [], around: readonly object[] = []): Problem[] {
  if (typeof value === 'string') return stringProblems(value, path);
  if (typeof value === 'number') {
    return Number.isFinite(value) ? [] : [problemAt(path, `expected a finite number, found ${value}`)];
  }
  if (value === null || typeof value === 'boolean') return [];
  if (typeof value !== 'object') return [problemAt(path, `expected a plain value, found a ${typeof value}`)];
  if (around.includes(value)) return [problemAt(path, 'this alias contains itself')];
  if (around.length >= maxDepth)
    return [problemAt(path.slice(0, 8), `nested more than ${maxDepth} levels deep`)];
  const inside = [...around, value];
  if (Array.isArray(value))
    return value.flatMap((item, index) => jsonProblems(item, [...path, index], inside));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    return [problemAt(path, 'expected a plain value')];
  return Object.entries(value).flatMap(([key, item]) => {
    const at = [...path, key];
    if (key === '__proto__') return [problemAt(at, 'this key cannot be used', true)];
    return [...stringProblems(key, at), ...jsonProblems(item, at, inside)];
  });
}

function stringProblems(text: string, path: Path): Problem[] {
  if (text.includes('\0')) return [problemAt(path, 'a text must not contain the character NUL')];
  return text.isWellFormed() ? [] : [problemAt(path, 'a text must not contain half a Unicode character')];
}
