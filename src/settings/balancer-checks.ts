/**
 * What is wrong with a `balancer` section although each of its values is fine by itself: two listeners on one port,
 * a route that is never reached, a cookie that browsers would refuse, a wish that the chosen engine cannot fulfil.
 */
import { defaultLimits } from '../balancer/options.ts';
import { formatDuration } from '../support/duration.ts';
import { formatSize } from '../support/size.ts';
import type { Address } from './values.ts';

export interface BalancerProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export const problem = (path: BalancerProblem['path'], message: string): BalancerProblem => ({
  path,
  message,
});

interface Route {
  readonly path: string;
  readonly methods?: readonly string[] | undefined;
}

interface Balancer {
  readonly listen: Address;
  readonly admin: Address;
  readonly engine: 'embedded' | 'haproxy';
  readonly tls?: { readonly redirectFrom?: Address | undefined } | undefined;
  readonly sticky: 'address' | Sticky;
  readonly trustedProxies: readonly string[];
  readonly deny: readonly string[];
  readonly limits: {
    readonly bodyRate?: number | undefined;
    readonly buffer: number;
    readonly replayBody: number;
  };
  readonly idempotency?: object | undefined;
}

interface Sticky {
  readonly cookie?: string | undefined;
  readonly maxAge?: number | undefined;
  readonly sameSite?: 'lax' | 'strict' | 'none' | undefined;
  readonly session?: string | undefined;
  readonly application?: string | undefined;
  readonly header?: string | undefined;
}

interface Tls {
  readonly certificates?: readonly object[] | undefined;
  readonly selfSigned: boolean;
  readonly hsts?: number | undefined;
}

export function tlsProblems({ certificates, selfSigned, hsts }: Tls): BalancerProblem[] {
  if (!selfSigned)
    return certificates ? [] : [problem(['certificates'], 'expected certificates, or selfSigned: true')];
  const problems: BalancerProblem[] = [];
  if (certificates !== undefined) {
    const message = 'a self-signed certificate is made instead of one from files: leave out one of the two';
    problems.push(problem(['selfSigned'], message));
  }
  if (hsts !== undefined) {
    const message = 'browsers heed it only under a certificate that they trust: leave it out';
    problems.push(problem(['hsts'], message));
  }
  return problems;
}

export const defaultSticky = { cookie: 'holdfast', sameSite: 'lax' } as const;

/** One way to stay, and nothing that belongs to another one. */
export function stickyProblems(sticky: Sticky): BalancerProblem[] {
  const problems: BalancerProblem[] = [];
  const { header, application } = sticky;
  const refuse = (keys: readonly (keyof Sticky)[], reason: string) => {
    for (const key of keys) if (sticky[key] !== undefined) problems.push(problem([key], reason));
  };
  if (header !== undefined) {
    const others = ['cookie', 'maxAge', 'sameSite', 'session', 'application'] as const;
    refuse(others, 'users stay by one thing, and here it is `header`: leave this out');
  } else if (application !== undefined) {
    refuse(['session'], 'with `application` this is said already: leave it out');
    refuse(['maxAge'], "with `application` users stay as long as the application's cookie: leave this out");
  }
  const own = sticky.cookie ?? defaultSticky.cookie;
  for (const key of ['application', 'session'] as const) {
    const message = "expected another name than that of the balancer's own cookie";
    if (sticky[key] === own) problems.push(problem([key], message));
  }
  return problems;
}

/** A route after one that takes everything it could get is a mistake in the order. */
export function routeProblems(routes: readonly Route[]): BalancerProblem[] {
  return routes.flatMap((route, index) => {
    const earlier = routes.findIndex((other, at) => at < index && takesAllOf(other, route));
    if (earlier === -1) return [];
    const message = `this route is never reached: routes[${earlier}] before it takes all of its requests`;
    return [problem([index], message)];
  });
}

function takesAllOf(one: Route, other: Route): boolean {
  const { methods } = one;
  const everyMethod =
    methods === undefined || (other.methods?.every((method) => methods.includes(method)) ?? false);
  return everyMethod && withSlash(other.path).startsWith(withSlash(one.path));
}

const withSlash = (path: string): string => (path.endsWith('/') ? path : `${path}/`);

interface Limits {
  readonly headers: number;
  readonly target: number;
  readonly headersTimeout: number;
  readonly requestTimeout: number;
  readonly connections: number;
  readonly connectionsPerAddress?: number | undefined;
}

/** A limit that could never be reached, because another one that includes it comes first. */
export function limitProblems(limits: Limits): BalancerProblem[] {
  const { headers, target, headersTimeout, requestTimeout, connections, connectionsPerAddress = 0 } = limits;
  const problems: BalancerProblem[] = [];
  if (target > headers) {
    const message = `${formatSize(target)} is more than \`headers\` (${formatSize(headers)}), of which it is a part`;
    problems.push(problem(['target'], message));
  }
  if (headersTimeout > requestTimeout) {
    const [whole, part] = [formatDuration(requestTimeout), formatDuration(headersTimeout)];
    const message = `${whole} is less than \`headersTimeout\` (${part}), which is a part of it`;
    problems.push(problem(['requestTimeout'], message));
  }
  if (connectionsPerAddress > connections) {
    const message = `${connectionsPerAddress} is more than \`connections\` (${connections}), of which it is a part`;
    problems.push(problem(['connectionsPerAddress'], message));
  }
  return problems;
}

export function balancerProblems(balancer: Balancer): BalancerProblem[] {
  return [...addressProblems(balancer), ...cookieProblems(balancer), ...engineProblems(balancer)];
}

function addressProblems({ listen, tls, admin }: Balancer): BalancerProblem[] {
  const places: readonly [path: readonly string[], address: Address | undefined][] = [
    [['listen'], listen],
    [['tls', 'redirectFrom'], tls?.redirectFrom],
    [['admin'], admin],
  ];
  return places.flatMap(([path, address], index) => {
    const [taken] = places
      .slice(0, index)
      .filter(([, other]) => address !== undefined && other !== undefined && clash(address, other));
    if (taken === undefined) return [];
    return [problem(path, `expected another address: \`${taken[0].join('.')}\` takes this one`)];
  });
}

const everywhere: readonly string[] = ['0.0.0.0', '::'];

function clash(one: Address, other: Address): boolean {
  if (one.port === 0 || one.port !== other.port) return false;
  return one.host === other.host || everywhere.includes(one.host) || everywhere.includes(other.host);
}

/** Users may come by https although nothing is said of TLS: through a proxy in front, which then is trusted. */
function cookieProblems({ sticky, tls, trustedProxies }: Balancer): BalancerProblem[] {
  if (sticky === 'address' || tls !== undefined || trustedProxies.length > 0) return [];
  const problems: BalancerProblem[] = [];
  if (sticky.sameSite === 'none') {
    const message = 'browsers refuse a cookie with `none` that does not come by https: set `balancer.tls`';
    problems.push(problem(['sticky', 'sameSite'], message));
  }
  if (/^__(?:host|secure)-/i.test(sticky.cookie ?? '')) {
    const message = 'browsers refuse a cookie of this name that does not come by https: set `balancer.tls`';
    problems.push(problem(['sticky', 'cookie'], message));
  }
  return problems;
}

/** What HAProxy keeps of a body is a buffer, which each request under way takes. */
const largestHaproxyReplayBytes = 1_048_576;

/** JavaScript's own: HAProxy's library for regular expressions refuses them, or reads them otherwise. */
const onlyJavaScript = /\\u|\[\^?\]/;

/** Only what differs from the default is a wish. */
function engineProblems({ engine, idempotency, limits, deny }: Balancer): BalancerProblem[] {
  if (engine === 'embedded') return [];
  const problems: BalancerProblem[] = [];
  const beyond = (path: BalancerProblem['path'], why: string) =>
    problems.push(problem(path, `\`engine: haproxy\` cannot do this: ${why}`));
  if (idempotency !== undefined) beyond(['idempotency'], 'HAProxy cannot ask the arbiter about a key');
  if (limits.bodyRate !== undefined)
    beyond(['limits', 'bodyRate'], 'HAProxy cuts a body that stands still, not one that is slow');
  if (limits.buffer !== defaultLimits.bufferBytes)
    beyond(['limits', 'buffer'], 'HAProxy has one size of buffer for everything: leave this out');
  if (limits.replayBody > largestHaproxyReplayBytes)
    beyond(['limits', 'replayBody'], `it keeps ${formatSize(largestHaproxyReplayBytes)} of a body at most`);
  for (const [index, pattern] of deny.entries()) {
    if (!onlyJavaScript.test(pattern)) continue;
    beyond(['deny', index], 'only JavaScript knows \\u, [] and [^]: write \\x41 and [\\s\\S]');
  }
  return problems;
}
