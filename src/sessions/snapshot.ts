/**
 * What one request knows of its session: for every key the text and version that it read or wrote last. The next
 * save is the difference to it.
 */
import {
  type MergeResolvers,
  resolverOf,
  resolveTexts,
  type SessionDelta,
  type SessionValues,
} from '../protocol/session-merge.ts';
import type { VersionTag } from './version-cookie.ts';

export interface Snapshot {
  readonly view: SessionValues;
  /** The version as a whole, for the user's cookie. */
  readonly tag: VersionTag;
  /** Whether the view is exactly what the arbiter holds under that version. */
  readonly complete: boolean;
  readonly persistedDeadlineMs: number;
  readonly idleMs: number;
  /** It was destroyed or ran out meanwhile: nothing is written any more. */
  readonly ended: boolean;
}

/** The request goes on from what it had, with its own changes at the versions at which they were saved. */
export function snapshotAfter(
  before: Snapshot | undefined,
  texts: ReadonlyMap<string, string>,
  delta: SessionDelta,
  values: SessionValues,
  now: Pick<Snapshot, 'tag' | 'persistedDeadlineMs' | 'idleMs'>,
): Snapshot {
  const view = new Map(before?.view);
  for (const key of delta.keys()) {
    const stored = values.get(key);
    if (stored) view.set(key, stored);
    else view.delete(key);
  }
  for (const key of view.keys()) if (!texts.has(key) && !delta.has(key)) view.delete(key);
  const complete =
    view.size === values.size &&
    [...view].every(([key, { version }]) => values.get(key)?.version === version);
  return { view, complete, ended: false, ...now };
}

export function endedSnapshot(before: Snapshot | undefined): Snapshot {
  const nothing = { view: new Map(), tag: { version: 0, deferred: 0 }, complete: false };
  return { ...nothing, persistedDeadlineMs: 0, idleMs: 0, ...before, ended: true };
}

/**
 * Merged values that differ from the request's own go into its session object, so that its next save starts from
 * them. What the request changed while it was being saved is merged with them in turn.
 */
export function giveMerged(
  session: object,
  delta: SessionDelta,
  values: SessionValues,
  resolvers: MergeResolvers,
): void {
  const target = session as Record<string, unknown>;
  for (const [key, { text: mine }] of delta) {
    const merged = values.get(key)?.text;
    if (merged === mine || key === 'cookie') continue;
    const now = Object.hasOwn(target, key) ? JSON.stringify(target[key]) : undefined;
    const next = now === mine ? merged : resolveTexts(resolverOf(resolvers, key), mine, now, merged);
    if (next === undefined) {
      delete target[key];
    } else {
      const value: unknown = JSON.parse(next);
      Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
    }
  }
}
