/**
 * This instance's copies. A copy is served without asking only when two things are proved: the user's cookie names
 * exactly its version and was confirmed (version-cookie.ts), and the listener heard the arbiter a moment ago, so that
 * a revocation would have come.
 *
 * An answer from the arbiter may be overtaken by a revocation on the listener's own connection. So a copy goes into
 * the cache only if no notification came while its question was under way.
 */
import type { SessionValues } from '../protocol/session-merge.ts';
import { isNewer, sameTag, type VersionTag } from './version-cookie.ts';

export interface CachedSession {
  readonly tag: VersionTag;
  /** The nonces of the version cookies that the arbiter confirmed for this copy. */
  readonly confirmed: readonly string[];
  readonly values: SessionValues;
  readonly idleMs: number;
  /** When this instance's own touches let it end; monotonic, as all of these. */
  idleDeadlineMs: number;
  /** When it ends for all that the arbiter knows. */
  persistedDeadlineMs: number;
  readonly absoluteDeadlineMs: number;
}

export interface SessionCache {
  get(idHash: string): CachedSession | undefined;
  /** `moment` is what `moment()` returned before the arbiter was asked. */
  put(idHash: string, session: CachedSession, moment: number): void;
  drop(idHash: string): void;
  clear(): void;
  moment(): number;
  readonly size: number;
}

/** A browser has one cookie; a few are under way at once. */
const maxConfirmed = 8;

export function openSessionCache(maxEntries: number): SessionCache {
  const entries = new Map<string, CachedSession>();
  let notifications = 0;
  return {
    get(idHash) {
      const entry = entries.get(idHash);
      if (entry) {
        // A Map keeps insertion order: moved to the end, the first is the least recently used.
        entries.delete(idHash);
        entries.set(idHash, entry);
      }
      return entry;
    },
    put(idHash, session, moment) {
      const before = entries.get(idHash);
      if (moment !== notifications || maxEntries < 1) {
        entries.delete(idHash);
        return;
      }
      if (before && isNewer(before.tag, session.tag)) return; // answers overtake each other too
      const still = before && sameTag(before.tag, session.tag) ? before.confirmed : [];
      entries.delete(idHash);
      entries.set(idHash, { ...session, confirmed: [...still, ...session.confirmed].slice(-maxConfirmed) });
      if (entries.size > maxEntries) {
        const [oldest] = entries.keys();
        if (oldest !== undefined) entries.delete(oldest);
      }
    },
    drop(idHash) {
      notifications++;
      entries.delete(idHash);
    },
    clear() {
      notifications++;
      entries.clear();
    },
    moment: () => notifications,
    get size() {
      return entries.size;
    },
  };
}
