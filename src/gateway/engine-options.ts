/**
 * What an engine is told: the configuration, as seen from this host. Pure. What is alive (the log, the ledger of
 * idempotency keys) is added by the process that starts the engine.
 */
import type { Address, EngineOptions, HealthOptions, TlsOptions } from '../balancer/engine.ts';
import type { BalancerTlsSettings, Configuration } from '../settings/index.ts';
import { withoutUndefined } from '../support/without-undefined.ts';

export interface EngineHost {
  readonly hostName: string;
  /** How many processes it can run at the same time. */
  readonly cores: number;
  /** Where the balancer keeps what it makes. */
  readonly folder: string;
  /** What whoever started the balancer wants otherwise than the configuration says. */
  readonly listen?: Address | undefined;
  readonly selfSigned?: boolean | undefined;
}

export function engineOptionsOf(configuration: Configuration, host: EngineHost): EngineOptions {
  const { app, balancer } = configuration;
  const { workers, drain } = balancer;
  const deadlineMs = app.stop.drainMs;
  return {
    listen: host.listen ?? balancer.listen,
    workers: workers === 'auto' ? host.cores : workers,
    ...withoutUndefined({
      tls: tlsOf(configuration, host),
      proxyProtocol: balancer.proxyProtocol,
      accessLog: balancer.accessLog,
    }),
    sticky: balancer.sticky,
    trustedProxies: balancer.trustedProxies,
    health: healthOf(configuration),
    routes: balancer.routes,
    deny: balancer.deny,
    responseTimeoutMs: balancer.responseTimeoutMs,
    limits: balancer.limits,
    slowStartMs: balancer.slowStartMs,
    drain: { deadlineMs, idleMs: drain.idleMs, jitterMs: Math.min(drain.jitterMs, deadlineMs) },
    weights: balancer.weights,
    pages: balancer.pages,
  };
}

/** What its response may take on its way to the client, when everything else has taken its time already. */
const idempotencyMarginMs = 60_000;

/** How the ledger of idempotency keys is to be opened; undefined: the header means nothing. */
export function idempotencyOf({
  balancer,
}: Configuration): { readonly keepMs: number; readonly leaseMs: number } | undefined {
  if (balancer.idempotency === undefined) return undefined;
  const { routes, responseTimeoutMs, limits } = balancer;
  const slowestMs = Math.max(responseTimeoutMs, ...routes.map((route) => route.responseTimeoutMs ?? 0));
  // A large body is still on its way when its key is claimed.
  const leaseMs = limits.requestTimeoutMs + limits.holdMs + slowestMs + idempotencyMarginMs;
  return { keepMs: balancer.idempotency.keepMs, leaseMs };
}

/** The checks of the balancer are those of the agent, so that both mean the same by a healthy instance. */
function healthOf({ app }: Configuration): HealthOptions {
  const { path, everyMs, timeoutMs, unhealthyAfter, healthyAfter, status, body } = app.health;
  return withoutUndefined({ path, everyMs, timeoutMs, unhealthyAfter, healthyAfter, status, body });
}

const developersTls: BalancerTlsSettings = {
  certificates: [],
  selfSigned: true,
  minVersion: 'TLSv1.2',
  http2: true,
  redirectFrom: undefined,
  hstsMs: undefined,
};

/** A self-signed certificate is one for this host and for the address that users open. */
function tlsOf({ app, balancer }: Configuration, host: EngineHost): TlsOptions | undefined {
  const tls = balancer.tls ?? (host.selfSigned ? developersTls : undefined);
  if (tls === undefined) return undefined;
  const { minVersion, http2, redirectFrom, hstsMs } = tls;
  if (!tls.selfSigned && !host.selfSigned)
    return {
      certificates: tls.certificates,
      ...withoutUndefined({ minVersion, http2, redirectFrom, hstsMs }),
    };
  const publicName = app.url === undefined ? [] : [new URL(app.url).hostname.replace(/^\[(.*)\]$/, '$1')];
  return {
    certificates: [],
    selfSigned: { names: [host.hostName, ...publicName], folder: host.folder },
    ...withoutUndefined({ minVersion, http2, redirectFrom }),
  };
}
