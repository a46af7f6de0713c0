import { createHash } from 'node:crypto';
import type { EngineOptions } from '../engine.ts';
import { defaultLimits, type EngineSettings, resolveOptions } from '../options.ts';
import { anyBackend, appBackend, onceBackend, waitingRoom } from './config-backends.ts';
import { entryFrontend, hopBackend, onceFrontend, redirectFrontend } from './config-frontends.ts';
import { usersTable } from './config-sticky.ts';
import { lines, section, time } from './config-text.ts';
import { defaultSlots, filesIn, type HaproxyPlace, type PlaceFiles } from './place.ts';
import { refusalStatuses, refusalVariable } from './refusal-pages.ts';
import { emptyState, type RuntimeState } from './wanted-state.ts';

/**
 * The whole haproxy.cfg. It says how traffic is carried, and nothing of the instances: those come by the runtime
 * socket, so that no change of them ever needs another configuration.
 *
 *     clients → entry ─┬─ what may be repeated ──────────→ app  ─→ instances
 *                      ├─ what may not → (socket) → once ─→ once ─→ instances
 *                      └─ when all instances look sick ──→ any  ─→ instances
 *
 * Why what may not be repeated goes through a socket of its own: when an instance dies with a request that was not the
 * first of its client's connection, HAProxy closes that connection without a word, so that the browser sends the
 * request again. For a POST that is just what must not happen. Behind the socket each request is the first one, and is
 * answered with 502 and what is known of its fate.
 *
 * Why requests wait in HAProxy's queue when there is no instance: each backend has a last server, the waiting room,
 * that takes one connection, and that connection is taken by us for good. HAProxy sees a server that is full, and
 * queues; whichever instance comes first takes the queue over.
 */
export interface Rendered {
  /** With these instances a HAProxy begins; what comes later is told at run time. */
  readonly last: RuntimeState;
  readonly settings: EngineSettings;
  readonly options: EngineOptions;
  readonly files: PlaceFiles;
  readonly slots: number;
  readonly bufferBytes: number;
}

/**
 * The options of the engine are taken and not its settings, because those hold networks as a question only. `last` are
 * the instances with which a HAProxy begins that is started with this file, whoever starts it.
 */
export function renderHaproxyConfig(
  options: EngineOptions,
  where: HaproxyPlace,
  last: RuntimeState = emptyState,
): string {
  const settings = resolveOptions(options);
  const { limits } = settings;
  const isDefault = limits.replayBodyBytes === defaultLimits.replayBodyBytes;
  const replayBytes = isDefault ? usualReplayBytes : Math.min(limits.replayBodyBytes, largestReplayBytes);
  const rendered: Rendered = {
    last,
    settings,
    options,
    files: filesIn(where.folder),
    slots: where.slots ?? defaultSlots,
    bufferBytes: roundUp(limits.headerBytes + replayBytes + spareBytes),
  };
  // The instances do not belong to what one configuration is and another is not.
  const digest = digestOf(sections({ ...rendered, last: emptyState }));
  return sections(rendered).replace(digestMark, digest);
}

const sections = (rendered: Rendered): string =>
  [
    introduction(rendered),
    globalSection(rendered),
    defaultsSection(rendered),
    entryFrontend(rendered),
    redirectFrontend(rendered),
    hopBackend(rendered),
    onceFrontend(rendered),
    appBackend(rendered),
    onceBackend(rendered),
    anyBackend(rendered),
    waitingRoom(rendered),
    tables(rendered),
  ]
    .filter((text) => text !== '')
    .join('\n');

/** For whoever finds the file, or runs it by himself. */
const introduction = ({
  files,
}: Rendered): string => `# HAProxy for Holdfast. Made from its configuration, and written anew with each change: do not edit it.
# The instances come through the runtime socket; those below are the last ones, for the next start.
# haproxy -W -S ${files.master},mode,600 -f ${files.config}
`;

/** By this a running HAProxy tells which configuration it has. */
export const digestIn = (config: string): string =>
  /^ {2}description holdfast-([0-9a-f]+)$/m.exec(config)?.[1] ?? '';

const digestMark = '@digest@';
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

/** What HAProxy keeps in each buffer beside the message. */
const spareBytes = 4 * 1024;
/**
 * For each request that may be repeated HAProxy copies a whole buffer, whatever is in it; so the buffers are small, and
 * bodies beyond this are kept only where somebody asked for it.
 */
const usualReplayBytes = 12 * 1024;
const largestReplayBytes = 1024 * 1024;
const roundUp = (bytes: number): number => Math.ceil(bytes / 1024) * 1024;

function globalSection({ settings, files, bufferBytes }: Rendered): string {
  const { limits, tls, workers } = settings;
  return section(
    'global',
    `description holdfast-${digestMark}`,
    `stats socket ${files.runtime} mode 600 level admin expose-fd listeners`,
    'stats timeout 24d',
    `nbthread ${workers}`,
    // A port that somebody else has is an error, not something to be shared with him.
    'noreuseport',
    // HAProxy takes what the system allows, up to this: four for a request that must not be repeated.
    `fd-hard-limit ${4 * limits.connections + spareFiles}`,
    `tune.bufsize ${bufferBytes}`,
    `tune.http.maxhdr ${Math.min(Math.max(limits.headerCount + 64, 101), 32_767)}`,
    `lua-load ${files.lua}`,
    tls !== undefined && `ssl-default-bind-options ssl-min-ver ${tls.minVersion ?? 'TLSv1.2'} no-tls-tickets`,
    tls !== undefined &&
      'ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305',
    refusalStatuses.map((status) => `set-var proc.${refusalVariable(status)} int(0)`).join('\n'),
  );
}

/** Listeners, checks, logs, idle connections to instances. */
const spareFiles = 2_000;

function defaultsSection({ settings }: Rendered): string {
  const { limits, responseTimeoutMs, health } = settings;
  return section(
    'defaults',
    'mode http',
    'option abortonclose',
    `timeout http-request ${time(limits.headersTimeoutMs)}`,
    `timeout client ${time(Math.min(limits.bodyIdleMs, limits.readIdleMs))}`,
    `timeout http-keep-alive ${time(limits.clientIdleMs)}`,
    `timeout connect ${time(limits.connectTimeoutMs)}`,
    `timeout server ${time(responseTimeoutMs)}`,
    `timeout tunnel ${time(limits.tunnelIdleMs)}`,
    `timeout queue ${time(limits.holdMs)}`,
    `timeout check ${time(health.timeoutMs)}`,
    'timeout client-fin 2s',
  );
}

function tables({ settings }: Rendered): string {
  const { limits, drain } = settings;
  return lines(
    section(
      `backend ${usersTable}`,
      `stick-table type string len 32 size 200k expire ${time(drain.idleMs)} store gpt0`,
    ),
    limits.connectionsPerAddress !== Number.POSITIVE_INFINITY &&
      section('backend addresses', 'stick-table type ipv6 size 200k expire 1h store conn_cur'),
  );
}
