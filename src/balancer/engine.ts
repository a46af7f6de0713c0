import { performance } from 'node:perf_hooks';
import type { TrustedProxies } from '../protocol/forwarded.ts';
import { parseTrustedProxies } from '../protocol/forwarded.ts';
import type { HealthThresholds } from '../protocol/health.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';

/**
 * What carries the traffic. An engine is told a routing table and does the rest: it listens, picks an instance for
 * each request, keeps users where they belong, watches the instances itself, and replays what may be replayed. It
 * knows nothing of where the table comes from, so it goes on for ever with the last one it was given. Every engine
 * passes the same conformance suite (src/testing/balancer-suite.ts).
 */
export interface Engine {
  /** Replaces the routing table. Requests under way are not disturbed, unless their instance is gone. */
  apply(table: RoutingTable): void;
  status(): EngineStatus;
  /** Stops listening, lets requests under way finish for `graceMs` (default 10 s), then cuts what is left. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

export interface EngineStatus {
  readonly listen: { readonly host: string; readonly port: number };
  /** In the order of the routing table. */
  readonly instances: readonly InstanceTraffic[];
}

export interface InstanceTraffic {
  readonly instance: string;
  /** This balancer's own verdict, from its own checks. */
  readonly healthy: boolean;
  /** Requests and tunnels that the instance has not finished. */
  readonly inFlight: number;
  /** Since the last request began or ended here; since the instance was listed, if there was none. */
  readonly idleMs: number;
  /** Requests that this instance did not answer and that were sent to another one. */
  readonly replayed: number;
  /** Requests that ended in an error for the client because of this instance. */
  readonly failed: number;
  /** Requests sent to this instance, failed ones included. */
  readonly requests: number;
}

export interface HealthOptions extends HealthThresholds {
  readonly path: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

/** What a client can make the balancer hold. Every number has a default. */
export interface Limits {
  /** Request line and headers together. */
  readonly headerBytes: number;
  readonly headerCount: number;
  /** Until the headers are complete. */
  readonly headersTimeoutMs: number;
  /** Until the whole request, body included, is there. */
  readonly requestTimeoutMs: number;
  /** Between two pieces of a request body. */
  readonly bodyIdleMs: number;
  readonly bodyBytes: number;
  /** How long a client's connection may stay open between two requests. */
  readonly clientIdleMs: number;
  readonly connections: number;
  /** How long a request waits for an instance when there is none. */
  readonly holdMs: number;
  /** How many requests may wait so; more are refused at once. */
  readonly heldRequests: number;
  /** How much of a request body is kept for a replay. */
  readonly replayBodyBytes: number;
  /** Until the connection to an instance stands. */
  readonly connectTimeoutMs: number;
}

export interface EngineOptions {
  /** Port 0 takes a free one; `status()` says which. */
  readonly listen: { readonly host: string; readonly port: number };
  /** The sticky cookie. Without `maxAgeMs` it ends with the browser session. */
  readonly sticky?: { readonly cookie: string; readonly maxAgeMs?: number };
  /** Addresses and CIDR blocks of proxies whose forwarded headers are believed. */
  readonly trustedProxies?: readonly string[];
  readonly health?: Partial<HealthOptions>;
  /** From the last byte of the request to the first of the response. */
  readonly responseTimeoutMs?: number;
  readonly limits?: Partial<Limits>;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  readonly log?: Log;
  /** Called whenever this balancer's own verdict on an instance changes. */
  readonly onInstanceHealth?: (instance: string, healthy: boolean) => void;
}

export type EngineSettings = Omit<
  Required<EngineOptions>,
  'health' | 'limits' | 'trustedProxies' | 'clock'
> & {
  readonly health: HealthOptions;
  readonly limits: Limits;
  readonly trusted: TrustedProxies;
  readonly nowMs: () => number;
};

export const defaultHealth: HealthOptions = {
  path: '/',
  everyMs: 1_000,
  timeoutMs: 500,
  unhealthyAfter: 2,
  healthyAfter: 2,
};

export const defaultLimits: Limits = {
  headerBytes: 16 * 1024,
  headerCount: 128,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 600_000,
  bodyIdleMs: 60_000,
  bodyBytes: Number.POSITIVE_INFINITY,
  clientIdleMs: 65_000,
  connections: 10_000,
  holdMs: 5_000,
  heldRequests: 1_000,
  replayBodyBytes: 64 * 1024,
  connectTimeoutMs: 1_000,
};

/** The options with every default filled in; refuses what no engine could work with, naming the place. */
export function resolveOptions(options: EngineOptions): EngineSettings {
  const { trusted, invalid } = parseTrustedProxies(options.trustedProxies ?? []);
  if (invalid.length > 0) {
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      `balancer.trustedProxies: ${invalid.map((entry) => JSON.stringify(entry)).join(', ')} is no address or CIDR block`,
      { remedy: 'Write addresses such as 10.0.0.7 or blocks such as 10.0.0.0/8.' },
    );
  }
  const sticky = options.sticky ?? { cookie: 'holdfast' };
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(sticky.cookie)) {
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      `balancer.sticky.cookie: ${JSON.stringify(sticky.cookie)} cannot be the name of a cookie`,
      { remedy: 'Use letters, digits, dashes and underscores.' },
    );
  }
  const { clock } = options;
  return {
    listen: options.listen,
    sticky,
    trusted,
    health: { ...defaultHealth, ...options.health },
    responseTimeoutMs: options.responseTimeoutMs ?? 60_000,
    limits: { ...defaultLimits, ...options.limits },
    log: options.log ?? silentLog,
    nowMs: clock ? () => clock.monotonicMs() : () => performance.now(),
    onInstanceHealth: options.onInstanceHealth ?? (() => undefined),
  };
}
