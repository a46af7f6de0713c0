import type { RouteOptions } from '../engine.ts';
import { lines, quoted } from './config-text.ts';
import { refuse } from './refusal-pages.ts';

/**
 * Rules about paths, as path-rules.ts states them: what is denied is denied in every spelling, and a route is given
 * only where the spelling leaves no doubt. HAProxy has no loops; so an odd path is taken through the steps by which
 * servers read paths, twice in a row, and looked at after each step. A path that is odd even then is not for honest
 * users, and is denied where anything is.
 */
const oddSpelling = quoted(String.raw`[%\\;#]|[^ -~]|//|[. ](/|$)`);

/** Escapes that mean nothing but their character are no reason to doubt. */
const doubtful = quoted(
  String.raw`%(25|2[eEfF]|5[cC]|3[bBfF]|23|[01][0-9A-Fa-f]|7[fF]|[^0-9A-Fa-f]|$)|[\\;#]|[^ -~]|//|[. ](/|$)`,
);

const steps: readonly string[] = [
  'url_dec',
  String.raw`'regsub("\\\\","/",g)'`,
  `'regsub(";[^/]*","",g)'`,
  `'regsub("/+","/",g)'`,
  ...Array.from(
    { length: 4 },
    () => String.raw`'regsub("/(\\./|\\.$|[^/]*[^/.][^/]*/\\.\\.(/|$)|\\.\\.(/|$))","/")'`,
  ),
  String.raw`'regsub("[. ]+(/|$)","\\1",g)'`,
];

export function denyRules(deny: readonly RegExp[], pages: string): string {
  if (deny.length === 0) return '';
  const denied = (path: string) => deny.map(({ source }) => `{ ${path} -m reg -i -- ${quoted(source)} }`);
  const isOdd = '{ var(txn.odd) -m found }';
  const again = [...steps, ...steps].flatMap((step) => [
    `http-request set-var(txn.reading) var(txn.reading),${step} if ${isOdd}`,
    ...denied('var(txn.reading)').map(
      (is) => `http-request set-var(txn.denied) bool(true) if ${isOdd} ${is}`,
    ),
  ]);
  return lines(
    ...denied('path').map((is) => `http-request set-var(txn.denied) bool(true) if ${is}`),
    `http-request set-var(txn.odd) bool(true) if { path -m reg ${oddSpelling} }`,
    `http-request set-var(txn.reading) path if ${isOdd}`,
    ...again,
    `http-request set-var(txn.denied) bool(true) if ${isOdd} { var(txn.reading) -m reg ${quoted('%[0-9a-fA-F]{2}|/\\.\\.(/|$)')} }`,
    refuse('notFound', pages, 'if { var(txn.denied) -m found }'),
  );
}

/** Sets `txn.route` to the number of the first route that fits. */
export function routeRules(routes: readonly RouteOptions[]): string {
  if (routes.length === 0) return '';
  const each = routes.flatMap(({ path, methods }, index) => {
    const bare = path.endsWith('/') ? path.slice(0, -1) : path;
    const method = methods === undefined ? '' : ` { method ${methods.map(quoted).join(' ')} }`;
    const set = `http-request set-var(txn.route) int(${index}) if !{ var(txn.route) -m found }${method}`;
    return [
      bare !== '' && `${set} { var(txn.path) -m str ${quoted(bare)} }`,
      `${set} { var(txn.path) -m beg ${quoted(`${bare}/`)} }`,
    ];
  });
  return lines(`http-request set-var(txn.path) path,url_dec unless { path -m reg ${doubtful} }`, ...each);
}

/** The condition that holds on routes declared repeatable; empty without any. */
export function repeatableRoutes(routes: readonly RouteOptions[]): string {
  const numbers = routes.flatMap(({ repeatable }, index) => (repeatable ? [index] : []));
  return numbers.length === 0 ? '' : `var(txn.route) -m int ${numbers.join(' ')}`;
}
