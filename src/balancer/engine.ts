import type { HealthThresholds } from '../protocol/health.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import type { IdempotencyLedger } from './idempotency.ts';

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

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface EngineStatus {
  readonly listen: Address;
  /** In the order of the routing table. */
  readonly instances: readonly InstanceTraffic[];
  readonly clients: ClientTraffic;
}

/** What this balancer counts of its clients; all but `connections` only ever rise. */
export interface ClientTraffic {
  /** Open at the moment. */
  readonly connections: number;
  readonly accepted: number;
  /** Answers that came from the balancer and not from an instance, by status. */
  readonly refusals: Readonly<Record<string, number>>;
  /** Requests that wait for an instance. */
  readonly waiting: number;
}

/** What this balancer counts of one instance. `null`: this engine cannot know it. */
export interface InstanceTraffic {
  readonly instance: string;
  /** This balancer's own verdict, from its own checks. */
  readonly healthy: boolean;
  /** Requests and tunnels that the instance has not finished. */
  readonly inFlight: number;
  /** Connections to the instance, the idle ones included. */
  readonly connections: number;
  /** Since the last request began or ended here; since the instance was listed, if there was none. */
  readonly idleMs: number;
  /** Sticky users who were here within `drain.idleMs`. */
  readonly users: number | null;
  /** Requests sent to this instance, failed ones included. */
  readonly requests: number;
  /** Responses of this instance by class: 1xx, 2xx, 3xx, 4xx, 5xx. */
  readonly responses: readonly [number, number, number, number, number];
  /** Requests that this instance did not answer and that were sent to another one. */
  readonly replayed: number;
  /** Requests that ended in an error for the client because of this instance, those of unknown fate included. */
  readonly failed: number;
  /** Of the failed ones: those that may or may not have been carried out. */
  readonly unknown: number;
  /** How often this balancer took the instance out because its checks failed. */
  readonly ejections: number;
  /** From the moment a request was sent here to the first byte of its response. */
  readonly latency: LatencyHistogram | null;
  /** The share of new users that it gets, 0 to 1, as it comes back gradually; 1: its full one. */
  readonly warmth: number;
}

export interface LatencyHistogram {
  /** One count for each of `latencyBucketsMs` (not cumulative), and one more for what took longer. */
  readonly counts: readonly number[];
  readonly sumMs: number;
}

/** Upper bounds of the latency histogram. */
export const latencyBucketsMs: readonly number[] = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
];

export interface HealthOptions extends HealthThresholds {
  readonly path: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
  /** Lowest and highest status of a good answer. */
  readonly status: readonly [number, number];
  /** A regular expression that the first 64 KiB of the body must match. Left out: the body does not matter. */
  readonly body?: string;
}

/** What a client can make the balancer hold. Every number has a default. */
export interface Limits {
  /** Request line and headers together. */
  readonly headerBytes: number;
  readonly headerCount: number;
  /** The target of the request line. */
  readonly targetBytes: number;
  /** Until the headers are complete. */
  readonly headersTimeoutMs: number;
  /** Until the whole request, body included, is there. */
  readonly requestTimeoutMs: number;
  /** Between two pieces of a request body. */
  readonly bodyIdleMs: number;
  /** A body that arrives more slowly than this, on the average after the first 10 s, is refused; 0: no limit. */
  readonly bodyBytesPerSecond: number;
  readonly bodyBytes: number;
  /** A response of which the client took nothing for so long is cut. */
  readonly readIdleMs: number;
  /** How long a client's connection may stay open between two requests. */
  readonly clientIdleMs: number;
  /** A tunnel on which nothing moved for so long is cut. */
  readonly tunnelIdleMs: number;
  /** Of all clients together. */
  readonly connections: number;
  /** Of one client address. */
  readonly connectionsPerAddress: number;
  /** Requests that one instance works on at a time; more of them wait. */
  readonly requestsPerInstance: number;
  /** How long a request waits for an instance when there is none, or when all are busy. */
  readonly holdMs: number;
  /** How many requests may wait so; more are refused at once. */
  readonly heldRequests: number;
  /** How much of a request body is kept for a replay. */
  readonly replayBodyBytes: number;
  /** How much of a response waits for a slow client before the instance is slowed down. */
  readonly bufferBytes: number;
  /** Until the connection to an instance stands. */
  readonly connectTimeoutMs: number;
}

/** How a user stays with one instance. */
export type StickyOptions =
  /** A cookie that the balancer sets. Without `maxAgeMs` it ends with the browser session. */
  | {
      readonly kind: 'cookie';
      readonly cookie: string;
      readonly maxAgeMs?: number;
      readonly sameSite?: 'lax' | 'strict' | 'none';
      /** The application's session cookie: when the application deletes it, its user belongs nowhere any more. */
      readonly session?: string;
    }
  /**
   * The application's own session cookie. Whoever is given one belongs to the instance that gave it; the balancer
   * notes that in a cookie of its own beside it (`cookie`), so that every balancer knows.
   */
  | {
      readonly kind: 'application';
      readonly session: string;
      readonly cookie: string;
      readonly sameSite?: 'lax' | 'strict' | 'none';
    }
  | { readonly kind: 'header'; readonly header: string }
  | { readonly kind: 'address' };

export interface RouteOptions {
  /** What the path begins with, such as `/api/search`; whole segments. The first route that fits counts. */
  readonly path: string;
  /** Only these methods. Left out: all. */
  readonly methods?: readonly string[];
  /** Doing it twice does no harm, whatever the method: it is replayed like a GET. */
  readonly repeatable?: boolean;
  readonly bodyBytes?: number;
  readonly responseTimeoutMs?: number;
}

export interface DrainOptions {
  /** Sticky users of a draining instance stay until this long after it began to drain. */
  readonly deadlineMs: number;
  /** A user who was not seen for so long is moved with the next request. */
  readonly idleMs: number;
  /** WebSockets are closed at moments spread over so long before the deadline. */
  readonly jitterMs: number;
}

export interface CertificateFiles {
  /** PEM files: the certificate with its chain, and its key. */
  readonly certificate: string;
  readonly key: string;
}

export interface TlsOptions {
  /** The first is for clients that name no host, or one that none of them is for. */
  readonly certificates: readonly CertificateFiles[];
  /** Make one for these names, kept in this folder; for development. Left out: the files above. */
  readonly selfSigned?: { readonly names: readonly string[]; readonly folder: string };
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3';
  /** HTTP/2 for the clients that offer it. */
  readonly http2?: boolean;
  /** Plain HTTP on this address is answered with a redirect to https. */
  readonly redirectFrom?: Address;
  /** Strict-Transport-Security with this age. Left out: none. */
  readonly hstsMs?: number;
}

export interface ProxyProtocolOptions {
  /** Clients from these networks must begin with a PROXY header (v1 or v2). */
  readonly from?: readonly string[];
  /** Tell the instances the client's address so. Each request then has a connection of its own. */
  readonly to?: 'v1' | 'v2';
}

/** A line of JSON for each request. Errors are always written; of the rest, the share that `sample` says. */
export interface AccessLogOptions {
  /** A path, or `-` for standard output. */
  readonly file: string;
  /** 0 to 1. */
  readonly sample: number;
}

/** Listening sockets by name, for processes that take over from each other without closing the port. */
export interface SocketShelf {
  /** The socket of this name, where an earlier process left one. */
  take(name: string): object | undefined;
  keep(name: string, socket: object): void;
}

/** All but the functions is plain data: it is handed to processes that share the work. */
export interface EngineOptions {
  /** Port 0 takes a free one; `status()` says which. */
  readonly listen: Address;
  /** Processes that share the port; 1: only this one. */
  readonly workers?: number;
  readonly tls?: TlsOptions;
  readonly sticky?: StickyOptions;
  /** Addresses and CIDR blocks of proxies whose forwarded headers are believed. */
  readonly trustedProxies?: readonly string[];
  readonly proxyProtocol?: ProxyProtocolOptions;
  readonly health?: Partial<HealthOptions>;
  readonly routes?: readonly RouteOptions[];
  /** Regular expressions of paths that are answered with 404, whatever spelling the client uses for them. */
  readonly deny?: readonly string[];
  /** From the last byte of the request to the first of the response. */
  readonly responseTimeoutMs?: number;
  readonly limits?: Partial<Limits>;
  /** How long an instance that is new or comes back takes until it gets its full share of new users. */
  readonly slowStartMs?: number;
  readonly drain?: Partial<DrainOptions>;
  /** Relative shares of new users by instance; 1 where an instance is not named. */
  readonly weights?: Readonly<Record<string, number>>;
  /** HTML files instead of the built-in pages, by status (`503`) or `maintenance`. */
  readonly pages?: Readonly<Record<string, string>>;
  readonly accessLog?: AccessLogOptions;
  /** Where `Idempotency-Key` is kept. Left out: the header means nothing to the balancer. */
  readonly idempotency?: IdempotencyLedger;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  /** A number from 0 up to 1. */
  readonly random?: () => number;
  readonly log?: Log;
  /** Where listening sockets are kept, so that they outlive this engine. Left out: they end with it. */
  readonly sockets?: SocketShelf;
  /** Called whenever this balancer's own verdict on an instance changes. */
  readonly onInstanceHealth?: (instance: string, healthy: boolean) => void;
}
