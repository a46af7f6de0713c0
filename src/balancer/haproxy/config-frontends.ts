import type { Rendered } from './config.ts';
import { forwardedRules, hostPattern } from './config-forwarded.ts';
import { serverName } from './config-names.ts';
import { denyRules, repeatableRoutes, routeRules } from './config-paths.ts';
import { seatHeaderRules, seatRules, stickyRequestRules } from './config-sticky.ts';
import { hostText, lines, quoted, randomHex, section, time } from './config-text.ts';
import {
  errorPages,
  kindRules,
  mediaTypeRules,
  type RefusalName,
  refusalStatuses,
  refusalVariable,
  refuse,
  usualErrors,
} from './refusal-pages.ts';

/** Where clients come in: everything that concerns a request before it is known who serves it. */
export function entryFrontend(rendered: Rendered): string {
  const { settings, options, files } = rendered;
  const { limits, tls, sticky, listen, routes } = settings;
  const isRepeatable = repeatableRoutes(routes);
  return section(
    'frontend entry',
    bindLine(rendered),
    `maxconn ${limits.connections + 64}`,
    connectionRules(rendered),
    errorPages(usualErrors, files.pages),
    accessLogRules(rendered),
    kindRules,
    traceRules,
    strictRules(rendered),
    forwardedRules({
      encrypted: tls !== undefined,
      trusted: options.trustedProxies ?? [],
      mapped: listen.host.includes(':'),
    }),
    settings.proxyProtocolTo !== undefined && 'http-request set-src var(txn.client)',
    requestIdRules,
    denyRules(settings.deny, files.pages),
    routeRules(routes),
    bodyRules(rendered),
    stickyRequestRules(sticky, files),
    waitingRules(rendered),
    'acl repeatable method GET HEAD OPTIONS TRACE PUT DELETE',
    isRepeatable !== '' && `acl repeatable ${isRepeatable}`,
    'use_backend hop if !repeatable',
    backendRules(rendered, 'app'),
    'http-response set-var(txn.answered) bool(true)',
    'http-response set-var(txn.refused) bool(true) if { res.hdr(holdfast-refused) -m found }',
    'http-response set-var(txn.served) res.hdr(holdfast-slot) if { res.hdr(holdfast-slot) -m found }',
    "http-response del-header '^holdfast-(slot|refused)$' -m reg",
    sticky.kind === 'cookie' || sticky.kind === 'application'
      ? 'http-response sc-set-gpt0(1) var(txn.served) if { var(txn.served) -m found }'
      : '',
    mediaTypeRules,
    refusalCounts,
    tls?.hstsMs !== undefined &&
      `http-after-response set-header Strict-Transport-Security max-age=${Math.floor(tls.hstsMs / 1_000)} if !{ res.hdr(strict-transport-security) -m found }`,
  );
}

/** What comes here must not be repeated; it was looked at by the entry already. */
export function onceFrontend(rendered: Rendered): string {
  const { settings, files } = rendered;
  return section(
    'frontend once-entry',
    `bind unix@${files.once} mode 600 accept-proxy`,
    `maxconn ${settings.limits.connections + 64}`,
    errorPages(usualErrors, files.pages),
    kindRules,
    seatRules,
    'http-request set-var(txn.proto) req.fhdr(x-forwarded-proto)',
    'http-request set-var(txn.id) req.fhdr(x-request-id)',
    routeRules(settings.routes),
    "http-request del-header '^holdfast-seat-' -m reg",
    waitingRules(rendered),
    backendRules(rendered, 'once'),
    'http-response set-var(txn.answered) bool(true)',
    'http-response set-header holdfast-slot %[var(txn.served)] if { var(txn.served) -m found }',
    'http-after-response set-header holdfast-refused yes if !{ var(txn.answered) -m found }',
    mediaTypeRules,
  );
}

/** By a connection of its own for each request, and with the client's address in front of it. */
export function hopBackend({ files }: Rendered): string {
  return section(
    'backend hop',
    'http-reuse never',
    'option http-server-close',
    'retries 0',
    `timeout server ${time(Number.POSITIVE_INFINITY)}`,
    'timeout connect 5s',
    seatHeaderRules,
    `server once unix@${files.once} send-proxy-v2`,
  );
}

/** Plain HTTP is answered with a redirect, whatever it asks for. */
export function redirectFrontend({ settings }: Rendered): string {
  const from = settings.tls?.redirectFrom;
  if (from === undefined) return '';
  const port = settings.listen.port === 443 ? '' : `:${settings.listen.port}`;
  return section(
    'frontend redirect',
    `bind ${hostText(from.host)}:${from.port}`,
    `maxconn ${settings.limits.connections + 64}`,
    `http-request deny deny_status 400 unless { req.fhdr_cnt(host) eq 1 } { req.fhdr(host) -m reg ${hostPattern} }`,
    `http-request redirect code 308 location "https://%[req.fhdr(host),host_only]${port}%[pathq]"`,
  );
}

/** Refuses what would wait in vain. */
function waitingRules({ settings, files }: Rendered): string {
  return lines(
    refuse('underMaintenance', files.pages, `if { str(maintenance),map(${files.flags}) -m found }`),
    ...['app', 'once'].map((backend) =>
      refuse('allBusy', files.pages, `if { queue(${backend}) ge ${settings.limits.heldRequests} }`),
    ),
  );
}

/** When nobody answers his checks, the checks are more likely at fault, and the agents' word is taken. */
function backendRules({ slots }: Rendered, usual: string): string {
  const numbers = Array.from({ length: slots }, (_, index) => index + 1);
  return lines(
    // Asked one by one until the first is found, and slots are filled from the first on.
    ...numbers.map((slot) => `acl healthy srv_is_up(app/${serverName('main', slot)})`),
    ...numbers.map((slot) => `acl listed srv_is_up(any/${serverName('unchecked', slot)})`),
    'use_backend any if !healthy listed',
    `default_backend ${usual}`,
  );
}

function bindLine({ settings, files }: Rendered): string {
  const { listen, tls } = settings;
  const address = `bind ${hostText(listen.host)}:${listen.port}${listen.host === '::' ? ' v4v6' : ''}`;
  // HTTP/2 is for those who agreed on it by TLS; nobody comes to it from HTTP/1.1.
  if (tls === undefined) return `${address} proto h1`;
  return `${address} ssl crt-list ${files.certificates} alpn ${tls.http2 ? 'h2,http/1.1' : 'http/1.1'}`;
}

function connectionRules({ settings, options }: Rendered): string {
  const { connections, connectionsPerAddress } = settings.limits;
  const from = options.proxyProtocol?.from ?? [];
  return lines(
    from.length > 0 && `tcp-request connection expect-proxy layer4 if { src ${from.join(' ')} }`,
    `tcp-request session reject if { fe_conn gt ${connections} }`,
    connectionsPerAddress !== Number.POSITIVE_INFINITY &&
      lines(
        'tcp-request session track-sc0 src table addresses',
        `tcp-request session reject if { sc0_conn_cur gt ${connectionsPerAddress} }`,
      ),
  );
}

/** What could be read in two ways, or asks for too much, is refused before anything else looks at it. */
function strictRules({ settings, files }: Rendered): string {
  const { limits } = settings;
  const no = (name: RefusalName, condition: string) => refuse(name, files.pages, `if ${condition}`);
  return lines(
    no('badMethod', 'METH_CONNECT'),
    no('badRequest', '{ method,length gt 64 }'),
    no('badRequest', '!{ req.ver 1.0 1.1 } !{ fc_http_major 2 }'),
    no('targetTooLong', `{ url,length gt ${limits.targetBytes} }`),
    no('headersTooLarge', `{ req.fhdr_cnt gt ${limits.headerCount} }`),
    // One look at all headers, because it is the dearest of all; what it found is asked afterwards.
    `http-request set-var(txn.crooked) bool(true) if { req.hdrs -m reg '${controls}|^(?s:.{${Math.min(limits.headerBytes, 65_000)}}.)' }`,
    no('headersTooLarge', `{ var(txn.crooked) -m found } { req.hdrs,length gt ${limits.headerBytes} }`),
    no('badRequest', `{ var(txn.crooked) -m found } { req.hdrs -m reg '${controls}' }`),
    no('badRequest', '{ req.fhdr_cnt(host) gt 1 }'),
    no('badRequest', '!{ req.fhdr(host) -m found } !{ req.ver 1.0 }'),
    no('badRequest', `{ req.fhdr(host) -m found } !{ req.fhdr(host) -m reg ${hostPattern} }`),
    no('badRequest', '{ url -m sub \\# }'),
    `http-request set-uri %[pathq] if { url -m reg -i '^https?://[^/@?]+(/|$)' }`,
    no('badRequest', '!{ url -m beg / } !{ url -m str * }'),
    no('badRequest', '{ url -m str * } !{ method OPTIONS }'),
    no('badRequest', '{ req.fhdr(transfer-encoding) -m found } { req.fhdr(content-length) -m found }'),
    no('unknownCoding', '{ req.fhdr_cnt(transfer-encoding) gt 1 }'),
    no(
      'unknownCoding',
      '{ req.fhdr(transfer-encoding) -m found } !{ req.fhdr(transfer-encoding) -m str -i chunked }',
    ),
    no('badRequest', '{ req.fhdr(transfer-encoding) -m found } { req.ver 1.0 }'),
    'http-request del-header Upgrade if { req.fhdr(upgrade) -m sub -i h2c } || !METH_GET',
    `http-request lua.connection_options if { req.fhdr(connection) -m found } ${unusualOptions('req')}`,
    'http-request del-header Connection unless { req.fhdr(upgrade) -m found }',
  );
}

/** Characters that no header may hold. */
const controls = String.raw`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]`;

/** Connection names a header which HAProxy would pass on. */
export const unusualOptions = (side: 'req' | 'res'): string =>
  `!{ ${side}.fhdr(connection) -m reg -i '^((close|keep-alive|upgrade|te|http2-settings)[ ,]*)+$' }`;

const traceparent =
  '^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|(0[1-9a-f]|[1-9a-e][0-9a-f]|f[0-9a-e])-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?)$';

/** A valid `traceparent` is passed on, anything else is replaced; the trace is the name of the request as well. */
const traceRules = lines(
  `http-request set-var(txn.trace) req.fhdr(traceparent) if { req.fhdr(traceparent) -m reg ${quoted(traceparent)} } !{ req.fhdr(traceparent) -m reg '^...0{32}|^.{36}0{16}' }`,
  'http-request set-var(txn.id) var(txn.trace),bytes(3,32) if { var(txn.trace) -m found }',
  `http-request set-var-fmt(txn.id) "${randomHex(32)}" unless { var(txn.trace) -m found }`,
  'http-request del-header tracestate unless { var(txn.trace) -m found }',
  `http-request set-header traceparent "00-%[var(txn.id)]-${randomHex(16)}-01" unless { var(txn.trace) -m found }`,
);

/** A trusted proxy may have named the request already. */
const requestIdRules = lines(
  "http-request set-var(txn.id) req.fhdr(x-request-id) if { var(txn.trusted) -m found } { req.fhdr(x-request-id) -m reg '^[0-9A-Za-z._:-]{1,128}$' }",
  'http-request del-header x_request_id',
  'http-request set-header X-Request-Id %[var(txn.id)]',
);

function bodyRules(rendered: Rendered): string {
  const { settings } = rendered;
  const { routes, limits } = settings;
  const each = routes.map(({ bodyBytes }, index) =>
    bodyLimitRules(rendered, bodyBytes ?? limits.bodyBytes, `{ var(txn.route) -m int ${index} }`),
  );
  const elsewhere = routes.length === 0 ? '' : '!{ var(txn.route) -m found }';
  return lines(...each, bodyLimitRules(rendered, limits.bodyBytes, elsewhere));
}

/**
 * HAProxy knows how long a body is when it was told, or when it has all of it. So a chunked one is waited for as long
 * as what it may be fits into a buffer; beyond that its length must be told.
 */
function bodyLimitRules(
  { settings, files, bufferBytes }: Rendered,
  bodyBytes: number,
  where: string,
): string {
  if (bodyBytes === Number.POSITIVE_INFINITY) return '';
  const { limits } = settings;
  const isChunked = '{ req.fhdr(transfer-encoding) -m found }';
  const fits = bodyBytes < bufferBytes - limits.headerBytes - limits.targetBytes - 2_048;
  return lines(
    fits
      ? `http-request wait-for-body time ${time(limits.requestTimeoutMs)} at-least ${bodyBytes + 1} if ${isChunked} ${where}`
      : refuse('lengthMissing', files.pages, `if ${isChunked} ${where}`),
    refuse('bodyTooLarge', files.pages, `if { req.body_size gt ${bodyBytes} } ${where}`),
  );
}

/**
 * The lines of access-log.ts, written by HAProxy itself to its standard output. No header is in them, and of the
 * target only the path, because a query may let in whoever reads it.
 */
function accessLogRules({ settings, files }: Rendered): string {
  const { accessLog } = settings;
  if (accessLog === undefined) return '';
  const text = (expression: string) => `%{+Q}[${expression},json(utf8s)]`;
  const fields = [
    '"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]"',
    '"requestId":"%[var(txn.id)]"',
    '"client":"%[var(txn.client)]"',
    `"method":${text('capture.req.method')}`,
    `"host":${text('var(txn.host)')}`,
    `"path":${text('var(txn.logged)')}`,
    '"protocol":"%[capture.req.ver]"',
    '"tls":"%sslv"',
    '"status":%ST',
    '"bytesIn":%U',
    '"bytesOut":%B',
    '"durationMs":%Ta',
    `"instance":"%[var(txn.served),map(${files.names})]"`,
    '"attempts":"%rc"',
    '"refusedBecause":"%[var(txn.refused)]"',
  ];
  return lines(
    'log stdout format raw local0',
    `log-format '{${fields.join(',')}}'`,
    `http-request set-var(txn.logged) path,'regsub("(;|%3[bB])[^/]*","",g)','regsub("(#|%3[fF]|%23).*","")'`,
    accessLog.sample < 1 &&
      `http-response set-log-level silent if !{ var(txn.refused) -m found } !{ status ge 500 } !{ rand(1000000) lt ${Math.round(accessLog.sample * 1e6)} }`,
  );
}

/** Our own answers, counted by status in variables of the process: `get var` tells them. */
const refusalCounts = lines(
  'http-after-response set-var(txn.refused) bool(true) if !{ var(txn.answered) -m found }',
  ...refusalStatuses.map(
    (status) =>
      `http-after-response set-var(proc.${refusalVariable(status)}) var(proc.${refusalVariable(status)}),add(1) if { var(txn.refused) -m found } { status ${status} }`,
  ),
);
