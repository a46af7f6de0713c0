import { type InstanceState, keepsItsUsers, takesNewUsers } from '../../protocol/instance-state.ts';

/**
 * Which instance serves a request. A user's own instance, as long as it keeps its users; else the least busy of those
 * that take new users. When every instance looks sick, it is more likely that the looking is at fault than that all
 * died at once: then the agents' word is taken instead (panic mode). Instances that are draining are the last resort.
 */
export interface Candidate {
  readonly state: InstanceState;
  readonly healthy: boolean;
  readonly inFlight: number;
}

export interface ChoiceRequest<C extends Candidate> {
  readonly owner: C | undefined;
  /** Candidates that failed this very request. */
  readonly excluded: (candidate: C) => boolean;
  /** Breaks ties, so that equals take turns: any number that rises from request to request. */
  readonly turn: number;
}

export function chooseInstance<C extends Candidate>(
  candidates: readonly C[],
  { owner, excluded, turn }: ChoiceRequest<C>,
): C | undefined {
  const routable = candidates.filter(({ state }) => keepsItsUsers(state));
  const panic = routable.every(({ healthy }) => !healthy);
  const usable = routable.filter((candidate) => (panic || candidate.healthy) && !excluded(candidate));
  if (owner !== undefined && usable.includes(owner)) return owner;
  const open = usable.filter(({ state }) => takesNewUsers(state));
  return leastBusy(open.length > 0 ? open : usable, turn);
}

function leastBusy<C extends Candidate>(candidates: readonly C[], turn: number): C | undefined {
  const fewest = Math.min(...candidates.map(({ inFlight }) => inFlight));
  const equals = candidates.filter(({ inFlight }) => inFlight === fewest);
  return equals[turn % equals.length];
}
