/**
 * How many occurrences a second are claimed, run and finished by three agents on one arbiter, when the work is
 * nothing; and what each costs in statements and in processor time. What is counted as done is what the ledger says.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Query } from '../../src/database/arbiter.ts';
import { type Summary, summary } from './figures.ts';
import type { AgentCounts, AgentOrder } from './holdfast-agent.ts';
import { startGroup } from './processes.ts';
import { type BenchServer, processorMs, withArbiter } from './server.ts';

export interface ThroughputResult {
  readonly shape: 'all at the same moment' | 'spread over the second';
  readonly offeredPerSecond: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** By the ledger, of all that was due from beginning to end. */
  readonly dues: {
    readonly offered: number;
    readonly succeeded: number;
    readonly missed: number;
    readonly others: number;
  };
  /** From due to granted, both on the arbiter's clock. */
  readonly delay: Summary;
  /** For each occurrence that ended. */
  readonly perOccurrence: {
    readonly statements: Readonly<Record<string, number>>;
    readonly allStatements: number;
    /** What the server counted; the agents' listeners and this program's own questions are in it. */
    readonly serverStatements: number;
    /** Claims by their answer; several go in one statement. */
    readonly claims: Readonly<Record<string, number>>;
    readonly results: number;
    readonly postgresUs: number;
    readonly agentsUs: number;
  };
  readonly notices: readonly string[];
}

interface Reading {
  readonly atMs: number;
  readonly counts: AgentCounts;
  readonly statements: number;
  readonly postgresMs: number;
  readonly agentsMs: number;
}

const startMs = 3_500;
const warmUpMs = 2_000;
const workOffMs = 15_000;

export async function measureThroughput(
  server: BenchServer,
  options: { readonly perSecond: number; readonly seconds: number; readonly spread: boolean },
): Promise<ThroughputResult> {
  const database = options.spread ? 'load_spread' : 'load_at_once';
  const url = await server.createDatabase(database, { migrated: true });
  const fromMs = Math.ceil((Date.now() + startMs) / 1_000) * 1_000;
  const untilMs = fromMs + warmUpMs + options.seconds * 1_000;
  const group = startGroup('holdfast-agent.ts');
  try {
    const workload = {
      kind: 'load',
      count: options.perSecond,
      spread: options.spread,
      fromMs,
      untilMs,
    } as const;
    await group.ask(
      'start',
      (index): AgentOrder => ({ url, instance: `agent-${index}`, revision: 1, workload }),
    );
    const read = async (): Promise<Reading> => {
      const [counts, statements, postgresMs, agents] = await Promise.all([
        group.ask<AgentCounts>('counts'),
        server.statements(database),
        server.processorMs(),
        Promise.all(group.pids.map((pid) => processorMs(pid))),
      ]);
      const agentsMs = agents.reduce((sum, one) => sum + one, 0);
      return { atMs: Date.now(), counts: together(counts), statements, postgresMs, agentsMs };
    };
    await delay(fromMs + warmUpMs - Date.now());
    const before = await read();
    await delay(untilMs - Date.now());
    const after = await read();
    const ledger = await withArbiter(url, async ({ query }) => {
      await untilWorkedOff(query, offeredOf(options));
      return readLedger(query, before.atMs, after.atMs, fromMs);
    });
    await group.ask('stop');
    return resultOf(options, before, after, ledger);
  } finally {
    await group.end();
  }
}

const offeredOf = ({ perSecond, seconds }: { perSecond: number; seconds: number }): number =>
  perSecond * (warmUpMs / 1_000 + seconds);

/** What was due is in the ledger and has ended, or it takes too long: then the figures say so. */
async function untilWorkedOff(query: Query, offered: number): Promise<void> {
  const deadlineMs = Date.now() + workOffMs;
  while (Date.now() < deadlineMs) {
    const [row] = await query<{ ended: number }>(
      `select coalesce(sum(dues), 0)::int as ended from holdfast.occurrence where state = 'done'`,
    );
    if ((row?.ended ?? 0) >= offered) return;
    await delay(200);
  }
}

interface LedgerReading {
  readonly ended: number;
  readonly succeeded: number;
  readonly missed: number;
  readonly others: number;
  readonly delaysMs: readonly number[];
}

async function readLedger(
  query: Query,
  afterMs: number,
  untilMs: number,
  fromMs: number,
): Promise<LedgerReading> {
  const [row] = await query<{ ended: number; succeeded: number; missed: number; others: number }>(
    `select count(*) filter (where outcome = 'succeeded' and holdfast.ms(ended_at) > $1
                               and holdfast.ms(ended_at) <= $2)::int as ended,
            coalesce(sum(dues) filter (where outcome = 'succeeded'), 0)::int as succeeded,
            coalesce(sum(dues) filter (where outcome = 'missed'), 0)::int as missed,
            coalesce(sum(dues) filter (where outcome is null or outcome not in ('succeeded', 'missed')), 0)::int as others
       from holdfast.occurrence where holdfast.ms(due) >= $3`,
    [afterMs, untilMs, fromMs],
  );
  const delays = await query<{ ms: number }>(
    `select (holdfast.ms(r.started_at) - holdfast.ms(o.due))::float8 as ms
       from holdfast.run r join holdfast.occurrence o on o.id = r.occurrence
      where holdfast.ms(o.due) > $1 and holdfast.ms(o.due) <= $2`,
    [afterMs, untilMs],
  );
  return {
    ...(row ?? { ended: 0, succeeded: 0, missed: 0, others: 0 }),
    delaysMs: delays.map(({ ms }) => ms),
  };
}

function resultOf(
  { perSecond, seconds, spread }: { perSecond: number; seconds: number; spread: boolean },
  before: Reading,
  after: Reading,
  ledger: LedgerReading,
): ThroughputResult {
  const { ended } = ledger;
  const each = (value: number) => value / Math.max(1, ended);
  const statements = differences(before.counts.statements, after.counts.statements);
  const all = Object.values(statements).reduce((sum, one) => sum + one, 0);
  const offered = offeredOf({ perSecond, seconds });
  return {
    shape: spread ? 'spread over the second' : 'all at the same moment',
    offeredPerSecond: perSecond,
    seconds: (after.atMs - before.atMs) / 1_000,
    perSecond: (ended * 1_000) / (after.atMs - before.atMs),
    dues: { offered, succeeded: ledger.succeeded, missed: ledger.missed, others: ledger.others },
    delay: summary(ledger.delaysMs),
    perOccurrence: {
      statements: mapped(statements, each),
      allStatements: each(all),
      serverStatements: each(after.statements - before.statements),
      claims: mapped(differences(before.counts.claims, after.counts.claims), each),
      results: each(after.counts.results - before.counts.results),
      postgresUs: each(1_000 * (after.postgresMs - before.postgresMs)),
      agentsUs: each(1_000 * (after.agentsMs - before.agentsMs)),
    },
    notices: after.counts.notices,
  };
}

type Counts = Readonly<Record<string, number>>;

/** The counts of several agents, added up. */
export function together(all: readonly AgentCounts[]): AgentCounts {
  const sum = (pick: (one: AgentCounts) => Counts): Counts => {
    const total: Record<string, number> = {};
    for (const one of all)
      for (const [key, value] of Object.entries(pick(one))) total[key] = (total[key] ?? 0) + value;
    return total;
  };
  return {
    statements: sum(({ statements }) => statements),
    claims: sum(({ claims }) => claims),
    results: all.reduce((total, { results }) => total + results, 0),
    notices: all.flatMap(({ notices }) => notices),
  };
}

export function differences(before: Counts, after: Counts): Counts {
  return Object.fromEntries(
    Object.entries(after)
      .map(([key, value]) => [key, value - (before[key] ?? 0)] as const)
      .filter(([, value]) => value > 0),
  );
}

const mapped = (counts: Counts, change: (value: number) => number): Counts =>
  Object.fromEntries(Object.entries(counts).map(([key, value]) => [key, change(value)]));
