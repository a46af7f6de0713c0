/**
 * From what the keepers report to what the agent says of its instance: one pure function, so that the health page,
 * the heartbeat and the drain can never disagree.
 */
import { type InstanceState, instanceState } from '../protocol/instance-state.ts';
import type { InstanceReport } from './instance-keeper.ts';

export interface Intentions {
  readonly stopping: boolean;
  readonly maintenance: readonly string[];
  readonly drained: boolean;
}

export interface AgentVerdict {
  readonly state: Exclude<InstanceState, 'lost'>;
  readonly reason: string | null;
}

export function verdictOf(report: InstanceReport, intentions: Intentions): AgentVerdict {
  const state = instanceState({ running: report.running, health: report.health, ...intentions });
  switch (state) {
    case 'up':
      return { state, reason: null };
    case 'maintenance':
      return { state, reason: intentions.maintenance.join('; ') };
    case 'draining':
      return { state, reason: intentions.stopping ? 'is about to stop' : intentions.maintenance.join('; ') };
    case 'starting':
    case 'down':
      return { state, reason: report.reason };
  }
}
