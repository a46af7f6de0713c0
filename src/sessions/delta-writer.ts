/**
 * Writes one request's changes, and merges with whoever came first until nobody did. A save whose answer was lost
 * can be repeated: the job then still holds exactly what was sent last, under the same save id.
 */
import { randomUUID } from 'node:crypto';
import type { Arbiter } from '../database/arbiter.ts';
import {
  applyDelta,
  type MergeResolvers,
  rebaseDelta,
  type SessionDelta,
  type SessionValues,
  sessionDelta,
} from '../protocol/session-merge.ts';
import { HoldfastError } from '../support/errors.ts';
import type { SessionCodec } from './session-codec.ts';
import { saveSession } from './session-statements.ts';

export interface SaveJob {
  readonly idHash: string;
  isNew: boolean;
  delta: SessionDelta;
  saveId: string;
  /** The whole row as last seen, where it is known. */
  known: { readonly version: number; readonly values: SessionValues } | undefined;
  /** For a save that never read the session: if there is one, it becomes this. */
  replacement: ReadonlyMap<string, string> | undefined;
  readonly user: { readonly id: string | undefined } | undefined;
  readonly idleMs: number;
  /** Tell the other instances: no cookie of the user's will. */
  readonly notify: boolean;
}

export type SaveOutcome =
  | {
      readonly kind: 'saved';
      /** False where merging left nothing to write. */
      readonly wrote: boolean;
      readonly version: number;
      readonly values: SessionValues;
      readonly absoluteRemainingMs: number;
    }
  | { readonly kind: 'ended'; readonly why: 'destroyed' | 'expired' | 'gone' };

export interface WriterOptions {
  readonly arbiter: Arbiter;
  readonly codec: SessionCodec;
  readonly merge: MergeResolvers;
  readonly absoluteMs: number;
  readonly instance: string | undefined;
  readonly onConflict: () => void;
}

/** Every round means that another request of the same session was saved, so it ends when they do. */
const maxRounds = 50;

export async function writeDelta(options: WriterOptions, job: SaveJob): Promise<SaveOutcome> {
  const { arbiter, codec, absoluteMs, instance } = options;
  for (let round = 0; round < maxRounds; round++) {
    const row = await saveSession(arbiter, {
      idHash: job.idHash,
      isNew: job.isNew,
      delta: codec.encode(job.idHash, job.delta),
      seenVersion: job.known?.version,
      saveId: job.saveId,
      user: job.user,
      idleMs: job.idleMs,
      notify: job.notify,
      absoluteMs,
      instance,
    });
    const { version, absoluteRemainingMs } = row;
    if (row.outcome === 'saved') {
      const values = row.data
        ? codec.decode(job.idHash, row.data)
        : applyDelta(job.known?.values ?? new Map(), job.delta, version);
      return { kind: 'saved', wrote: true, version, values, absoluteRemainingMs };
    }
    if (row.outcome !== 'conflict') return { kind: 'ended', why: row.outcome };

    options.onConflict();
    const values = codec.decode(job.idHash, row.data ?? {});
    job.delta = job.replacement
      ? sessionDelta(values, job.replacement)
      : rebaseDelta(job.delta, values, options.merge);
    job.known = { version, values };
    job.replacement = undefined;
    job.isNew = false;
    job.saveId = randomUUID();
    if (job.delta.size === 0) return { kind: 'saved', wrote: false, version, values, absoluteRemainingMs };
  }
  throw new HoldfastError(
    'SESSION_UNAVAILABLE',
    `The session was changed by others ${maxRounds} times while being saved.`,
  );
}
