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
  /** It drains in order to be started again. */
  readonly restarting?: boolean;
}

export interface AgentVerdict {
  readonly state: Exclude<InstanceState, 'lost'>;
  readonly reason: string | null;
}

export function verdictOf(report: InstanceReport, intentions: Intentions): AgentVerdict {
  const stopping = intentions.stopping || intentions.restarting === true;
  const state = instanceState({ ...intentions, running: report.running, health: report.health, stopping });
  switch (state) {
    case 'up':
      return { state, reason: null };
    case 'maintenance':
      return { state, reason: intentions.maintenance.join('; ') };
    case 'draining':
      return { state, reason: leaving(intentions) };
    case 'starting':
    case 'down':
      return { state, reason: report.reason };
  }
}

function leaving({ stopping, restarting, maintenance }: Intentions): string {
  if (maintenance.length > 0 && !stopping) return maintenance.join('; ');
  return restarting && !stopping ? 'is about to be started again' : 'is about to stop';
}
