/**
 * The section `balancer`: where users are served, how they stay with their instance, what the balancer believes of
 * other proxies, and what a client can make it hold. The limits' defaults are taken from the engine, so that what is
 * documented and what is done cannot differ.
 */
import { z } from 'zod';
import { defaultLimits } from '../balancer/options.ts';
import { formatDuration } from '../support/duration.ts';
import { formatSize } from '../support/size.ts';
import {
  type BalancerProblem,
  balancerProblems,
  defaultSticky,
  limitProblems,
  problem,
  routeProblems,
  stickyProblems,
  tlsProblems,
} from './balancer-checks.ts';
import {
  duration,
  filePath,
  flag,
  listenAddress,
  name,
  network,
  regularExpression,
  requestPath,
  size,
  text,
  wholeNumber,
} from './values.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const kilobyte = 1_024;
const megabyte = 1_024 * kilobyte;
const terabyte = megabyte * megabyte;

/** Reports what a check found, each at its key. */
const reported =
  <Value>(check: (value: Value) => readonly BalancerProblem[]) =>
  (value: Value, context: z.core.$RefinementCtx<Value>) => {
    for (const { path, message } of check(value))
      context.addIssue({ code: 'custom', path: [...path], message, input: value });
  };

const workers = z
  .union([z.literal('auto'), wholeNumber(1, 64)], {
    error: 'expected a number of processes from 1 to 64, or auto',
  })
  .default(1)
  .describe('Processes that share the port, so that more than one core is used; `auto`: one for each core.');

const certificate = z.strictObject({
  certificate: filePath.describe('PEM file with the certificate, followed by its chain.'),
  key: filePath.describe('PEM file with its private key.'),
});

const tls = z
  .strictObject({
    certificates: z
      .array(certificate, { error: 'expected a list of {certificate, key}' })
      .min(1, { error: 'expected at least one certificate' })
      .optional()
      .describe(
        'Certificates, chosen by the host name that a client asks for; the first is for all others. The files are read again when they change.',
      ),
    selfSigned: flag
      .default(false)
      .describe('Make a certificate that no browser trusts by itself; for development.'),
    minVersion: z
      .enum(['TLSv1.2', 'TLSv1.3'], { error: 'expected TLSv1.2 or TLSv1.3' })
      .default('TLSv1.2')
      .describe('The oldest version of TLS that a client may use.'),
    http2: flag.default(true).describe('Serve HTTP/2 to the clients that offer it.'),
    redirectFrom: listenAddress
      .optional()
      .describe('Address such as `0.0.0.0:80` on which plain HTTP is answered with a redirect to https.'),
    hsts: duration(second, 3_650 * day)
      .optional()
      .describe('Browsers come only by https for this long (Strict-Transport-Security). Left out: not said.'),
  })
  .superRefine(reported(tlsProblems))
  .optional()
  .describe('Serve users by https. Left out: plain HTTP.');

const tokenPattern = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const cookieName = text('expected the name of a cookie', tokenPattern);

/** One map and not one for each kind: what is missing in a map of several forms could not be told clearly. */
const stickyMap = z
  .strictObject({
    cookie: cookieName.optional().meta({
      default: defaultSticky.cookie,
      description: 'Name of the cookie that the balancer sets.',
    }),
    maxAge: duration(second, 400 * day)
      .optional()
      .describe('How long browsers keep that cookie. Left out: until they are closed.'),
    sameSite: z.enum(['lax', 'strict', 'none'], { error: 'expected lax, strict or none' }).optional().meta({
      default: defaultSticky.sameSite,
      description: 'When browsers send that cookie with requests that other sites cause.',
    }),
    session: cookieName
      .optional()
      .describe("The application's session cookie: when it is deleted, its user may go anywhere again."),
    application: cookieName
      .optional()
      .describe(
        "Instead: the application's own session cookie, such as `XASSESSIONID`. Only users who have one stay.",
      ),
    header: text('expected the name of a header', tokenPattern)
      .optional()
      .describe('Instead: a header; requests with the same value go to the same instance.'),
  })
  .superRefine(reported(stickyProblems));

const sticky = z
  .union([stickyMap, z.literal('address')], {
    error: 'expected {cookie: NAME}, {application: NAME}, {header: NAME} or address',
  })
  .prefault({})
  .describe(
    'How a user stays on one instance as long as it is there: by a `cookie` of the balancer, by the session cookie of the `application`, by a `header`, or by the client `address`.',
  );

const networks = z.array(network, { error: 'expected a list of networks' });

const proxyProtocol = z
  .strictObject({
    from: networks
      .min(1, { error: 'expected at least one network' })
      .optional()
      .describe('Networks whose connections must begin with a PROXY header, version 1 or 2.'),
    to: z
      .enum(['v1', 'v2'], { error: 'expected v1 or v2' })
      .optional()
      .describe("Tell the instances the client's address so. Each request then has a connection of its own."),
  })
  .superRefine(
    reported(({ from, to }) =>
      from === undefined && to === undefined ? [problem(['from'], 'expected from, to or both')] : [],
    ),
  )
  .optional()
  .describe("The PROXY protocol, by which a balancer of TCP connections hands on the client's address.");

const method = text('expected a method in capital letters, such as POST', /^[A-Z]+(?:-[A-Z]+)*$/).refine(
  (value) => value !== 'CONNECT',
  { error: 'expected another method: CONNECT is always refused' },
);

const responseTimeout = duration(100, day);
const bodySize = size(0, terabyte);

const route = z.strictObject({
  path: requestPath
    .refine((value) => !value.includes('?'), { error: 'expected a path without a query' })
    .describe('What the path of a request begins with, in whole segments, such as `/api/search`.'),
  methods: z
    .array(method, { error: 'expected a list of methods' })
    .min(1, { error: 'expected at least one method' })
    .optional()
    .describe('Only these methods. Left out: all.'),
  repeatable: flag
    .default(false)
    .describe('Doing it twice does no harm, whatever the method: it is repeated elsewhere like a GET.'),
  body: bodySize.optional().describe('Largest body of a request. Left out: `balancer.limits.body`.'),
  timeout: responseTimeout.optional().describe('Until a response begins. Left out: `balancer.timeout`.'),
});

const routes = z
  .array(route, { error: 'expected a list of routes' })
  .superRefine(reported(routeProblems))
  .default([])
  .describe('What is different for requests to certain paths. The first route that fits counts.');

const limits = z
  .strictObject({
    headers: size(kilobyte, megabyte)
      .prefault(formatSize(defaultLimits.headerBytes))
      .describe('Request line and headers together (431).'),
    headerCount: wholeNumber(10, 10_000)
      .default(defaultLimits.headerCount)
      .describe('Number of headers (431).'),
    target: size(128, megabyte)
      .prefault(formatSize(defaultLimits.targetBytes))
      .describe('Path and query of a request (414).'),
    headersTimeout: duration(100, hour)
      .prefault(formatDuration(defaultLimits.headersTimeoutMs))
      .describe('Until the headers are complete (408).'),
    requestTimeout: duration(100, 7 * day)
      .prefault(formatDuration(defaultLimits.requestTimeoutMs))
      .describe('Until the whole request is there, body included (408).'),
    body: bodySize.optional().describe('Body of a request (413). Left out: of any size.'),
    bodyIdle: duration(100, day)
      .prefault(formatDuration(defaultLimits.bodyIdleMs))
      .describe('Between two pieces of a request body (408).'),
    bodyRate: size(1, terabyte)
      .optional()
      .describe(
        'A request body that arrives with less than this in each second, on the average after 10 s, is refused (408). Left out: it may be slow.',
      ),
    readIdle: duration(100, day)
      .prefault(formatDuration(defaultLimits.readIdleMs))
      .describe('A response of which the client takes nothing for this long is cut.'),
    clientIdle: duration(100, day)
      .prefault(formatDuration(defaultLimits.clientIdleMs))
      .describe("How long a client's connection stays open between two requests."),
    tunnelIdle: duration(second, 30 * day)
      .prefault(formatDuration(defaultLimits.tunnelIdleMs))
      .describe('A WebSocket or other tunnel on which nothing moved for this long is cut.'),
    connections: wholeNumber(1, 1_000_000)
      .default(defaultLimits.connections)
      .describe('Connections of all clients together.'),
    connectionsPerAddress: wholeNumber(1, 1_000_000)
      .optional()
      .describe('Connections of one client address. Left out: no limit of its own.'),
    requestsPerInstance: wholeNumber(1, 1_000_000)
      .optional()
      .describe('Requests that one instance works on at a time; more of them wait. Left out: any number.'),
    heldRequests: wholeNumber(0, 1_000_000)
      .default(defaultLimits.heldRequests)
      .describe('Requests that may wait for an instance; more are refused at once (503).'),
    replayBody: size(0, 64 * megabyte)
      .prefault(formatSize(defaultLimits.replayBodyBytes))
      .describe('How much of a request body is kept, so that the request can be repeated elsewhere.'),
    buffer: size(16 * kilobyte, 64 * megabyte)
      .prefault(formatSize(defaultLimits.bufferBytes))
      .describe('How much of a response waits for a slow client before the instance is slowed down.'),
    connectTimeout: duration(10, minute)
      .prefault(formatDuration(defaultLimits.connectTimeoutMs))
      .describe('Until a connection to an instance stands; then the next instance is tried.'),
  })
  .prefault({})
  .superRefine(reported(limitProblems))
  .describe('What a client can make the balancer hold. In parentheses: the status with which it is refused.');

const drain = z
  .strictObject({
    idle: duration(0, day)
      .prefault('10s')
      .describe('A user who was not seen for this long is moved with the next request.'),
    jitter: duration(0, hour)
      .prefault('5s')
      .describe(
        'WebSockets are closed at moments spread over this long before the end of `app.stop.drain`, so that not everybody comes back at once.',
      ),
  })
  .prefault({})
  .describe('How users leave an instance that is to stop. They may stay as long as `app.stop.drain`.');

const pageName = text(
  'expected the status of an error page such as "503", or maintenance',
  /^(?:[45]\d\d|maintenance)$/,
);

const accessLog = z
  .strictObject({
    file: text('expected the path of a file, or "-" for standard output').describe(
      'File to which it is written, or `"-"`: standard output.',
    ),
    sample: z
      .number({ error: 'expected a number from 0 to 1' })
      .min(0, { error: 'expected a number from 0 to 1' })
      .max(1, { error: 'expected a number from 0 to 1' })
      .default(1)
      .describe('Share of the requests that are written. Those that ended in an error always are.'),
  })
  .optional()
  .describe('A line of JSON for each request. Left out: none.');

export const balancerSchema = z
  .strictObject({
    listen: listenAddress.prefault('0.0.0.0:8080').describe('Address on which users are served.'),
    engine: z
      .enum(['embedded', 'haproxy'], { error: 'expected embedded or haproxy' })
      .default('embedded')
      .describe("What carries the traffic: Holdfast's own engine, or a HAProxy that Holdfast drives."),
    workers,
    tls,
    sticky,
    trustedProxies: networks
      .default([])
      .describe(
        'Networks of proxies in front of the balancer. Only theirs is believed in forwarded headers.',
      ),
    proxyProtocol,
    hold: duration(0, hour)
      .prefault('5s')
      .describe('How long a request waits when no instance can take it, before it is answered with 503.'),
    timeout: responseTimeout
      .prefault('60s')
      .describe('Until a response begins, counted from the end of the request (504).'),
    routes,
    deny: z
      .array(regularExpression, { error: 'expected a list of regular expressions' })
      .default([])
      .describe(
        'Regular expressions of paths that users must not see, such as `^/\\w+-doc/`. They are answered with 404, in whatever spelling and case.',
      ),
    limits,
    slowStart: duration(0, hour)
      .prefault('30s')
      .describe('How long an instance that is new or comes back takes to get its full share of new users.'),
    drain,
    weights: z
      .record(name, wholeNumber(1, 100))
      .default({})
      .describe('Shares of new users by instance, relative to each other. An instance not named has 1.'),
    pages: z
      .record(pageName, filePath)
      .default({})
      .describe('HTML files instead of the built-in pages: by status, or for `maintenance`.'),
    accessLog,
    admin: listenAddress
      .prefault('127.0.0.1:0')
      .describe(
        'Address of a small page with metrics and status. It asks for no password: keep it off public networks. Port 0: a free one.',
      ),
    idempotency: z
      .strictObject({
        keep: duration(minute, 366 * day)
          .prefault('24h')
          .describe('How long a key, and the response to its request, is remembered.'),
      })
      .optional()
      .describe(
        'Heed the header `Idempotency-Key`: a request that comes again under the same key gets the response of the first one. Left out: the header means nothing to the balancer.',
      ),
  })
  .prefault({})
  .superRefine(reported(balancerProblems))
  .describe('The balancer in front of the instances.');

/** Every name must be one of the cluster's instances. */
export function weightProblems(
  weights: z.output<typeof balancerSchema>['weights'],
  known: readonly string[],
): BalancerProblem[] {
  return Object.keys(weights)
    .filter((instance) => !known.includes(instance))
    .map((instance) =>
      problem(['weights', instance], `"${instance}" is no instance of this cluster (${known.join(', ')})`),
    );
}
