/**
 * The names by which the parts of the configuration know each other. Each instance has one number, its slot; and in
 * each backend a server with that number.
 *
 * - `app` carries what may be repeated, `once` what may not, `any` everything when all instances look sick.
 * - In `app` and `once` an instance is two servers: one for everybody, and a reserve that HAProxy uses only when nobody
 *   else is left. The weight of the first is 0 while the instance drains: then only its own users come to it.
 */
export const backends = ['app', 'once', 'any'] as const;
export type BackendName = (typeof backends)[number];

export type ServerKind = 'main' | 'reserve' | 'unchecked';

const letters: Record<ServerKind, string> = { main: 'a', reserve: 'b', unchecked: 'c' };

/** The name of a slot's server: one letter, then the number. */
export const serverName = (kind: ServerKind, slot: number): string => `${letters[kind]}${slot}`;

export const kindsIn: Record<BackendName, readonly ServerKind[]> = {
  app: ['main', 'reserve'],
  once: ['main', 'reserve'],
  any: ['unchecked'],
};

/** Numbers by which `show stat` is asked for one server of one backend. */
export function serverId(kind: ServerKind, slot: number): number {
  return { main: 1_000, reserve: 2_000, unchecked: 1_000 }[kind] + slot;
}

/** What HAProxy gives a server of weight 1; weights are relative to each other. */
export const fullWeight = 64;

/** So many values of a header or an address are told apart where users stick by them. */
export const bucketCount = 1_024;
