import type { InstanceTraffic } from '../engine.ts';
import type { InstanceView } from './backend.ts';
import type { StationTraffic } from './station.ts';

/** What several processes of one balancer saw, as if they were one. */
export function sumOfTraffic(one: StationTraffic, other: StationTraffic): StationTraffic {
  const others = new Map(other.instances.map((seen) => [seen.instance, seen]));
  const instances = one.instances.map((seen) => {
    const more = others.get(seen.instance);
    others.delete(seen.instance);
    return more === undefined ? seen : sumOfInstance(seen, more);
  });
  const refusals: Record<string, number> = { ...one.clients.refusals };
  for (const [status, count] of Object.entries(other.clients.refusals))
    refusals[status] = (refusals[status] ?? 0) + count;
  return {
    instances: [...instances, ...others.values()],
    clients: {
      connections: one.clients.connections + other.clients.connections,
      accepted: one.clients.accepted + other.clients.accepted,
      waiting: one.clients.waiting + other.clients.waiting,
      refusals,
    },
  };
}

/** Nothing yet, for these instances. */
export const noTraffic = (views: readonly InstanceView[]): StationTraffic => ({
  instances: views.map(({ instance, healthy, ejections }) => ({
    instance,
    healthy,
    inFlight: 0,
    connections: 0,
    idleMs: Number.POSITIVE_INFINITY,
    users: null,
    requests: 0,
    responses: [0, 0, 0, 0, 0],
    replayed: 0,
    failed: 0,
    unknown: 0,
    ejections,
    latency: null,
    warmth: 1,
  })),
  clients: { connections: 0, accepted: 0, refusals: {}, waiting: 0 },
});

type Count = 'inFlight' | 'connections' | 'requests' | 'replayed' | 'failed' | 'unknown';

function sumOfInstance(one: InstanceTraffic, other: InstanceTraffic): InstanceTraffic {
  const sum = (key: Count) => one[key] + other[key];
  const [first, second] = [one.latency, other.latency];
  return {
    instance: one.instance,
    // The verdict is the balancer's own, and comes first.
    healthy: one.healthy,
    ejections: one.ejections,
    inFlight: sum('inFlight'),
    connections: sum('connections'),
    idleMs: Math.min(one.idleMs, other.idleMs),
    users: one.users === null ? other.users : one.users + (other.users ?? 0),
    requests: sum('requests'),
    responses: one.responses.map((count, index) => count + (other.responses[index] ?? 0)) as unknown as [
      number,
      number,
      number,
      number,
      number,
    ],
    replayed: sum('replayed'),
    failed: sum('failed'),
    unknown: sum('unknown'),
    latency:
      first === null || second === null
        ? (first ?? second)
        : {
            counts: first.counts.map((count, index) => count + (second.counts[index] ?? 0)),
            sumMs: first.sumMs + second.sumMs,
          },
    warmth: Math.min(one.warmth, other.warmth),
  };
}
