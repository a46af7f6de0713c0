/**
 * What must always hold, as seen by somebody who sees all machines and the true time at once. Each violation is
 * an error whose message begins with the promise that was broken.
 */
import { stopWorkMs } from '../../protocol/lease.ts';
import type { LeaseTiming, SimulatedAgent } from './agent.ts';
import type { Execution } from './arbiter.ts';
import { slot } from './named-work.ts';

export interface RowView {
  readonly agentId: string;
  readonly token: bigint;
  readonly ended: boolean;
  /** In true time; unknown after a failover, until the first renewal. */
  readonly leaseUntilMs?: number;
}

export interface Invariants {
  /** After every event. */
  check(nowMs: number): void;
  executed(execution: Execution): void;
  /** After a failover: what the new primary knows. */
  resetView(rows: readonly { instance: string; agent_id: string; token: string; ended: boolean }[]): void;
  /** What the arbiter has granted for this name. */
  viewOf(instance: string): RowView | undefined;
}

export function invariants(
  agents: readonly SimulatedAgent[],
  lease: LeaseTiming,
  onEvent: (kind: string) => void,
): Invariants {
  const highestUsed = new Map<string, bigint>();
  const view = new Map<string, RowView>();
  let highestGranted = 0n;

  const alive = ({ machine, ended }: SimulatedAgent) =>
    !machine.isDead && (ended === 'no' || ended === 'leaving');

  /** A resource that remembers the highest token it was shown, and whoever acts shows its own. */
  function use(resource: string, token: bigint, who: string): void {
    const highest = highestUsed.get(resource) ?? 0n;
    if (token < highest)
      throw new Error(`P3: ${who} acts on ${resource} with token ${token} after ${highest}`);
    highestUsed.set(resource, token);
  }

  function checkActing(agent: SimulatedAgent, nowMs: number): void {
    const token = agent.keeper.membership?.token;
    const begins = nowMs - agent.lastActedMs > 0 && !agent.working;
    if (agent.machine.isAwake) agent.working = true; // asleep, it has not noticed yet
    agent.idleSinceMs = undefined;
    agent.lastActedMs = nowMs;
    for (const other of agents) {
      if (other === agent || other.instance !== agent.instance || !alive(other)) continue;
      if (other.keeper.mayAct())
        throw new Error(`P1: ${agent.agentId} and ${other.agentId} act at the same time`);
      if (begins && nowMs - other.lastActedMs < stopWorkMs(lease.ttlMs)) {
        throw new Error(`P4: ${agent.agentId} acts while ${other.agentId} may still be stopping its work`);
      }
    }
    if (token === undefined) return;
    use(agent.instance, token, agent.agentId);
    const row = view.get(agent.instance);
    if (row?.token === token && nowMs > (row.leaseUntilMs ?? Number.POSITIVE_INFINITY)) {
      throw new Error(
        `P4: ${agent.agentId} acts although its lease ran out ${nowMs - (row.leaseUntilMs ?? 0)} ms ago`,
      );
    }
  }

  function checkTold(agent: SimulatedAgent, nowMs: number): void {
    if (!agent.working || !agent.machine.isAwake) {
      agent.idleSinceMs = undefined;
      return;
    }
    agent.idleSinceMs ??= nowMs;
    if (nowMs - agent.idleSinceMs > lease.heartbeatMs / 4 + 50)
      throw new Error(`P4: ${agent.agentId} was not told that its lease is over`);
  }

  function checkSlot(): void {
    const holders = agents.filter((agent) => alive(agent) && agent.slot.token() !== undefined);
    if (holders.length > 1) {
      throw new Error(
        `P1: ${holders.map(({ agentId }) => agentId).join(' and ')} hold ${slot} at the same time`,
      );
    }
    const token = holders[0]?.slot.token();
    if (holders[0] && token !== undefined) use(slot, token, holders[0].agentId);
  }

  function granted(token: bigint): void {
    if (token <= highestGranted) throw new Error(`P3: token ${token} was granted after ${highestGranted}`);
    highestGranted = token;
  }

  /** A living agent that nothing hindered must not lose its name: then the arbiter, or nobody, was away. */
  function checkDeserved(instance: string, nowMs: number, by: string): void {
    const row = view.get(instance);
    if (!row || row.ended) return;
    for (const agent of agents) {
      if (agent.instance !== instance || !alive(agent) || agent.keeper.membership?.token !== row.token)
        continue;
      if (agent.agentId === by || agent.network !== 'whole' || !agent.machine.isAwake) continue;
      if (nowMs - agent.troubledUntilMs > lease.ttlMs + 600) {
        throw new Error(
          `P9: ${agent.agentId} lost its name to ${by}, although only the arbiter had been away`,
        );
      }
    }
  }

  function joinExecuted({ caller, values, rows, startedMs, atMs }: Execution): void {
    const [instance, agentId, provedDead, watched] = values as [string, string, string[], string | null];
    const answer = rows[0]?.answer as { outcome: string; token: string };
    const row = view.get(instance);
    if (row && !row.ended && provedDead.includes(row.agentId)) {
      if (answer.outcome !== 'joined')
        throw new Error(`P5: ${agentId} had to wait for ${row.agentId}, a seen death`);
      onEvent('rejoined after a seen death');
    }
    if (answer.outcome !== 'joined') return;
    if (watched && row && !row.ended && row.agentId !== agentId) onEvent('taken over after watching');
    checkDeserved(instance, atMs, caller.agentId);
    granted(BigInt(answer.token));
    const leaseUntilMs = startedMs + lease.ttlMs;
    view.set(instance, { agentId, token: BigInt(answer.token), ended: false, leaseUntilMs });
  }

  function heartbeatExecuted({ values, rows, startedMs }: Execution): void {
    const answer = rows[0]?.answer as { outcome: string } | undefined;
    const instance = String(values[0]);
    const row = view.get(instance);
    if (answer?.outcome === 'fenced') onEvent('fenced');
    if (answer?.outcome !== 'renewed' || !row) return;
    view.set(instance, { ...row, leaseUntilMs: Math.max(row.leaseUntilMs ?? 0, startedMs + lease.ttlMs) });
  }

  function claimExecuted({ rows }: Execution): void {
    const answer = rows[0]?.answer as { answers?: { token?: string }[] } | undefined;
    for (const { token } of answer?.answers ?? []) if (token) granted(BigInt(token));
  }

  return {
    check(nowMs) {
      for (const agent of agents) {
        if (!alive(agent)) continue;
        if (agent.keeper.mayAct()) checkActing(agent, nowMs);
        else if (agent.ended === 'no') checkTold(agent, nowMs);
      }
      checkSlot();
    },
    executed(execution) {
      const { text, values, rows, atMs, caller } = execution;
      const [row] = rows;
      const end = (instance: string) => {
        const known = view.get(instance);
        if (known) view.set(instance, { ...known, ended: true });
      };
      if (text.includes('member_join')) joinExecuted(execution);
      else if (text.includes('member_declare_lost') && row?.done) {
        checkDeserved(String(values[2]), atMs, caller.agentId);
        end(String(values[2]));
        onEvent('declared lost');
      } else if (text.includes('member_leave') && row?.done) end(String(values[0]));
      else if (text.includes('lease_acquire') && row?.outcome === 'granted')
        granted(BigInt(String(row.token)));
      else if (text.includes('member_heartbeat')) heartbeatExecuted(execution);
      else if (text.includes('event_claim')) claimExecuted(execution);
    },
    viewOf: (instance) => view.get(instance),
    resetView(rows) {
      view.clear();
      for (const { instance, agent_id, token, ended } of rows) {
        view.set(instance, { agentId: agent_id, token: BigInt(token), ended });
      }
    },
  };
}
