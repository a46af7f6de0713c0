/** From the options that a caller gives to settings in which nothing is missing and nothing is wrong. */
import { performance } from 'node:perf_hooks';
import { parseTrustedProxies, type TrustedProxies } from '../protocol/forwarded.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';
import type {
  AccessLogOptions,
  Address,
  DrainOptions,
  EngineOptions,
  HealthOptions,
  Limits,
  RouteOptions,
  SocketShelf,
  StickyOptions,
  TlsOptions,
} from './engine.ts';
import type { IdempotencyLedger } from './idempotency.ts';

export interface EngineSettings {
  readonly listen: Address;
  readonly workers: number;
  readonly tls: TlsOptions | undefined;
  readonly sticky: StickyOptions;
  readonly trusted: TrustedProxies;
  /** Clients that begin with a PROXY header; undefined: none. */
  readonly proxyProtocolFrom: TrustedProxies | undefined;
  readonly proxyProtocolTo: 'v1' | 'v2' | undefined;
  readonly health: HealthOptions;
  readonly routes: readonly RouteOptions[];
  readonly deny: readonly RegExp[];
  readonly responseTimeoutMs: number;
  readonly limits: Limits;
  readonly slowStartMs: number;
  readonly drain: DrainOptions;
  readonly weights: Readonly<Record<string, number>>;
  readonly pages: Readonly<Record<string, string>>;
  readonly accessLog: AccessLogOptions | undefined;
  readonly idempotency: IdempotencyLedger | undefined;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly log: Log;
  readonly sockets: SocketShelf;
  readonly onInstanceHealth: (instance: string, healthy: boolean) => void;
}

export const defaultHealth: HealthOptions = {
  path: '/',
  everyMs: 1_000,
  timeoutMs: 500,
  unhealthyAfter: 2,
  healthyAfter: 2,
  status: [200, 399],
};

export const defaultLimits: Limits = {
  headerBytes: 16 * 1024,
  headerCount: 128,
  targetBytes: 8 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 600_000,
  bodyIdleMs: 60_000,
  bodyBytesPerSecond: 0,
  bodyBytes: Number.POSITIVE_INFINITY,
  readIdleMs: 60_000,
  clientIdleMs: 65_000,
  tunnelIdleMs: 3_600_000,
  connections: 10_000,
  connectionsPerAddress: Number.POSITIVE_INFINITY,
  requestsPerInstance: Number.POSITIVE_INFINITY,
  holdMs: 5_000,
  heldRequests: 1_000,
  replayBodyBytes: 64 * 1024,
  bufferBytes: 256 * 1024,
  connectTimeoutMs: 1_000,
};

export const defaultDrain: DrainOptions = { deadlineMs: 30_000, idleMs: 10_000, jitterMs: 5_000 };

const cookieName = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const headerName = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;

const invalid = (place: string, value: unknown, what: string, remedy: string): HoldfastError =>
  new HoldfastError('CONFIGURATION_INVALID', `balancer.${place}: ${JSON.stringify(value)} ${what}`, {
    remedy,
  });

/** The options with every default filled in; refuses what no engine could work with, naming the place. */
export function resolveOptions(options: EngineOptions): EngineSettings {
  const { clock, proxyProtocol } = options;
  return {
    listen: options.listen,
    workers: options.workers ?? 1,
    tls: options.tls,
    sticky: checkedSticky(options.sticky ?? { kind: 'cookie', cookie: 'holdfast' }),
    trusted: networks('trustedProxies', options.trustedProxies ?? []),
    proxyProtocolFrom: proxyProtocol?.from && networks('proxyProtocol.from', proxyProtocol.from),
    proxyProtocolTo: proxyProtocol?.to,
    health: { ...defaultHealth, ...options.health },
    routes: options.routes ?? [],
    deny: (options.deny ?? []).map((pattern, index) => expression(`deny[${index}]`, pattern)),
    responseTimeoutMs: options.responseTimeoutMs ?? 60_000,
    limits: { ...defaultLimits, ...options.limits },
    slowStartMs: options.slowStartMs ?? 0,
    drain: { ...defaultDrain, ...options.drain },
    weights: options.weights ?? {},
    pages: options.pages ?? {},
    accessLog: options.accessLog,
    idempotency: options.idempotency,
    nowMs: clock ? () => clock.monotonicMs() : () => performance.now(),
    random: options.random ?? Math.random,
    log: options.log ?? silentLog,
    sockets: options.sockets ?? privateShelf(),
    onInstanceHealth: options.onInstanceHealth ?? (() => undefined),
  };
}

/** Sockets are kept for as long as the engine is there, for the workers that replace others. */
function privateShelf(): SocketShelf {
  const kept = new Map<string, object>();
  return { take: (name) => kept.get(name), keep: (name, socket) => kept.set(name, socket) };
}

function networks(place: string, entries: readonly string[]): TrustedProxies {
  const { trusted, invalid: wrong } = parseTrustedProxies(entries);
  if (wrong.length === 0) return trusted;
  throw invalid(
    place,
    wrong[0],
    'is no address or CIDR block',
    'Write addresses such as 10.0.0.7 or blocks such as 10.0.0.0/8.',
  );
}

function checkedSticky(sticky: StickyOptions): StickyOptions {
  const names: [place: string, value: string | undefined, pattern: RegExp][] = [];
  if (sticky.kind === 'header') names.push(['sticky.header', sticky.header, headerName]);
  if (sticky.kind === 'cookie' || sticky.kind === 'application') {
    names.push(['sticky.cookie', sticky.cookie, cookieName], ['sticky.session', sticky.session, cookieName]);
  }
  for (const [place, value, pattern] of names) {
    if (value === undefined || pattern.test(value)) continue;
    const what = `cannot be the name of a ${sticky.kind === 'header' ? 'header' : 'cookie'}`;
    throw invalid(place, value, what, 'Use letters, digits, dashes and underscores.');
  }
  return sticky;
}

function expression(place: string, pattern: string): RegExp {
  try {
    return new RegExp(pattern, 'i');
  } catch (error) {
    throw invalid(place, pattern, `is no regular expression (${(error as Error).message})`, 'Correct it.');
  }
}
