/**
 * What an instance is, as the agent says it, derived from facts and never set by hand: there is no path on which
 * a forgotten assignment leaves an instance `up` that is not. `lost` is the one state that an agent cannot say of
 * itself: the arbiter says it of a member whose lease ran out.
 */
export const instanceStates = ['starting', 'up', 'draining', 'maintenance', 'down', 'lost'] as const;
export type InstanceState = (typeof instanceStates)[number];

export interface InstanceFacts {
  /** Is there a process, or something that we were told to watch? */
  readonly running: boolean;
  /** `unknown` until the first verdict after a start. */
  readonly health: 'unknown' | 'healthy' | 'unhealthy';
  /** The agent was asked to stop, or the instance is about to be restarted. */
  readonly stopping: boolean;
  /** Reasons for maintenance; empty when there are none. */
  readonly maintenance: readonly string[];
  /** Nobody uses the instance any more, or the drain's deadline has passed. */
  readonly drained: boolean;
}

/** The state that follows from the facts; the order of the questions is their precedence. */
export function instanceState(facts: InstanceFacts): Exclude<InstanceState, 'lost'> {
  if (facts.maintenance.length > 0) return facts.drained || !facts.running ? 'maintenance' : 'draining';
  if (facts.stopping) return facts.running ? 'draining' : 'down';
  if (!facts.running) return 'down';
  if (facts.health === 'unknown') return 'starting';
  return facts.health === 'healthy' ? 'up' : 'down';
}

/** May a balancer send a user here who has no instance yet? */
export const takesNewUsers = (state: InstanceState): boolean => state === 'up';

/** May a balancer send a user here who belongs here already? */
export const keepsItsUsers = (state: InstanceState): boolean => state === 'up' || state === 'draining';
