/**
 * Time as an argument. `monotonicMs` measures durations but stands still while a machine is suspended;
 * `wallMs` sees a suspension but can be set by hand. Rules that must survive both read both (protocol/lease.ts).
 */
export interface Clock {
  monotonicMs(): number;
  wallMs(): number;
  /** Resolves after `ms`, or at once when the signal is aborted: the caller looks at the signal. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
