/** What the store is told: by the agent in the environment, and by the application in the call, which wins. */
import type { Arbiter } from '../database/arbiter.ts';
import type { MergeResolvers } from '../protocol/session-merge.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import type { AwayPolicy } from './core-options.ts';

export interface SessionsOptions {
  /** Where the sessions are: a URL, or a connection that the caller closes. Default: HOLDFAST_DATABASE. */
  readonly database?: string | Arbiter;
  /** Default: HOLDFAST_INSTANCE. */
  readonly instance?: string;
  /** How long a session may stay unused, where its cookie has no maxAge. Default: 30 minutes. */
  readonly idleMs?: number;
  /** How long it may live at all. Default: 7 days. */
  readonly absoluteMs?: number;
  /** What happens while the arbiter is away. Default: fail. */
  readonly away?: AwayPolicy;
  /** 32 bytes in base64 or hex. In a list, the first encrypts and every one decrypts. */
  readonly encryptionKey?: string | readonly string[];
  /** Signs version cookies. Default: the secret given to `express` or `fastify`. */
  readonly secret?: string;
  /** The user to whom a session belongs, for `list` and `revokeUser`. */
  readonly userOf?: (data: Readonly<Record<string, unknown>>) => string | undefined;
  /** How concurrent changes of one key are merged. Default: the later save wins. */
  readonly merge?: MergeResolvers;
  /** Copies kept in memory. Default: 10,000. */
  readonly cacheEntries?: number;
  readonly clock?: Clock;
  readonly log?: Log;
}

export interface ResolvedOptions {
  readonly database: string | Arbiter;
  readonly instance: string | undefined;
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly away: AwayPolicy;
  readonly encryptionKeys: readonly string[];
}

const policies: readonly AwayPolicy[] = ['fail', 'readonly', 'defer'];

/** Throws CONFIGURATION_INVALID or CONFIGURATION_MISSING and names the place. */
export function resolveOptions(
  options: SessionsOptions,
  environment: Readonly<Record<string, string | undefined>>,
): ResolvedOptions {
  const given = fromEnvironment(environment.HOLDFAST_SESSIONS);
  const database = options.database ?? environment.HOLDFAST_DATABASE;
  if (!database) {
    throw new HoldfastError('CONFIGURATION_MISSING', 'openSessions was told of no database.', {
      remedy: 'Run the application under `holdfast agent`, or set HOLDFAST_DATABASE, or pass { database }.',
    });
  }
  const keys = options.encryptionKey ?? given.encryptionKey ?? [];
  return {
    database,
    instance: options.instance ?? environment.HOLDFAST_INSTANCE,
    idleMs: duration('idleMs', options.idleMs ?? given.idleMs ?? 1_800_000),
    absoluteMs: duration('absoluteMs', options.absoluteMs ?? given.absoluteMs ?? 604_800_000),
    away: policy(options.away ?? given.away ?? 'fail'),
    encryptionKeys: (Array.isArray(keys) ? keys : [keys]).map(text),
  };
}

function fromEnvironment(json: string | undefined): Record<string, unknown> {
  if (!json) return {};
  try {
    const parsed: unknown = JSON.parse(json);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return { ...parsed };
  } catch {
    // Reported below. The parser's message would quote the text, which may hold a key.
  }
  throw invalid('HOLDFAST_SESSIONS is not a JSON object');
}

function duration(name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  throw invalid(`sessions.${name} must be a number of milliseconds above 0`);
}

function policy(value: unknown): AwayPolicy {
  const known = policies.find((name) => name === value);
  if (known) return known;
  throw invalid(`sessions.away must be one of ${policies.join(', ')}`);
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw invalid('sessions.encryptionKey must be a string');
}

function invalid(message: string): HoldfastError {
  return new HoldfastError('CONFIGURATION_INVALID', `${message}.`);
}
