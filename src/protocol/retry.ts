/** When a failed run is tried again. */
export interface RetryRules {
  /** Further attempts after the first. */
  readonly times: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

/** The pause before the next attempt, doubled each time; null when there is none. `attempt` counts from 1. */
export function retryPauseMs(attempt: number, rules: RetryRules): number | null {
  if (attempt > rules.times) return null;
  return Math.min(rules.backoffMs * 2 ** (attempt - 1), rules.maxBackoffMs);
}
