/** The section `balancer` in the form in which the code reads it: milliseconds, bytes, absolute paths. Pure. */
import { resolve as resolvePath } from 'node:path';
import type { Limits, RouteOptions, StickyOptions } from '../balancer/engine.ts';
import { withoutUndefined } from '../support/without-undefined.ts';
import { defaultSticky } from './balancer-checks.ts';
import type { BalancerSettings, BalancerTlsSettings } from './configuration.ts';
import type { ParsedInput } from './schema.ts';

type Parsed = ParsedInput['balancer'];

/** `directory` is the absolute path of the folder against which relative paths are meant. */
export function balancerOf(balancer: Parsed, directory: string): BalancerSettings {
  const absolute = (path: string) => resolvePath(directory, path);
  const { accessLog, idempotency, proxyProtocol } = balancer;
  return {
    listen: balancer.listen,
    engine: balancer.engine,
    workers: balancer.workers,
    tls: tlsOf(balancer.tls, absolute),
    sticky: stickyOf(balancer.sticky),
    trustedProxies: balancer.trustedProxies,
    proxyProtocol: proxyProtocol && withoutUndefined(proxyProtocol),
    responseTimeoutMs: balancer.timeout,
    routes: balancer.routes.map(routeOf),
    deny: balancer.deny,
    limits: limitsOf(balancer),
    slowStartMs: balancer.slowStart,
    drain: { idleMs: balancer.drain.idle, jitterMs: balancer.drain.jitter },
    weights: balancer.weights,
    pages: Object.fromEntries(Object.entries(balancer.pages).map(([page, path]) => [page, absolute(path)])),
    accessLog: accessLog && {
      file: accessLog.file === '-' ? '-' : absolute(accessLog.file),
      sample: accessLog.sample,
    },
    admin: balancer.admin,
    idempotency: idempotency && { keepMs: idempotency.keep },
  };
}

function tlsOf(tls: Parsed['tls'], absolute: (path: string) => string): BalancerTlsSettings | undefined {
  if (tls === undefined) return undefined;
  return {
    certificates: (tls.certificates ?? []).map(({ certificate, key }) => ({
      certificate: absolute(certificate),
      key: absolute(key),
    })),
    selfSigned: tls.selfSigned,
    minVersion: tls.minVersion,
    http2: tls.http2,
    redirectFrom: tls.redirectFrom,
    hstsMs: tls.hsts,
  };
}

function stickyOf(sticky: Parsed['sticky']): StickyOptions {
  if (sticky === 'address') return { kind: 'address' };
  const { header, application, maxAge, session } = sticky;
  if (header !== undefined) return { kind: 'header', header };
  const cookie = sticky.cookie ?? defaultSticky.cookie;
  const sameSite = sticky.sameSite ?? defaultSticky.sameSite;
  if (application !== undefined) return { kind: 'application', session: application, cookie, sameSite };
  return { kind: 'cookie', ...withoutUndefined({ cookie, maxAgeMs: maxAge, sameSite, session }) };
}

function routeOf(route: Parsed['routes'][number]): RouteOptions {
  const { path, methods, repeatable, body, timeout } = route;
  return withoutUndefined({ path, methods, repeatable, bodyBytes: body, responseTimeoutMs: timeout });
}

/** What was left out is unlimited; a rate of 0 is. */
function limitsOf({ limits, hold }: Parsed): Limits {
  const unlimited = Number.POSITIVE_INFINITY;
  return {
    headerBytes: limits.headers,
    headerCount: limits.headerCount,
    targetBytes: limits.target,
    headersTimeoutMs: limits.headersTimeout,
    requestTimeoutMs: limits.requestTimeout,
    bodyIdleMs: limits.bodyIdle,
    bodyBytesPerSecond: limits.bodyRate ?? 0,
    bodyBytes: limits.body ?? unlimited,
    readIdleMs: limits.readIdle,
    clientIdleMs: limits.clientIdle,
    tunnelIdleMs: limits.tunnelIdle,
    connections: limits.connections,
    connectionsPerAddress: limits.connectionsPerAddress ?? unlimited,
    requestsPerInstance: limits.requestsPerInstance ?? unlimited,
    holdMs: hold,
    heldRequests: limits.heldRequests,
    replayBodyBytes: limits.replayBody,
    bufferBytes: limits.buffer,
    connectTimeoutMs: limits.connectTimeout,
  };
}
