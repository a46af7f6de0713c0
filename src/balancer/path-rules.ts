import type { RouteOptions } from './engine.ts';

/**
 * Rules about paths, and the trouble with them: one path has many spellings, and every server reads them in its own
 * way. One decodes `%2e` before it looks for `..`, another after; one cuts `;params`, merges `//`, takes `\` for `/`,
 * or ignores a dot at the end of a name. Which of them stands behind us we do not know, and each of these steps may
 * come before or after each other one. So we take them all, in every order, and look at every path that can come of
 * it. Nearly every path of honest users has only one reading, which a single look at its characters shows.
 *
 * - What is denied is denied if any reading is.
 * - A route is given only if every reading belongs to it: odd spelling never earns a privilege.
 */

/** Whoever needs more readings than this, or more characters in all of them together, is playing with us. */
const maximumReadings = 128;
const maximumCharacters = 32 * 1024;

/** A path without any of these means the same to everybody. */
const readDifferently = /[%\\;?#\0\x80-\xff]|\/\/|[. ](?:\/|$)/;

/** Each is something that some server does to a path before it looks for what it names. */
const steps: readonly ((path: string) => string)[] = [
  (path) => decoded(path, /(?:%[0-9a-fA-F]{2}|[\x80-\xff])+/g),
  // Apache, Tomcat and others can leave encoded slashes as they are while they decode the rest.
  (path) => decoded(path, /(?:%(?!2[fF])[0-9a-fA-F]{2}|[\x80-\xff])+/g),
  // Windows knows escapes with four digits as well.
  (path) => path.replace(/%u([0-9a-fA-F]{4})/g, character),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => path.replace(/\/{2,}/g, '/'),
  withoutDotSegments,
  // A mark that was encoded may be one for the next server in the row, and a NUL ends a name in C.
  (path) => path.replace(/[?#\0].*/s, ''),
  // Windows ignores dots and spaces at the end of a name.
  (path) => path.replace(/([^/. ])[. ]+(?=\/|$)|(\.\.?) +(?=\/|$)/g, '$1$2'),
];

/** Is any path denied as which some server could read this target (a path and perhaps a query)? */
export function isDenied(target: string, deny: readonly RegExp[]): boolean {
  if (deny.length === 0) return false;
  const readings = readingsOf(pathOf(target));
  // `search`, unlike `test`, does not depend on what the expression was used for before.
  return (
    readings === undefined || readings.some((path) => deny.some((pattern) => path.search(pattern) !== -1))
  );
}

/** The first route for this method whose path the target begins with, by whole segments. */
export function routeFor(
  routes: readonly RouteOptions[],
  method: string,
  target: string,
): RouteOptions | undefined {
  if (routes.length === 0) return undefined;
  // First what the standard calls equivalent, so that `/%61pi` is `/api` and not something odd.
  const readings = readingsOf(decoded(pathOf(target), harmlessEscapes));
  if (readings === undefined) return undefined;
  return routes.find(
    ({ path, methods }) =>
      (methods === undefined || methods.includes(method)) &&
      readings.every((reading) => beginsWithSegments(reading, path)),
  );
}

/** All escapes but those of characters that mean something in a path: `% / \ ; ? # .` and control characters. */
const harmlessEscapes = /(?:%(?!25|2[ef]|5c|3[bf]|23|[01][0-9a-f]|7f)[0-9a-f]{2})+/gi;

function pathOf(target: string): string {
  const query = target.indexOf('?');
  return query === -1 ? target : target.slice(0, query);
}

/** Every path as which a server could read this one; undefined: there is no end to them. */
function readingsOf(path: string): readonly string[] | undefined {
  if (!readDifferently.test(path)) return [path];
  const readings = new Set([path]);
  // A set is walked through in the order of insertion, what is added on the way included.
  for (const reading of readings) {
    if (!readDifferently.test(reading)) continue;
    for (const step of steps) readings.add(step(reading));
    if (readings.size > Math.min(maximumReadings, 2 + maximumCharacters / path.length)) return undefined;
  }
  return [...readings];
}

/** As UTF-8 where it is that, else as latin1. Bytes that came as they are stand beside escaped ones. */
function decoded(path: string, runs: RegExp): string {
  return path.replace(runs, (run) => {
    const latin1 = run.replace(/%(..)/g, character);
    if (!/[\x80-\xff]/.test(latin1)) return latin1;
    const text = Buffer.from(latin1, 'latin1').toString();
    return text.includes('\ufffd') ? withoutOverlong(latin1) : text;
  });
}

const character = (_: string, digits: string): string => String.fromCharCode(Number.parseInt(digits, 16));

/** Two bytes for a character that has one: no UTF-8, but old decoders take it for the character. */
const withoutOverlong = (latin1: string): string =>
  latin1.replace(/([\xc0\xc1])([\x80-\xbf])/g, (_, first: string, second: string) =>
    String.fromCharCode(((first.charCodeAt(0) & 1) << 6) | (second.charCodeAt(0) & 0x3f)),
  );

/** Some readers know the dots in their escaped form, while they leave other escapes alone. */
function withoutDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.split('/');
  for (const [index, segment] of segments.entries()) {
    const dots = segment.replace(/%2e/gi, '.');
    if (dots !== '.' && dots !== '..') {
      kept.push(segment);
      continue;
    }
    // The first piece is the nothing before the first slash; above it there is nothing to leave.
    if (dots === '..' && kept.length > 1) kept.pop();
    if (index === segments.length - 1) kept.push('');
  }
  return kept.join('/');
}

function beginsWithSegments(path: string, prefix: string): boolean {
  const bare = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
  return path.startsWith(bare) && (path.length === bare.length || path[bare.length] === '/');
}
