/**
 * A single failed check says little: a collection of garbage, a lost packet. A single good one says little about an
 * instance that was sick. So a verdict changes only after several results in a row that contradict it, and each
 * result that agrees with the verdict starts the count again.
 */
type HealthVerdict = 'unknown' | 'healthy' | 'unhealthy';

export interface HealthThresholds {
  /** Failures in a row until healthy (or unknown) becomes unhealthy; at least 1. */
  readonly unhealthyAfter: number;
  /** Successes in a row until unhealthy (or unknown) becomes healthy; at least 1. */
  readonly healthyAfter: number;
}

export interface HealthState {
  readonly verdict: HealthVerdict;
  /** How many of the latest results were alike: positive for successes, negative for failures. */
  readonly streak: number;
}

export const unknownHealth: HealthState = { verdict: 'unknown', streak: 0 };
export const assumedHealthy: HealthState = { verdict: 'healthy', streak: 0 };

/** The state after one more result. */
export function observeHealth(state: HealthState, ok: boolean, thresholds: HealthThresholds): HealthState {
  const streak = ok ? Math.max(state.streak, 0) + 1 : Math.min(state.streak, 0) - 1;
  if (streak >= thresholds.healthyAfter) return { verdict: 'healthy', streak };
  if (-streak >= thresholds.unhealthyAfter) return { verdict: 'unhealthy', streak };
  return { verdict: state.verdict, streak };
}

/** Is the verdict in doubt: did the latest result contradict it without overturning it yet? */
export function isInDoubt(state: HealthState): boolean {
  if (state.verdict === 'healthy') return state.streak < 0;
  if (state.verdict === 'unhealthy') return state.streak > 0;
  return state.streak !== 0;
}
