import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import type { AccessLogOptions } from './engine.ts';
import { type LineFile, openLineFile } from './line-file.ts';

/**
 * Who asked for what, and what came of it: one line of JSON for each request. The log stands beside the traffic and
 * never in its way (line-file.ts). What users must be able to trust: no secret gets here. There are no headers in an
 * entry, and of the target only the path, because a query or a path parameter (`;jsessionid=…`) may let in whoever
 * reads it.
 */
export interface AccessEntry {
  readonly requestId: string;
  readonly client: string;
  readonly method: string;
  readonly host: string | undefined;
  /** As in the request line; what may be secret in it is left out here. */
  readonly target: string;
  /** Such as `HTTP/1.1`. */
  readonly protocol: string;
  /** The version of TLS; undefined for plain HTTP. */
  readonly tls: string | undefined;
  readonly status: number;
  /** Bytes of the bodies. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** The one that answered, or the last one that was tried. */
  readonly instance: string | undefined;
  /** How many instances it was sent to. */
  readonly attempts: number;
  readonly replayed: boolean;
  /** Why the balancer answered instead of an instance. */
  readonly refusedBecause: string | undefined;
}

export interface AccessLog {
  /** Asked before an entry is made, because most requests may not need one. */
  wants(status: number): boolean;
  write(entry: AccessEntry): void;
  /** How many lines were lost so far, because they could not be written. */
  readonly droppedLines: number;
  /** Writes what is there, for a second at most. */
  close(): Promise<void>;
}

export interface AccessLogDeps {
  /** A number from 0 up to 1. */
  readonly random: () => number;
  readonly wallMs: () => number;
  readonly log: Log;
}

/** Throws where the file cannot be opened: that is told at the start, and not found out when the log is needed. */
export function openAccessLog(options: AccessLogOptions, deps: AccessLogDeps): AccessLog {
  const { file, sample } = options;
  let lines: LineFile;
  try {
    lines = openLineFile(file, deps.log);
  } catch (error) {
    const reason = (error as Error).message;
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      `balancer.accessLog.file: ${file} cannot be opened: ${reason}`,
      {
        remedy:
          'Name a file in a folder that exists and that the balancer may write to, or - for standard output.',
        cause: error,
      },
    );
  }
  return {
    wants: (status) => status >= 500 || (sample > 0 && (sample >= 1 || deps.random() < sample)),
    write: (entry) => lines.append(lineOf(entry, deps.wallMs())),
    get droppedLines() {
      return lines.droppedLines;
    },
    close: () => lines.close(),
  };
}

/** The time is that of the end of the request. */
function lineOf(entry: AccessEntry, wallMs: number): string {
  const { requestId, client, method, host, target, instance, refusedBecause } = entry;
  const fields = {
    time: new Date(wallMs).toISOString(),
    requestId: printable(requestId),
    client: printable(client),
    method: printable(method),
    host: printable(host),
    path: printable(pathWithoutSecrets(target)),
    protocol: entry.protocol,
    tls: entry.tls,
    status: entry.status,
    bytesIn: entry.bytesIn,
    bytesOut: entry.bytesOut,
    durationMs: Math.round(entry.durationMs * 10) / 10,
    instance: printable(instance),
    attempts: entry.attempts,
    replayed: entry.replayed,
    refusedBecause: printable(refusedBecause),
  };
  return `${JSON.stringify(fields)}\n`;
}

/** Nothing for a target that is no path, such as `user:password@host:443`. */
function pathWithoutSecrets(target: string): string | undefined {
  if (target === '*') return target;
  const path = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '');
  if (!path.startsWith('/')) return undefined;
  if (!/[?#;%]/.test(path)) return path;
  // The escaped marks as well: they come from links that somebody escaped once too often.
  return path.replace(/(?:[?#]|%3f|%23).*/is, '').replace(/(?:;|%3b)[^/]*/gi, '');
}

/** Whoever looks at the log with a terminal must see letters, and not what a client wants the terminal to do. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;

function printable(text: string | undefined): string | undefined {
  if (text === undefined || /^[ -~]*$/.test(text)) return text;
  return text.replace(unprintable, '\ufffd');
}
