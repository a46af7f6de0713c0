/**
 * How concurrent requests of one session are brought together.
 *
 * A request does not save "the session": it saves what it changed, and for each changed key the version from which
 * it started. If that key still has that version, nobody else touched it and the change is applied; keys that the
 * request did not change are not even mentioned, so they cannot be overwritten. If the version is another, somebody
 * came first: a three-way merge of (base, mine, theirs) makes a new change that starts from theirs.
 *
 * Versions are compared for equality only. A removed key has no version (0); added again, it gets a new one.
 */

export interface StoredValue {
  /** The session's version when this key last changed. */
  readonly version: number;
  /** The value as JSON text. */
  readonly text: string;
}

export type SessionValues = ReadonlyMap<string, StoredValue>;

interface Change {
  /** The key's version when it was read; 0 where it was absent. */
  readonly baseVersion: number;
  readonly baseText: string | undefined;
  /** The new value as JSON text; undefined removes the key. */
  readonly text: string | undefined;
}

export type SessionDelta = ReadonlyMap<string, Change>;

/** Merges one key's values; undefined stands for absent, as an argument and as a result. */
export type MergeResolver = (base: unknown, mine: unknown, theirs: unknown) => unknown;

export type MergeResolvers = Readonly<Record<string, MergeResolver>>;

/** What changed between what was read and what is there now. */
export function sessionDelta(read: SessionValues, now: ReadonlyMap<string, string>): SessionDelta {
  const delta = new Map<string, Change>();
  for (const [key, text] of now) {
    const base = read.get(key);
    if (base?.text !== text) delta.set(key, { baseVersion: base?.version ?? 0, baseText: base?.text, text });
  }
  for (const [key, base] of read) {
    if (!now.has(key)) delta.set(key, { baseVersion: base.version, baseText: base.text, text: undefined });
  }
  return delta;
}

/** The keys of the delta that somebody else changed since. The arbiter applies the same rule in SQL. */
export function conflictingKeys(current: SessionValues, delta: SessionDelta): string[] {
  return [...delta].flatMap(([key, change]) =>
    (current.get(key)?.version ?? 0) === change.baseVersion ? [] : [key],
  );
}

/** The values after a delta without conflicts was written as `version`. */
export function applyDelta(current: SessionValues, delta: SessionDelta, version: number): SessionValues {
  const values = new Map(current);
  for (const [key, { text }] of delta) {
    if (text === undefined) values.delete(key);
    else values.set(key, { version, text });
  }
  return values;
}

/** Two deltas, the second made on top of the first, as one. */
export function composeDeltas(first: SessionDelta, second: SessionDelta): SessionDelta {
  const composed = new Map(first);
  for (const [key, change] of second) {
    const before = first.get(key);
    composed.set(key, before ? { ...before, text: change.text } : change);
  }
  return composed;
}

/**
 * The same intent, starting from what is there now. Conflicting keys go through their resolver (without one, the
 * later save wins); a merge that ends in what is already there needs no change and leaves the delta.
 */
export function rebaseDelta(
  delta: SessionDelta,
  current: SessionValues,
  resolvers: MergeResolvers,
): SessionDelta {
  const rebased = new Map<string, Change>();
  const conflicting = new Set(conflictingKeys(current, delta));
  for (const [key, change] of delta) {
    if (!conflicting.has(key)) {
      rebased.set(key, change);
      continue;
    }
    const theirs = current.get(key);
    const text = resolveTexts(resolverOf(resolvers, key), change.baseText, change.text, theirs?.text);
    if (text !== theirs?.text) {
      rebased.set(key, { baseVersion: theirs?.version ?? 0, baseText: theirs?.text, text });
    }
  }
  return rebased;
}

/** A three-way merge of JSON texts by a resolver of values. */
export function resolveTexts(
  resolver: MergeResolver | undefined,
  base: string | undefined,
  mine: string | undefined,
  theirs: string | undefined,
): string | undefined {
  if (!resolver) return mine;
  const merged = resolver(parsed(base), parsed(mine), parsed(theirs));
  return merged === undefined ? undefined : JSON.stringify(merged);
}

/** A resolver of the application's own, never something that every object inherits. */
export function resolverOf(resolvers: MergeResolvers, key: string): MergeResolver | undefined {
  return Object.hasOwn(resolvers, key) ? resolvers[key] : undefined;
}

/** For numbers that requests count up or down: both differences count. */
export const mergeCounter: MergeResolver = (base, mine, theirs) => {
  const [from, own, other] = [base ?? 0, mine ?? 0, theirs ?? 0];
  if (typeof from !== 'number' || typeof own !== 'number' || typeof other !== 'number') return mine;
  return other + own - from;
};

/** For lists to which requests append: what both appended is kept. Where the start of the list was changed, mine wins. */
export const mergeAppended: MergeResolver = (base, mine, theirs) => {
  const [from, own, other] = [base ?? [], mine ?? [], theirs ?? []];
  if (!Array.isArray(from) || !Array.isArray(own) || !Array.isArray(other)) return mine;
  if (startsWith(own, from)) return [...other, ...own.slice(from.length)];
  if (startsWith(other, from)) return [...own, ...other.slice(from.length)];
  return mine;
};

function startsWith(list: readonly unknown[], start: readonly unknown[]): boolean {
  return (
    start.length <= list.length &&
    start.every((item, index) => JSON.stringify(item) === JSON.stringify(list[index]))
  );
}

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
}
