/**
 * The policy `defer`: while the arbiter is away, changes are kept in this instance's memory and saved, in order,
 * when it is back. They are lost only if this instance dies first; that is the price of the policy, and `status()`
 * shows how many there are.
 *
 * A save that was sent without an answer may have been applied. It stays first, as it was sent, so that the arbiter
 * can recognise it; what comes later is composed into one further save.
 */
import { randomUUID } from 'node:crypto';
import {
  applyDelta,
  composeDeltas,
  type MergeResolvers,
  rebaseDelta,
  type SessionValues,
} from '../protocol/session-merge.ts';
import type { Log } from '../support/log.ts';
import { isUnavailable } from './arbiter-watch.ts';
import type { SaveJob, SaveOutcome } from './delta-writer.ts';
import type { VersionTag } from './version-cookie.ts';

export interface DeferredSession {
  readonly tag: VersionTag;
  readonly values: SessionValues;
  readonly idleMs: number;
  idleDeadlineMs: number;
  readonly absoluteDeadlineMs: number;
  readonly destroyed: boolean;
  /** In the order in which they must be written. */
  readonly saves: DeferredSave[];
}

interface DeferredSave {
  readonly job: SaveJob;
  /** May have reached the arbiter: nothing can be added to it any more. */
  sent: boolean;
}

export interface DeferredSaves {
  get(idHash: string): DeferredSession | undefined;
  /** Keeps a save. `sent`: it may have reached the arbiter. */
  keep(job: SaveJob, sent: boolean, start: Start): DeferredSession;
  keepDestroyed(idHash: string): void;
  /** Writes everything, in order; one drain at a time. Rejects where the arbiter is away again. */
  drain(): Promise<void>;
  readonly size: number;
}

/** The session as it was before the first deferred save. */
interface Start {
  readonly version: number;
  readonly values: SessionValues;
  readonly idleDeadlineMs: number;
  readonly absoluteDeadlineMs: number;
}

export function openDeferredSaves(options: {
  readonly merge: MergeResolvers;
  readonly log: Log;
  write(job: SaveJob): Promise<SaveOutcome>;
  destroy(idHash: string): Promise<unknown>;
}): DeferredSaves {
  const sessions = new Map<string, DeferredSession>();
  let draining: Promise<void> | undefined;
  let lastLocalVersion = 0;

  function keep(job: SaveJob, sent: boolean, start: Start): DeferredSession {
    const before = sessions.get(job.idHash);
    const current = before?.values ?? start.values;
    const delta = rebaseDelta(job.delta, current, options.merge);
    const saves = before?.saves ?? [];
    const last = saves.at(-1);
    if (last && !last.sent) {
      last.job.delta = composeDeltas(last.job.delta, delta);
    } else {
      // Notified: other instances may have read the session meanwhile and hold what it was without this.
      const saveId = sent ? job.saveId : randomUUID();
      saves.push({ job: { ...job, delta, saveId, notify: true }, sent });
    }
    const session: DeferredSession = {
      tag: { version: before?.tag.version ?? start.version, deferred: (before?.tag.deferred ?? 0) + 1 },
      // Versions of keys that no arbiter gave are negative: they equal none that it ever gives.
      values: applyDelta(current, delta, --lastLocalVersion),
      idleMs: job.idleMs,
      idleDeadlineMs: start.idleDeadlineMs,
      absoluteDeadlineMs: before?.absoluteDeadlineMs ?? start.absoluteDeadlineMs,
      destroyed: before?.destroyed ?? false,
      saves,
    };
    sessions.set(job.idHash, session);
    return session;
  }

  async function drainSession(idHash: string): Promise<void> {
    for (let session = sessions.get(idHash); session; session = sessions.get(idHash)) {
      const [save] = session.saves;
      if (session.destroyed) {
        await options.destroy(idHash);
        sessions.delete(idHash);
      } else if (!save) {
        sessions.delete(idHash);
      } else {
        save.sent = true;
        const outcome = await options.write(save.job);
        session.saves.shift();
        if (outcome.kind === 'ended') {
          sessions.delete(idHash);
          options.log.warn(
            { outcome: outcome.why },
            'A deferred save found its session ended; it was discarded.',
          );
        }
      }
    }
  }

  async function drainAll(): Promise<void> {
    for (const idHash of sessions.keys()) {
      try {
        await drainSession(idHash);
      } catch (error) {
        if (isUnavailable(error)) throw error;
        sessions.delete(idHash);
        options.log.error({ error }, 'A deferred save was refused by the arbiter; it is lost.');
      }
    }
  }

  return {
    get: (idHash) => sessions.get(idHash),
    keep,
    keepDestroyed(idHash) {
      const before = sessions.get(idHash);
      const nothing = { version: 0, deferred: 0 };
      sessions.set(idHash, {
        tag: before?.tag ?? nothing,
        values: new Map(),
        idleMs: 0,
        idleDeadlineMs: 0,
        absoluteDeadlineMs: 0,
        destroyed: true,
        saves: [],
      });
    },
    drain() {
      draining ??= drainAll().finally(() => {
        draining = undefined;
      });
      return draining;
    },
    get size() {
      return sessions.size;
    },
  };
}
