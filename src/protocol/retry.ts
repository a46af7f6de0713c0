/** When a failed run is tried again. */
export interface RetryRules {
  /** Further attempts after the first. */
  readonly times: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

/** The pause after so many failures, doubled each time; null when there is no further attempt. */
export function retryPauseMs(failures: number, rules: RetryRules): number | null {
  if (failures > rules.times) return null;
  return Math.min(rules.backoffMs * 2 ** (failures - 1), rules.maxBackoffMs);
}
