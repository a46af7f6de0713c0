/**
 * What definitions cost at which nothing is due: three agents with ten thousand of them, beside three with none, at
 * the same time and on the same server. The difference must be nothing.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentCounts, AgentOrder } from './holdfast-agent.ts';
import { startGroup } from './processes.ts';
import { type BenchServer, processorMs } from './server.ts';
import { differences, together } from './throughput.ts';

export interface IdleResult {
  readonly definitions: number;
  readonly seconds: number;
  /** Counted by the server, listeners' signs of life included. */
  readonly statementsPerSecond: number;
  /** As the agents sent them, by kind. */
  readonly statements: Readonly<Record<string, number>>;
  /** Of the three agents, as a share of one processor. */
  readonly agentsShare: number;
  readonly notices: readonly string[];
}

/** Whatever follows from a start is over by then. */
const settleMs = 2_500;

export function measureIdle(
  server: BenchServer,
  options: { readonly definitions: readonly number[]; readonly seconds: number },
): Promise<IdleResult[]> {
  let ready = 0;
  let allReady: () => void = () => undefined;
  const everybody = new Promise<void>((resolve) => {
    allReady = resolve;
  });
  const untilAllReady = async () => {
    if (++ready === options.definitions.length) allReady();
    await everybody;
  };
  return Promise.all(
    options.definitions.map((count) => measureOne(server, count, options.seconds, untilAllReady)),
  );
}

async function measureOne(
  server: BenchServer,
  definitions: number,
  seconds: number,
  untilAllReady: () => Promise<void>,
): Promise<IdleResult> {
  const database = `idle_${definitions}`;
  const url = await server.createDatabase(database, { migrated: true });
  const group = startGroup('holdfast-agent.ts');
  try {
    const workload = { kind: 'idle', count: definitions } as const;
    const started = group.ask(
      'start',
      (index): AgentOrder => ({
        url,
        instance: `agent-${index}`,
        revision: 1,
        workload,
      }),
    );
    await started.finally(untilAllReady);
    await delay(settleMs);
    const read = async () => {
      const [counts, statements, agents] = await Promise.all([
        group.ask<AgentCounts>('counts'),
        server.statements(database),
        Promise.all(group.pids.map((pid) => processorMs(pid))),
      ]);
      return { atMs: Date.now(), counts: together(counts), statements, agents };
    };
    const before = await read();
    await delay(seconds * 1_000);
    const after = await read();
    await group.ask('stop');
    const tookMs = after.atMs - before.atMs;
    const sum = (values: readonly number[]) => values.reduce((total, one) => total + one, 0);
    return {
      definitions,
      seconds: tookMs / 1_000,
      statementsPerSecond: ((after.statements - before.statements) * 1_000) / tookMs,
      statements: differences(before.counts.statements, after.counts.statements),
      agentsShare: (sum(after.agents) - sum(before.agents)) / tookMs,
      notices: after.counts.notices,
    };
  } finally {
    await group.end();
  }
}
