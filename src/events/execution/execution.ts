/** What an agent asks of whoever does the work of an event, and what it gets back. */
export interface RunOrder {
  readonly event: string;
  readonly place: string;
  readonly occurrence: string;
  /** In ms since 1970. */
  readonly dueMs: number;
  /** Counts from 1. */
  readonly attempt: number;
  readonly token: bigint;
  readonly cause: 'schedule' | 'manual';
  readonly payload: unknown;
  readonly timeoutMs: number;
}

export interface WorkResult {
  /** `lost`: the instance that worked on it died; that is no failure of the work. */
  readonly outcome: 'succeeded' | 'failed' | 'lost';
  /** In words; null where there is nothing to say. */
  readonly reason: string | null;
  /** An excerpt of what it answered or printed; null where there is none. */
  readonly result: string | null;
  /** A failure that another attempt would not mend. */
  readonly isFinal?: boolean;
}

export interface Work {
  /** Never rejects. Settles once nothing of it is left that this agent could stop. */
  readonly finished: Promise<WorkResult>;
  /** Stop now: the lease is lost, the time is over, the drain has ended. Idempotent. */
  abort(why: string): void;
  /** The lease has been renewed, and is proved for so long from now. */
  renewed?(remainingMs: number): void;
}

/** For how long from now the lease is proved on which the work relies. */
export interface Proof {
  remainingMs(): number;
}

export type Executor = (order: RunOrder, proof: Proof) => Work;
