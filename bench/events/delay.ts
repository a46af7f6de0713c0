/**
 * From due to started: how late is the work begun that is due at an exact moment? Three processes of each contender,
 * on a machine that does nothing else; in every round each contender has its turn, so that whatever the machine
 * goes through, all of them go through it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Summary, summary } from './figures.ts';
import type { AgentCounts, AgentOrder, StartSample } from './holdfast-agent.ts';
import type { PeerOrder } from './peer-worker.ts';
import type { PeerSettings } from './peers.ts';
import { type Group, membersOfGroup, startGroup } from './processes.ts';
import type { BenchServer } from './server.ts';
import { tickOffsetsMs, ticksBetween } from './workload.ts';

export type ContenderSettings = { readonly kind: 'holdfast' } | PeerSettings;

export interface Contender {
  readonly name: string;
  /** How it learns that something is due. */
  readonly by: string;
  readonly settings: ContenderSettings;
}

export const contenders: readonly Contender[] = [
  { name: 'holdfast', by: 'timer', settings: { kind: 'holdfast' } },
  { name: 'pg-boss', by: 'poll 2 s (default)', settings: { kind: 'pg-boss', pollSeconds: 2 } },
  { name: 'pg-boss', by: 'poll 0.5 s (its least)', settings: { kind: 'pg-boss', pollSeconds: 0.5 } },
  { name: 'graphile-worker', by: 'poll 2 s (default)', settings: { kind: 'graphile-worker', pollMs: 2_000 } },
  { name: 'graphile-worker', by: 'poll 0.1 s', settings: { kind: 'graphile-worker', pollMs: 100 } },
];

export interface DelayResult {
  readonly name: string;
  readonly by: string;
  readonly delay: Summary;
  /** Of each round by itself. */
  readonly roundMediansMs: readonly number[];
  /** Due and never started, or started more than once. */
  readonly missing: number;
  readonly repeated: number;
  /** All that the server received meanwhile, in every second. */
  readonly statementsPerSecond: number;
  readonly samplesMs: readonly number[];
  /** Of Holdfast: until the claim was sent, until it was answered, until the work began. */
  readonly parts: { readonly sent: Summary; readonly answered: Summary; readonly begun: Summary } | undefined;
  readonly notices: readonly string[];
}

interface Turn {
  readonly samples: readonly StartSample[];
  readonly duesMs: readonly number[];
  readonly statements: number;
  readonly notices: readonly string[];
}

/** Between the start of the processes and the first due moment: a heartbeat tells an agent who the others are. */
const settleMs = 1_200;
const settlePeerMs = 400;
const startMs = 1_600;
/** A poll of two seconds may bring the last one so much later. */
const stragglersMs = 5_000;

export async function measureDelays(
  server: BenchServer,
  chosen: readonly Contender[],
  options: { readonly rounds: number; readonly seconds: number; onRound(done: number): void },
): Promise<DelayResult[]> {
  const entries = await Promise.all(
    chosen.map(async (contender, index) => {
      const database = `delay_${index}`;
      const migrated = contender.settings.kind === 'holdfast';
      return {
        contender,
        database,
        url: await server.createDatabase(database, { migrated }),
        turns: [] as Turn[],
      };
    }),
  );
  await Promise.all(entries.map(({ contender, url }) => prepare(contender.settings, url)));
  for (let round = 1; round <= options.rounds; round++) {
    for (const { contender, database, url, turns } of entries) {
      const count = () => server.statements(database);
      const { settings } = contender;
      turns.push(
        settings.kind === 'holdfast'
          ? await turnOfHoldfast(url, round, options.seconds, count)
          : await turnOfPeer(settings, url, options.seconds, count),
      );
    }
    options.onRound(round);
  }
  return entries.map(({ contender, turns }) => resultOf(contender, turns, options.seconds));
}

/** Peers make their tables when they start for the first time; that is no part of any round. */
export async function prepare(settings: ContenderSettings, url: string): Promise<void> {
  if (settings.kind === 'holdfast') return;
  const group = startGroup('peer-worker.ts');
  try {
    await group.askOne('start', { url, settings } satisfies PeerOrder);
  } finally {
    await group.end();
  }
}

const nextSecond = (ms: number): number => Math.ceil(ms / 1_000) * 1_000;

async function turnOfHoldfast(
  url: string,
  round: number,
  seconds: number,
  count: () => Promise<number>,
): Promise<Turn> {
  const fromMs = nextSecond(Date.now() + startMs + settleMs);
  const untilMs = fromMs + seconds * 1_000;
  const group = startGroup('holdfast-agent.ts');
  try {
    const workload = { kind: 'ticks', round, fromMs, untilMs } as const;
    await group.ask(
      'start',
      (index): AgentOrder => ({ url, instance: `agent-${index}`, revision: round, workload }),
    );
    if (Date.now() > fromMs - settleMs / 2)
      throw new Error('this machine is too slow: agents took too long to start');
    const duesMs = ticksBetween(fromMs, untilMs);
    const { samples, statements } = await watch(group, duesMs, count);
    const counts = await group.ask<AgentCounts>('counts');
    await group.ask('stop');
    return { samples, duesMs, statements, notices: counts.flatMap(({ notices }) => notices) };
  } finally {
    await group.end();
  }
}

async function turnOfPeer(
  settings: PeerSettings,
  url: string,
  seconds: number,
  count: () => Promise<number>,
): Promise<Turn> {
  const group = startGroup('peer-worker.ts');
  try {
    await group.ask('start', (): PeerOrder => ({ url, settings }));
    const fromMs = nextSecond(Date.now() + settlePeerMs);
    const duesMs = ticksBetween(fromMs, fromMs + seconds * 1_000);
    await group.askOne('schedule', duesMs);
    const { samples, statements } = await watch(group, duesMs, count);
    return { samples, duesMs, statements, notices: [] };
  } finally {
    await group.end();
  }
}

async function watch(group: Group, duesMs: readonly number[], count: () => Promise<number>) {
  const firstMs = duesMs[0] ?? 0;
  const lastMs = duesMs.at(-1) ?? 0;
  await delay(firstMs - 20 - Date.now());
  const before = await count();
  await delay(lastMs + 100 - Date.now());
  const statements = (await count()) - before;
  while (Date.now() < lastMs + stragglersMs) {
    const started = await group.ask<number>('started');
    if (started.reduce((sum, one) => sum + one, 0) >= duesMs.length) break;
    await delay(50);
  }
  return { samples: (await group.ask<StartSample[]>('samples')).flat(), statements };
}

const round3 = (value: number): number => Math.round(value * 1_000) / 1_000;
const delayOf = ({ dueMs, startedMs }: StartSample): number => round3(startedMs - dueMs);

function resultOf({ name, by }: Contender, turns: readonly Turn[], seconds: number): DelayResult {
  const samples = turns.flatMap((turn) => turn.samples);
  const wanted = turns.reduce((sum, { duesMs }) => sum + duesMs.length, 0);
  const distinct = new Set(samples.map(({ dueMs }) => dueMs)).size;
  const samplesMs = samples.map(delayOf);
  const statements = turns.reduce((sum, turn) => sum + turn.statements, 0);
  return {
    name,
    by,
    delay: summary(samplesMs),
    roundMediansMs: turns.map((turn) => summary(turn.samples.map(delayOf)).medianMs),
    missing: wanted - distinct,
    repeated: samples.length - distinct,
    statementsPerSecond: statements / (turns.length * seconds),
    samplesMs,
    parts: partsOf(samples),
    notices: turns.flatMap(({ notices }) => notices),
  };
}

function partsOf(samples: readonly StartSample[]): DelayResult['parts'] {
  const sent: number[] = [];
  const answered: number[] = [];
  const begun: number[] = [];
  for (const { dueMs, startedMs, claimSentMs, claimAnsweredMs } of samples) {
    if (claimSentMs === undefined || claimAnsweredMs === undefined) continue;
    sent.push(claimSentMs - dueMs);
    answered.push(claimAnsweredMs - claimSentMs);
    begun.push(startedMs - claimAnsweredMs);
  }
  if (sent.length === 0) return undefined;
  return { sent: summary(sent), answered: summary(answered), begun: summary(begun) };
}

export const duesPerSecond = tickOffsetsMs.length;
export const processesOfEach = membersOfGroup;
