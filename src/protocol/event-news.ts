/** What the answer to a heartbeat says about scheduled events. */
export interface EventNews {
  /** The arbiter's clock as the heartbeat began, in ms since 1970. */
  readonly nowMs: number;
  /** Another number than before: members, definitions or appointments have changed. */
  readonly change: number;
  /** Tokens of the runs that, by the ledger, this member works on. */
  readonly runs: readonly string[];
  /** In how many ms something that waits may be claimed here, negative if it could be already; null: nothing waits. */
  readonly waitingMs: number | null;
  /** Somebody is to be told of an outcome. */
  readonly alarms: boolean;
  /** A lost instance is to be fenced. */
  readonly fences: boolean;
}
