/** The end of a simulation: the ledger against the calendars and the journal of what was really done. */
import type { Query } from '../../database/arbiter.ts';
import { checkLedger, type JournalEntry, type LedgerVerdict } from '../ledger-checker.ts';
import type { SimulatedAgent } from './agent.ts';
import type { DefinedEvents } from './defined-events.ts';
import type { SimulatedEvent } from './definitions.ts';
import { readLedger } from './ledger-reading.ts';

/** A while in which nothing was broken, in true time, and who was there. */
export interface CalmWhile {
  readonly fromMs: number;
  readonly untilMs: number;
  /** What the arbiter's clock was ahead of true time. */
  readonly offsetMs: number;
  readonly agents: readonly SimulatedAgent[];
  readonly events: readonly SimulatedEvent[];
}

export interface Judgement {
  readonly query: Query;
  readonly defined: DefinedEvents;
  readonly journal: readonly JournalEntry[];
  readonly lostTimelines: ReadonlySet<number>;
  readonly calm: readonly CalmWhile[];
  isThere(instance: string): boolean;
}

/** The verdict, and how each run ended. */
export async function judge(given: Judgement): Promise<{ verdict: LedgerVerdict; runs: readonly string[] }> {
  const { query, defined, journal, lostTimelines, calm } = given;
  const ledger = await readLedger(query);
  const deserted = new Map<string, number>();
  for (const { event, place, cursorMs } of await query<{ event: string; place: string; cursorMs: number }>(
    'select event, place, holdfast.ms(cursor) as "cursorMs" from holdfast.event_cursor',
  )) {
    if (place === '' || given.isThere(place)) continue;
    const open = ledger.occurrences.filter(
      (one) => one.event === event && one.place === place && one.state !== 'done',
    );
    deserted.set(`${event}/${place}`, Math.min(cursorMs, ...open.map(({ dueMs }) => dueMs - 1)));
  }
  const verdict = checkLedger({
    ...ledger,
    ...{ journal, lostTimelines, events: defined.checked(deserted), mustBeDone: true },
    couldBeRun: (event, place, dueMs) => calm.some((one) => hadRoom(one, journal, { event, place, dueMs })),
  });
  return { verdict, runs: ledger.runs.map(({ outcome }) => String(outcome)) };
}

/** Somebody looks within this time, when the ones before it in the order do not. */
const everybodyLooksMs = 1_500;

function hadRoom(
  { fromMs, untilMs, offsetMs, agents, events }: CalmWhile,
  journal: readonly JournalEntry[],
  { event, place, dueMs }: { event: string; place: string; dueMs: number },
): boolean {
  const atMs = dueMs - offsetMs;
  if (atMs < fromMs || atMs > untilMs) return false;
  const settings = events.find((one) => one.settings.name === event)?.settings;
  if (!settings || settings.run?.kind === 'gate') return false;
  const busy = (agentId: string): number =>
    journal.filter(
      (entry) =>
        entry.agent === agentId &&
        entry.event === event &&
        entry.beganMs < atMs + everybodyLooksMs &&
        (entry.endedMs ?? Number.POSITIVE_INFINITY) > atMs - everybodyLooksMs,
    ).length;
  return agents.some(
    ({ agentId, instance }) => (place === '' || place === instance) && busy(agentId) < settings.limit,
  );
}
