/** What a seed's run is about: who is there, what is to be run, and what goes wrong. */
import type { LeaseTiming } from './agent.ts';
import type { Plan } from './definitions.ts';
import type { FaultTiming } from './faults.ts';

export interface Scenario {
  readonly names: readonly string[];
  readonly lease: LeaseTiming;
  readonly faults: FaultTiming;
  readonly plan: Plan;
  /** From then on nothing is due. */
  readonly lastsMs: number;
  /** How long the work that is left may take after that. */
  readonly patienceMs: number;
  readonly usesSlot: boolean;
  /** Nobody has reason to ask the arbiter that often. */
  readonly stormPerSecond: number;
  /** They do all sorts of things; or only bring back what is down, every so often. */
  readonly people: 'busy' | { readonly restartEveryMs: number };
}
