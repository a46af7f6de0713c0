/** What the core is made with, and what it counts. */
import type { Arbiter } from '../database/arbiter.ts';
import type { MergeResolvers } from '../protocol/session-merge.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import type { SessionCodec } from './session-codec.ts';

export type AwayPolicy = 'fail' | 'readonly' | 'defer';

export interface CoreOptions {
  readonly arbiter: Arbiter;
  /** Before the first statement: the schema is there and not newer than this code. */
  readonly prepare: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly instance: string | undefined;
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly away: AwayPolicy;
  readonly codec: SessionCodec;
  readonly merge: MergeResolvers;
  readonly userOf: (data: Readonly<Record<string, unknown>>) => string | undefined;
  readonly cacheEntries: number;
}

export interface CoreCounters {
  hits: number;
  servedWhileAway: number;
  loads: number;
  saves: number;
  conflicts: number;
  touchBatches: number;
}
