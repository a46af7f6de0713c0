/** What every check is given. It is plain data; what is seen through it is observed once and shared. */
import type { Arbiter } from '../database/arbiter.ts';
import type { Clock } from '../support/clock.ts';
import type { Ask } from './http-client.ts';

export interface DoctorContext {
  readonly arbiter: Arbiter;
  /** Its address without the password. */
  readonly arbiterAddress: string;
  /** How many hosts that address names: where a new primary may be found after a failover. */
  readonly arbiterHosts: number;
  readonly clock: Clock;
  readonly ask: Ask;
  /** Where the doctor runs. */
  readonly host: string;
  /** Of this Holdfast. */
  readonly version: string;
  /** Where applications have their probe. */
  readonly probePath: string;
  /** A new one for each call: hexadecimal, for names and marks that nobody else uses. */
  readonly newMark: () => string;
}

/** An observation: made when the first check asks for it, the same for all that ask later in this examination. */
export function observed<Seen>(
  look: (context: DoctorContext) => Promise<Seen>,
): (context: DoctorContext) => Promise<Seen> {
  const known = new WeakMap<DoctorContext, Promise<Seen>>();
  return (context) => {
    const seen = known.get(context) ?? look(context);
    known.set(context, seen);
    return seen;
  };
}
