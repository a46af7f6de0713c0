import type { Rendered } from './config.ts';
import { unusualOptions } from './config-frontends.ts';
import {
  type BackendName,
  fullWeight,
  kindsIn,
  type ServerKind,
  serverId,
  serverName,
} from './config-names.ts';
import { stickyResponseRules, useServerRules } from './config-sticky.ts';
import { hostText, lines, longestMs, quoted, section, time } from './config-text.ts';
import { errorPages, errorsOfUnknownFate } from './refusal-pages.ts';

/** A check that left the verdict in doubt, or an error in traffic, is followed by the next check so soon. */
const inDoubtMs = 50;

/**
 * Requests that may be repeated. What an instance does not answer goes to another one: when the connection fails, when
 * it breaks before the response, and when the instance is found frozen: its checks fail, it is marked down, and its
 * requests are taken from it. HAProxy repeats what it has the whole of; so a body is waited for as far as it can be
 * kept.
 */
export function appBackend(rendered: Rendered): string {
  const { settings } = rendered;
  const { health, limits, slowStartMs } = settings;
  return section(
    'backend app',
    balance,
    'http-reuse always',
    'retries 3',
    'option redispatch 1',
    'retry-on conn-failure empty-response 0rtt-rejected',
    healthCheck(rendered),
    `http-request wait-for-body time ${time(limits.requestTimeoutMs)} if !METH_GET !METH_HEAD`,
    common(rendered, 'app'),
    `default-server ${serverOptions(rendered)} pool-purge-delay 2s inter ${time(health.everyMs)} fastinter ${time(Math.min(inDoubtMs, health.everyMs))} fall ${health.unhealthyAfter} rise ${health.healthyAfter} observe layer7 error-limit 1 on-error fastinter${slowStartMs > 0 ? ` slowstart ${time(slowStartMs)}` : ''}`,
    // HAProxy 2.6 repeats what it takes from an instance that is marked down; later ones were seen to end it.
    '.if !version_atleast(2.7)',
    'default-server on-marked-down shutdown-sessions',
    '.endif',
    servers(rendered, 'app'),
  );
}

/** Requests that must not be repeated: only what never left for an instance goes to another one. */
export function onceBackend(rendered: Rendered): string {
  const { settings, files } = rendered;
  return section(
    'backend once',
    balance,
    'http-reuse never',
    'option http-server-close',
    'retries 3',
    'option redispatch 1',
    'retry-on conn-failure',
    errorPages(errorsOfUnknownFate, files.pages),
    common(rendered, 'once'),
    `default-server ${serverOptions(rendered)}${settings.slowStartMs > 0 ? ` slowstart ${time(settings.slowStartMs)}` : ''}`,
    servers(rendered, 'once'),
  );
}

/** Everything, when nobody answers his checks: whoever is up in his agent's words, and takes the connection. */
export function anyBackend(rendered: Rendered): string {
  const { settings, files } = rendered;
  const { limits } = settings;
  const pauseMs = Math.min(1_000, limits.connectTimeoutMs);
  return section(
    'backend any',
    balance,
    'http-reuse never',
    'option http-server-close',
    `retries ${Math.min(Math.max(3, Math.ceil(limits.holdMs / pauseMs)), 30)}`,
    'option redispatch 1',
    'retry-on conn-failure',
    errorPages(errorsOfUnknownFate, files.pages),
    common(rendered, 'any'),
    `default-server ${serverOptions(rendered)}`,
    servers(rendered, 'any'),
  );
}

/**
 * Two connections are drawn more often than two: of five draws the least loaded instance is taken, which is nearly
 * the least loaded of all, and where nobody has anything to do the draws follow the weights.
 */
const balance = 'balance random(5)';

function common({ settings, files }: Rendered, backend: BackendName): string {
  const { sticky, routes } = settings;
  const times = routes.flatMap(({ responseTimeoutMs }, index) =>
    responseTimeoutMs === undefined
      ? []
      : [`http-request set-timeout server ${time(responseTimeoutMs)} if { var(txn.route) -m int ${index} }`],
  );
  const kind = kindsIn[backend][0] as ServerKind;
  return lines(
    ...times,
    `http-request set-timeout server ${longestMs}ms if { req.hdr(holdfast-occupant) -m found }`,
    'use-server waiting if { req.hdr(holdfast-occupant) -m found }',
    useServerRules(sticky, kind),
    "http-response del-header '^(keep-alive|proxy-connection|proxy-authenticate|proxy-authorization|te|trailer)$' -m reg",
    `http-response lua.response_options if { res.fhdr(connection) -m found } ${unusualOptions('res')}`,
    'http-response set-var(txn.served) srv_name,bytes(1)',
    stickyResponseRules(sticky, files),
  );
}

function healthCheck({ settings }: Rendered): string {
  const { path, status, body } = settings.health;
  return lines(
    'option httpchk',
    `http-check send meth GET uri ${quoted(path)} ver HTTP/1.1 hdr Host localhost hdr User-Agent holdfast hdr Connection close`,
    `http-check expect status ${status[0]}-${status[1]}`,
    body !== undefined && `http-check expect rstring ${quoted(body)}`,
  );
}

const noLimit = 1_000_000;

function serverOptions({ settings }: Rendered): string {
  const { limits, proxyProtocolTo } = settings;
  const most = limits.requestsPerInstance;
  return [
    `weight ${fullWeight}`,
    // Without any limit HAProxy 3 leaves those who wait in the queue when an instance comes.
    `maxconn ${Math.min(most, noLimit)}`,
    proxyProtocolTo === 'v1' ? 'send-proxy check-send-proxy' : '',
    proxyProtocolTo === 'v2' ? 'send-proxy-v2 check-send-proxy' : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/** One for each slot, and the waiting room behind them. */
function servers(rendered: Rendered, backend: BackendName): string {
  const numbers = Array.from({ length: rendered.slots }, (_, index) => index + 1);
  return lines(
    ...kindsIn[backend].flatMap((kind) => numbers.map((slot) => serverLine(rendered, backend, kind, slot))),
    `server waiting unix@${rendered.files.room} id 9999 backup maxconn 1`,
  );
}

function serverLine({ last }: Rendered, backend: BackendName, kind: ServerKind, slot: number): string {
  const instance = last.servers.get(slot);
  const address = instance === undefined ? '127.0.0.1:1' : `${hostText(instance.host)}:${instance.port}`;
  const weight = kind === 'main' ? instance?.weight : instance?.reserveWeight;
  const words = [`server ${serverName(kind, slot)} ${address} id ${serverId(kind, slot)}`];
  if (weight !== undefined && weight !== fullWeight) words.push(`weight ${weight}`);
  if (kind === 'reserve') words.push('backup');
  if (backend === 'any') words.push(instance?.listed ? '' : 'disabled');
  else if (backend === 'app' && kind === 'main')
    words.push(instance === undefined ? 'check disabled' : 'check');
  // Checks, drains and maintenance of an instance are those of its server in `app`.
  else words.push(`track app/${serverName('main', slot)}`);
  return words.join(' ').trim();
}

/** The door is where the one connection comes in that keeps a waiting room taken; the room is where it stays. */
export function waitingRoom({ files }: Rendered): string {
  const forever = time(Number.POSITIVE_INFINITY);
  const isOccupant = '{ req.hdr(holdfast-occupant) -m found }';
  return lines(
    section(
      'frontend door',
      `bind unix@${files.door} mode 600`,
      `timeout client ${forever}`,
      'use_backend once if { path /once }',
      'use_backend any if { path /any }',
      'default_backend app',
    ),
    section(
      'frontend room',
      `bind unix@${files.room} mode 600`,
      `timeout client ${forever}`,
      `timeout tarpit ${forever}`,
      `http-request tarpit if ${isOccupant}`,
      'http-request reject',
    ),
  );
}
