/**
 * The kill ledger: what the death of an instance cost. Engines only count, for as long as they run; a death is a
 * stretch of time in which the counters of one instance grow. So the ledger is shown the counters again and again, and
 * what they grew by, from the last look at which the instance still served until it serves again or nothing changes
 * any more, is what was lost. A request that is answered late (a POST that hung in a frozen instance) makes a further
 * entry, so that the entries always add up to the counters.
 *
 * An instance that drained first was taken out on purpose: that is an entry only if it cost something.
 */
import { type InstanceState, keepsItsUsers } from '../protocol/instance-state.ts';
import type { EngineStatus, InstanceTraffic } from './engine.ts';

/** Why it was out: the balancer's own checks, its place in the routing table, or what its agent says. */
type LossReason = 'unhealthy' | 'vanished' | Exclude<InstanceState, 'up' | 'draining'>;

export interface Loss {
  readonly instance: string;
  readonly atWallMs: number;
  readonly reason: LossReason;
  /** Requests that were in its hands and were carried out by another instance. */
  readonly replayed: number;
  /** Requests that ended in an error for the client, those of unknown fate included. */
  readonly failed: number;
  /** Of the failed ones, those that may or may not have been carried out. */
  readonly unknown: number;
  /** When it served again; null: not yet. */
  readonly endedWallMs: number | null;
}

export interface KillLedger {
  /** Takes a look, and returns the losses that are settled by it. */
  observe(
    nowMs: number,
    wallMs: number,
    status: Pick<EngineStatus, 'instances'>,
    states: ReadonlyMap<string, InstanceState>,
  ): readonly Loss[];
  /** The last ones, oldest first. */
  recent(): readonly Loss[];
}

const quietMs = 5_000;
const keptLosses = 20;

interface Counters {
  readonly replayed: number;
  readonly failed: number;
  readonly unknown: number;
  readonly ejections: number;
}

interface Look {
  readonly counters: Counters;
  readonly serves: boolean;
  readonly state: InstanceState | undefined;
}

interface Incident {
  readonly instance: string;
  readonly atWallMs: number;
  readonly isPlanned: boolean;
  reason: LossReason;
  replayed: number;
  failed: number;
  unknown: number;
  changedMs: number;
}

export function createKillLedger(): KillLedger {
  let looks = new Map<string, Look>();
  const open = new Map<string, Incident>();
  /** Out and settled: what is still lost there belongs to the same reason. */
  const out = new Map<string, LossReason>();
  let recent: readonly Loss[] = [];

  const settle = (incident: Incident, endedWallMs: number | null): Loss[] => {
    open.delete(incident.instance);
    if (endedWallMs === null) out.set(incident.instance, incident.reason);
    const { isPlanned, changedMs: _, ...loss } = incident;
    if (isPlanned && incident.replayed + incident.failed === 0) return [];
    const settled: Loss = { ...loss, endedWallMs };
    recent = [...recent, settled].slice(-keptLosses);
    return [settled];
  };

  const observeOne = (
    instance: string,
    before: Look | undefined,
    now: Look | undefined,
    { nowMs, wallMs }: { nowMs: number; wallMs: number },
  ): Loss[] => {
    const grown = growth(before?.counters, now?.counters);
    const hasLost = grown.replayed + grown.failed > 0;
    const serves = now?.serves ?? false;
    const wentOut = before?.serves && (!serves || grown.ejections > 0);
    if (!open.has(instance) && (wentOut || (hasLost && out.has(instance)))) {
      open.set(instance, {
        instance,
        atWallMs: wallMs,
        isPlanned: before?.state === 'draining' || now?.state === 'maintenance',
        reason: out.get(instance) ?? 'unhealthy',
        replayed: 0,
        failed: 0,
        unknown: 0,
        changedMs: nowMs,
      });
    }
    if (serves || now === undefined) out.delete(instance);
    if (serves) {
      recent = recent.map((loss) =>
        loss.instance === instance && loss.endedWallMs === null ? { ...loss, endedWallMs: wallMs } : loss,
      );
    }
    const incident = open.get(instance);
    if (!incident) return [];
    if (hasLost) incident.changedMs = nowMs;
    incident.reason = strongerReason(incident.reason, now);
    incident.replayed += grown.replayed;
    incident.failed += grown.failed;
    incident.unknown += grown.unknown;
    if (serves) return settle(incident, wallMs);
    return nowMs - incident.changedMs >= quietMs ? settle(incident, null) : [];
  };

  return {
    observe(nowMs, wallMs, { instances }, states) {
      const before = looks;
      looks = new Map(instances.map((one) => [one.instance, lookAt(one, states.get(one.instance))]));
      const names = new Set([...before.keys(), ...open.keys(), ...looks.keys()]);
      return [...names].flatMap((name) =>
        observeOne(name, before.get(name), looks.get(name), { nowMs, wallMs }),
      );
    },
    recent: () => recent,
  };
}

const lookAt = (traffic: InstanceTraffic, state: InstanceState | undefined): Look => {
  const { replayed, failed, unknown, ejections } = traffic;
  const serves = traffic.healthy && state !== undefined && keepsItsUsers(state);
  return { counters: { replayed, failed, unknown, ejections }, serves, state };
};

/** Counters that fell (the instance moved, a process that counted is gone) tell nothing of what was lost. */
const growth = (before: Counters | undefined, now: Counters | undefined): Counters => {
  const grownBy = (key: keyof Counters) => (before && now ? Math.max(0, now[key] - before[key]) : 0);
  return {
    replayed: grownBy('replayed'),
    failed: grownBy('failed'),
    unknown: grownBy('unknown'),
    ejections: grownBy('ejections'),
  };
};

/** Failed checks may have any cause; who is no longer listed has no process; the agent's word, and the arbiter's, explain most. */
const strength: Record<LossReason, number> = {
  unhealthy: 0,
  vanished: 1,
  starting: 2,
  maintenance: 2,
  down: 2,
  lost: 3,
};

function strongerReason(known: LossReason, now: Look | undefined): LossReason {
  const seen = now === undefined ? 'vanished' : now.state;
  if (seen === undefined || seen === 'up' || seen === 'draining') return known;
  return strength[seen] > strength[known] ? seen : known;
}

const words: Record<LossReason, string> = {
  unhealthy: 'failed its checks',
  vanished: 'is gone',
  starting: 'starts again',
  maintenance: 'went into maintenance',
  down: 'went down',
  lost: 'was lost',
};

/** `shop-1 was lost: 3 requests replayed, 2 failed, 1 of them of unknown fate; it served again after 4.0 s`. */
export function describeLoss(loss: Loss): string {
  const { replayed, failed, unknown, atWallMs, endedWallMs } = loss;
  const fate = unknown > 0 ? `, ${unknown} of them of unknown fate` : '';
  const cost =
    replayed + failed === 0
      ? 'no request was lost or replayed'
      : `${replayed} ${replayed === 1 ? 'request' : 'requests'} replayed, ${failed} failed${fate}`;
  const end =
    endedWallMs === null ? '' : `; it served again after ${((endedWallMs - atWallMs) / 1000).toFixed(1)} s`;
  return `${loss.instance} ${words[loss.reason]}: ${cost}${end}`;
}
