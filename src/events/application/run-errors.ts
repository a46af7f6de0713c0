/** Why a run cannot go on. Each is an `Error` whose message says what happened, fit for a log. */

/** The token is no longer the one that counts: the run has ended, or is somebody else's. Nothing was changed. */
export class StaleRunError extends Error {
  override readonly name = 'StaleRunError';
  readonly code = 'EVENT_STALE';
  readonly token: bigint;

  constructor(token: bigint, why: string, options?: ErrorOptions) {
    super(`Run ${token} counts no more: ${why}.`, options);
    this.token = token;
  }
}

export type AbortCause =
  /** Whoever asked for the run hung up: the agent aborted it, or died. */
  | 'disconnected'
  | 'timeout'
  /** Nobody confirmed in time that this instance may still act. */
  | 'lease';

/** What `run.signal` is aborted with, unless the token is known to be stale. */
export class RunAbortedError extends Error {
  override readonly name = 'RunAbortedError';
  readonly code = 'EVENT_ABORTED';
  readonly why: AbortCause;

  constructor(why: AbortCause, message: string) {
    super(message);
    this.why = why;
  }
}
