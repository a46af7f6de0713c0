/** How the commands for events reach the arbiter, find an event by its name, and say who asks. */
import { hostname, userInfo } from 'node:os';
import type { Query } from '../database/arbiter.ts';
import { builtInPrefix, type EventView, eventNames, listEvents } from '../events/administration.ts';
import { nearestName } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type ConnectionOptions, withArbiter } from './connection.ts';
import { explainEmptyArbiter } from './status.ts';

export const isBuiltIn = (event: string): boolean => event.startsWith(builtInPrefix);

export const withEvents = <T>(options: ConnectionOptions, work: (query: Query) => Promise<T>): Promise<T> =>
  withArbiter(options, (arbiter) => work(arbiter.query).catch(explainEmptyArbiter));

/** Columns of the screen; undefined where nobody looks at one. */
export const screenWidth = (): number | undefined => process.stdout.columns;

export function whoAsks(by: string | undefined): string {
  if (by !== undefined) return by;
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return `uid ${process.getuid?.() ?? '?'}@${hostname()}`; // a container's user need not have a name
  }
}

export async function requireEvent(query: Query, name: string): Promise<{ event: EventView; nowMs: number }> {
  const { events, nowMs } = await listEvents(query, { name });
  const [event] = events;
  if (event) return { event, nowMs };
  throw await unknownEvent(query, name);
}

/** One with a past is enough: the configuration may no longer have it. */
export async function requireKnownName(query: Query, name: string): Promise<void> {
  const { current, retired } = await eventNames(query);
  if (!current.includes(name) && !retired.includes(name)) throw unknownName(name, [...current, ...retired]);
}

export async function unknownEvent(query: Query, name: string): Promise<HoldfastError> {
  const { current, retired } = await eventNames(query);
  if (!retired.includes(name)) return unknownName(name, current);
  return new HoldfastError('EVENT_UNKNOWN', `The configuration no longer has the event "${name}".`, {
    remedy: `What it did is still there: holdfast events runs ${name}`,
  });
}

export function unknownName(name: string, known: readonly string[], where = 'The cluster'): HoldfastError {
  const near = nearestName(name, known);
  const shown = known.filter((one) => !isBuiltIn(one));
  const listed = shown.length > 8 ? '`holdfast events list` shows all.' : `There is: ${shown.join(', ')}.`;
  const remedy = near ? `Did you mean ${near}?` : shown.length === 0 ? 'It has no events at all.' : listed;
  return new HoldfastError('EVENT_UNKNOWN', `${where} has no event "${name}".`, { remedy });
}
