/**
 * The same by each one's own cron, which of the peers knows no seconds: one event at every full minute. All of them
 * wait at once, because a minute is long and one moment in it is short; what they do to each other then is the same
 * for all.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type ContenderSettings, prepare } from './delay.ts';
import { type Summary, summary } from './figures.ts';
import type { AgentOrder, StartSample } from './holdfast-agent.ts';
import type { PeerOrder } from './peer-worker.ts';
import { startGroup } from './processes.ts';
import type { BenchServer } from './server.ts';

export interface CronResult {
  readonly name: string;
  readonly by: string;
  readonly delay: Summary;
  readonly samplesMs: readonly number[];
}

interface CronContender {
  readonly name: string;
  readonly by: string;
  readonly settings: ContenderSettings;
}

const minutes = true;

export const cronContenders: readonly CronContender[] = [
  { name: 'holdfast', by: 'timer', settings: { kind: 'holdfast' } },
  {
    name: 'pg-boss',
    by: 'defaults: looks every 30 s, polls every 2 s',
    settings: { kind: 'pg-boss', pollSeconds: 2, minutes },
  },
  {
    name: 'pg-boss',
    by: 'its least: looks every 1 s, polls every 0.5 s',
    settings: { kind: 'pg-boss', pollSeconds: 0.5, cronSeconds: 1, minutes },
  },
  {
    name: 'graphile-worker',
    by: 'timer, then notified',
    settings: { kind: 'graphile-worker', pollMs: 2_000, minutes },
  },
];

const minuteMs = 60_000;
/** Whoever looks every thirty seconds may be so late. */
const stragglersMs = 45_000;
const startMs = 5_000;

export async function measureCron(
  server: BenchServer,
  chosen: readonly CronContender[],
  wantedMinutes: number,
): Promise<CronResult[]> {
  const databases = await Promise.all(
    chosen.map(({ settings }, index) =>
      server.createDatabase(`cron_${index}`, { migrated: settings.kind === 'holdfast' }),
    ),
  );
  for (const [index, { settings }] of chosen.entries())
    await prepare(
      settings.kind === 'holdfast' ? settings : { ...settings, minutes: false },
      databases[index] ?? '',
    );
  const firstMs = Math.ceil((Date.now() + startMs) / minuteMs) * minuteMs;
  const lastMs = firstMs + (wantedMinutes - 1) * minuteMs;
  return Promise.all(
    chosen.map((contender, index) => measureOne(contender, databases[index] ?? '', firstMs, lastMs)),
  );
}

async function measureOne(
  { name, by, settings }: CronContender,
  url: string,
  firstMs: number,
  lastMs: number,
): Promise<CronResult> {
  const group = startGroup(settings.kind === 'holdfast' ? 'holdfast-agent.ts' : 'peer-worker.ts');
  try {
    await group.ask('start', (index): AgentOrder | PeerOrder =>
      settings.kind === 'holdfast'
        ? { url, instance: `agent-${index}`, revision: 1, workload: { kind: 'minutes' } }
        : { url, settings },
    );
    await delay(lastMs + stragglersMs - Date.now());
    const samples = (await group.ask<StartSample[]>('samples')).flat();
    const samplesMs = samples
      .filter(({ dueMs }) => dueMs >= firstMs && dueMs <= lastMs)
      .map(({ dueMs, startedMs }) => startedMs - dueMs);
    if (settings.kind === 'holdfast') await group.ask('stop');
    return { name, by, delay: summary(samplesMs), samplesMs };
  } finally {
    await group.end();
  }
}
