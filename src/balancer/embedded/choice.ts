import { type InstanceState, keepsItsUsers, takesNewUsers } from '../../protocol/instance-state.ts';

/**
 * Which instance serves a request. A user's own instance, as long as it keeps its users; for the rest the power of two
 * choices: two candidates are drawn, and the less loaded one is taken. That is nearly as even as asking all of them,
 * and no crowd runs to the one that looked best a moment ago (Mitzenmacher, 2001). When every instance looks sick, it
 * is more likely that the looking is at fault than that all died at once: then the agents' word is taken (panic mode).
 */
export interface Candidate {
  readonly state: InstanceState;
  readonly healthy: boolean;
  readonly inFlight: number;
  /** Moving average of the time to the first byte of a response. */
  readonly latencyMs: number;
  /** New users of late. */
  readonly assigned: number;
  /** Relative share of new users. */
  readonly weight: number;
  /** 0 to 1: how far a new or recovered instance has warmed up. It is the chance of being considered at all. */
  readonly warmth: number;
}

export interface ChoiceRequest<C extends Candidate> {
  readonly owner: C | undefined;
  /** Candidates that failed this very request. */
  readonly excluded: (candidate: C) => boolean;
  /** Numbers from 0 up to 1. */
  readonly random: () => number;
}

export function chooseInstance<C extends Candidate>(
  candidates: readonly C[],
  request: ChoiceRequest<C>,
): C | undefined {
  const usable = usableInstances(candidates, request.excluded);
  const { owner, random } = request;
  if (owner !== undefined && usable.includes(owner)) return owner;
  const open = openInstances(usable);
  const warm = open.filter(({ warmth }) => warmth >= 1 || random() < warmth);
  return lessLoadedOfTwo(warm.length > 0 ? warm : open, random);
}

/** Those that may be sent a request: the healthy ones or, when none of all is, those that their agents vouch for. */
export function usableInstances<C extends Candidate>(
  candidates: readonly C[],
  excluded: (candidate: C) => boolean,
): C[] {
  const routable = candidates.filter(({ state }) => keepsItsUsers(state));
  const panic = routable.every(({ healthy }) => !healthy);
  return routable.filter((candidate) => (panic || candidate.healthy) && !excluded(candidate));
}

/** Those that take new users; the draining ones only where there is nobody else. */
export function openInstances<C extends Candidate>(usable: readonly C[]): readonly C[] {
  const open = usable.filter(({ state, weight }) => takesNewUsers(state) && weight > 0);
  return open.length > 0 ? open : usable;
}

function lessLoadedOfTwo<C extends Candidate>(candidates: readonly C[], random: () => number): C | undefined {
  const one = drawn(candidates, random);
  if (one === undefined || candidates.length === 1) return one;
  const other = drawn(
    candidates.filter((candidate) => candidate !== one),
    random,
  );
  return other !== undefined && isLessLoaded(other, one) ? other : one;
}

/** One of them, each with the chance that its weight gives it: two even draws could not give anybody more than 2/n. */
function drawn<C extends Candidate>(candidates: readonly C[], random: () => number): C | undefined {
  let point = random() * candidates.reduce((sum, { weight }) => sum + share(weight), 0);
  for (const candidate of candidates) {
    point -= share(candidate.weight);
    if (point < 0) return candidate;
  }
  return candidates.at(-1);
}

// What is under way, weighed by how long the instance takes for it; where that is equal, as in quiet times, the users
// that it was given of late, weighed in the same way, because users stay.
function isLessLoaded(one: Candidate, other: Candidate): boolean {
  const [own, others] = [load(one, one.inFlight), load(other, other.inFlight)];
  if (own !== others) return own < others;
  return load(one, one.assigned) < load(other, other.assigned);
}

/** Instances that differ by less are equally quick. */
const unremarkableMs = 10;

const load = ({ latencyMs, weight }: Candidate, count: number): number =>
  (count * (unremarkableMs + latencyMs)) / share(weight);

const share = (weight: number): number => (weight > 0 ? weight : Number.MIN_VALUE);
