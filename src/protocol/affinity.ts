import { createHash, createHmac } from 'node:crypto';

/**
 * Who belongs where, decided by arithmetic instead of by agreement. Every balancer of a cluster computes the same
 * cookie value for an instance from the cluster's secret key, so any of them can serve any user, and the value
 * reveals nothing about the instance and cannot be made up. Rendezvous hashing gives every key an order of
 * preference over the candidates: when a candidate goes, only the keys that preferred it move.
 */
const cookieValueBytes = 16;

/** The value of the sticky cookie for one instance: 22 characters of base64url. */
export function stickyValue(stickyKey: string, instance: string): string {
  const mac = createHmac('sha256', Buffer.from(stickyKey, 'base64url')).update(instance).digest();
  return mac.subarray(0, cookieValueBytes).toString('base64url');
}

/** The candidates, the one that `key` prefers first. The order they came in does not matter. */
export function rendezvousOrder(key: string, candidates: readonly string[]): string[] {
  const weighed = candidates.map((candidate) => ({ candidate, weight: weigh(key, candidate) }));
  weighed.sort((a, b) => Buffer.compare(b.weight, a.weight) || (a.candidate < b.candidate ? -1 : 1));
  return weighed.map(({ candidate }) => candidate);
}

/** The candidate that `key` prefers; undefined when there is none. */
export function rendezvous(key: string, candidates: readonly string[]): string | undefined {
  return rendezvousOrder(key, candidates)[0];
}

// The length in front keeps ('ab', 'c') and ('a', 'bc') apart.
function weigh(key: string, candidate: string): Buffer {
  return createHash('sha256').update(`${key.length}:${key}${candidate}`).digest();
}
