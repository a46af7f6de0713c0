/**
 * Sessions that survive the instance: a store for express-session and @fastify/session on the arbiter.
 *
 *   const sessions = openSessions();
 *   app.use(sessions.express(expressSession, { secret }));
 */
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { migrate } from '../database/migrate.ts';
import { poolSizes } from '../database/pools.ts';
import { HoldfastError } from '../support/errors.ts';
import { silentLog } from '../support/log.ts';
import { isUnavailable } from './arbiter-watch.ts';
import type { AwayPolicy } from './core-options.ts';
import {
  type ExpressMiddleware,
  type ExpressSessionFactory,
  type ExpressSessionOptions,
  expressSessions,
} from './express-sessions.ts';
import {
  type FastifySessionPlugin,
  type FastifySessionsOptions,
  type FastifySessionsPlugin,
  fastifySessions,
} from './fastify-sessions.ts';
import { hashSessionId, openSessionCodec } from './session-codec.ts';
import { SessionCore } from './session-core.ts';
import { unavailable } from './session-errors.ts';
import { resolveOptions, type SessionsOptions } from './session-options.ts';
import {
  destroySessions,
  findSessions,
  type ListedSession,
  listSessions,
  pruneSessions,
  revokeUserSessions,
  sessionsPerInstance,
} from './session-statements.ts';
import { SessionStore } from './session-store.ts';
import { defaultUserOf } from './session-values.ts';
import { type VersionSigner, versionSigner } from './version-cookie.ts';

export {
  type MergeResolver,
  type MergeResolvers,
  mergeAppended,
  mergeCounter,
} from '../protocol/session-merge.ts';
export type {
  AwayPolicy,
  ExpressMiddleware,
  ExpressSessionFactory,
  ExpressSessionOptions,
  FastifySessionPlugin,
  FastifySessionsOptions,
  FastifySessionsPlugin,
  ListedSession,
  SessionStore,
  SessionsOptions,
};
export {
  destroySessions,
  findSessions,
  listSessions,
  pruneSessions,
  revokeUserSessions,
  sessionsPerInstance,
};

export interface SessionsStatus {
  readonly instance: string | undefined;
  /** The arbiter does not answer; `policy` says what happens meanwhile. */
  readonly away: boolean;
  readonly policy: AwayPolicy;
  /** Whether revocations would be heard, without which no copy is served. */
  readonly listenerHeardMsAgo: number | undefined;
  readonly cached: number;
  /** Reads answered from memory, with proof. */
  readonly hits: number;
  /** Reads answered from memory because the arbiter was away. */
  readonly servedWhileAway: number;
  /** Reads for which the arbiter was asked. */
  readonly asked: number;
  readonly saves: number;
  readonly conflicts: number;
  readonly touchBatches: number;
  readonly waitingTouches: number;
  /** Sessions with changes that only this instance has. */
  readonly deferred: number;
}

export interface Sessions {
  /** For `app.use(…)`; replaces `expressSession({ … })`. */
  express(factory: ExpressSessionFactory, options: ExpressSessionOptions): ExpressMiddleware;
  /** For `app.register(…)`, after @fastify/cookie; replaces @fastify/session. */
  fastify(plugin: FastifySessionPlugin, options: FastifySessionsOptions): FastifySessionsPlugin;
  /** The bare store, for either. Without version cookies: every read asks the arbiter. */
  readonly store: SessionStore;
  list(filter?: {
    readonly user?: string | undefined;
    readonly limit?: number | undefined;
  }): Promise<ListedSession[]>;
  /** Ends every session of a user, on every instance; how many there were. */
  revokeUser(user: string): Promise<number>;
  /** Ends one session, by its id or by (the beginning of) what `list` calls its id; whether there was one. */
  revoke(id: string): Promise<boolean>;
  status(): SessionsStatus;
  /** Writes what waits. */
  close(): Promise<void>;
}

/** Connects when first used. Throws CONFIGURATION_INVALID or CONFIGURATION_MISSING. */
export function openSessions(options: SessionsOptions = {}): Sessions {
  const resolved = resolveOptions(options, process.env);
  const { database, instance } = resolved;
  const clock = options.clock ?? systemClock;
  const codec = openSessionCodec(resolved.encryptionKeys);
  const arbiter =
    typeof database === 'string'
      ? openArbiter({
          url: database,
          max: poolSizes.sessions,
          applicationName: `holdfast sessions${instance ? ` ${instance}` : ''}`,
          connectTimeoutMs: 1_000,
        })
      : database;

  let prepared: Promise<void> | undefined;
  const core = new SessionCore({
    arbiter,
    prepare() {
      prepared ??= migrate(arbiter).catch((error) => {
        prepared = undefined;
        throw error;
      });
      return prepared;
    },
    clock,
    log: options.log ?? silentLog,
    instance,
    idleMs: resolved.idleMs,
    absoluteMs: resolved.absoluteMs,
    away: resolved.away,
    codec,
    merge: options.merge ?? {},
    userOf: options.userOf ?? defaultUserOf,
    cacheEntries: options.cacheEntries ?? 10_000,
  });

  /** For the administrator's questions, which no copy can answer. */
  const ask = <T>(question: () => Promise<T>): Promise<T> =>
    core.ask(question).catch((error) => {
      throw isUnavailable(error) ? unavailable(error) : error;
    });

  return {
    express: (factory, given) =>
      expressSessions(core, signerOf(options.secret ?? given.secret), factory, given),
    fastify: (plugin, given) =>
      fastifySessions(core, fastifySigner(options.secret ?? given.secret), plugin, given),
    store: new SessionStore(core),
    list: (filter) => ask(() => listSessions(arbiter, filter)),
    revokeUser: (user) => ask(() => revokeUserSessions(arbiter, user)),
    revoke: (id) => ask(async () => (await destroySessions(arbiter, [await meant(arbiter, id)])) > 0),
    status: () => statusOf(core, instance, resolved.away, clock.monotonicMs()),
    async close() {
      await core.close();
      if (arbiter !== database) await arbiter.close();
    },
  };
}

/** The hash that is meant: a whole one, the only one that begins so, or that of an id. */
async function meant(arbiter: Arbiter, id: string): Promise<string> {
  if (!/^[0-9a-f]{8,64}$/.test(id)) return hashSessionId(id);
  const [only, other] = await findSessions(arbiter, id);
  if (other) {
    throw new HoldfastError('USAGE', `Several sessions begin with ${id}.`, {
      remedy: 'Give more of the id.',
    });
  }
  return only ?? hashSessionId(id);
}

type ExpressSecret = ExpressSessionOptions['secret'];

function signerOf(secret: ExpressSecret): VersionSigner {
  const secrets = Array.isArray(secret) ? secret : [secret];
  const usable = secrets.filter((it) => typeof it === 'string' || ArrayBuffer.isView(it));
  return versionSigner(usable);
}

function fastifySigner(secret: string | FastifySessionsOptions['secret']): VersionSigner | undefined {
  if (typeof secret === 'string') return versionSigner([secret]);
  return Array.isArray(secret) ? versionSigner(secret) : undefined; // a signer of one's own: give openSessions a secret
}

function statusOf(
  core: SessionCore,
  instance: string | undefined,
  policy: AwayPolicy,
  nowMs: number,
): SessionsStatus {
  const heardMsAgo = nowMs - core.revocations.lastHeardMs();
  const { loads, ...counters } = core.counters;
  return {
    instance,
    away: core.isAway(),
    policy,
    listenerHeardMsAgo: Number.isFinite(heardMsAgo) ? Math.round(heardMsAgo) : undefined,
    cached: core.cache.size,
    ...counters,
    asked: loads,
    waitingTouches: core.touches.size,
    deferred: core.deferred.size,
  };
}
