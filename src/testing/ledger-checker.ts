/**
 * Was every due moment settled exactly once, and did never two work on one? A checker that knows nothing of how
 * events are claimed and run. It compares three independent accounts: the *calendars*, which say what was due; the
 * *ledger*, which says what became of it; and the *journal*, which the executors themselves wrote in true time.
 *
 * Everything is plain data, so the same function judges a simulation and a cluster of real processes:
 *
 * - P1: no two executions of one occurrence at once, and none of two occurrences of one event and place at once
 *   unless it may overlap;
 * - P2: every due moment is in exactly one line of the ledger (a line may stand for a range of missed ones), nothing
 *   is there that was not due, every line that is done has one outcome, a reason where one is owed, and the runs that
 *   such an outcome takes; every run that succeeded really ended in the journal, under that token;
 * - P3: the tokens of one occurrence rise from attempt to attempt and in the order in which its executions began.
 *
 * Work that completed without the ledger knowing is repeated: it is counted, and is no violation if the ledger says
 * that the run was lost, or if a failover forgot it (`lostTimelines`).
 */
import { tokenParts } from '../protocol/token.ts';

export interface LedgerOccurrence {
  readonly id: string;
  readonly event: string;
  readonly place: string;
  readonly dueMs: number;
  /** Another one than `dueMs` only where several moments in a row were missed. */
  readonly lastDueMs: number;
  readonly dues: number;
  readonly cause: 'schedule' | 'manual';
  readonly state: 'waiting' | 'running' | 'done';
  readonly outcome: 'succeeded' | 'failed' | 'skipped' | 'missed' | 'abandoned' | null;
  readonly reason: string | null;
  readonly attempts: number;
  readonly rerunsLeft: number;
}

export interface LedgerRun {
  readonly token: string;
  readonly occurrence: string;
  readonly attempt: number;
  readonly outcome: 'succeeded' | 'failed' | 'lost' | 'handed over' | 'returned' | null;
}

/** One execution as its executor saw it, in true time. */
export interface JournalEntry {
  readonly event: string;
  readonly place: string;
  readonly dueMs: number;
  /** Left out: by its schedule. */
  readonly cause?: 'schedule' | 'manual';
  readonly attempt: number;
  readonly token: string;
  readonly agent: string;
  readonly beganMs: number;
  /** Undefined: it still goes on, as far as anybody knows. */
  readonly endedMs: number | undefined;
  /** `failed`: it ended by itself, and badly. */
  readonly how: 'completed' | 'failed' | 'aborted' | 'died' | undefined;
}

/** What was due at one place of an event. */
export interface CheckedEvent {
  readonly event: string;
  readonly place: string;
  readonly mayOverlap: boolean;
  /**
   * The calendars one after the other: each settles the moments after `afterMs` up to and with `untilMs`. What is
   * due later than the last one's end may be in the ledger, and need not be.
   */
  readonly periods: readonly {
    readonly afterMs: number;
    readonly untilMs: number;
    next(afterMs: number): number | undefined;
  }[];
}

export interface LedgerCheck {
  readonly events: readonly CheckedEvent[];
  readonly occurrences: readonly LedgerOccurrence[];
  readonly runs: readonly LedgerRun[];
  readonly journal: readonly JournalEntry[];
  /** Timelines whose last entries a failover forgot: their runs may be in the journal and not in the ledger. */
  readonly lostTimelines?: ReadonlySet<number>;
  /** Nothing may be open any more, except what became due after the periods. */
  readonly mustBeDone?: boolean;
  /** Whether somebody could have run it in time, so that it must not be missed. Left out: it cannot be known. */
  couldBeRun?(event: string, place: string, dueMs: number): boolean;
}

export interface LedgerVerdict {
  /** Each begins with the promise that was broken. */
  readonly violations: readonly string[];
  readonly counts: {
    /** Due moments by the calendars. */
    readonly moments: number;
    readonly outcomes: Readonly<Record<string, number>>;
    readonly runs: number;
    readonly executions: number;
    /** Occurrences whose work completed more than once, because its first completion was lost. */
    readonly repeated: number;
    /** Executions under a token that a failover forgot. */
    readonly forgotten: number;
  };
}

export function checkLedger(check: LedgerCheck): LedgerVerdict {
  const violations: string[] = [];
  const tell = (text: string): void => void violations.push(text);
  const moments = checkMoments(check, tell);
  checkOutcomes(check, tell);
  const { repeated, forgotten } = checkJournal(check, tell);
  const outcomes: Record<string, number> = {};
  for (const { outcome, state, dues } of check.occurrences) {
    const kind = outcome ?? state;
    outcomes[kind] = (outcomes[kind] ?? 0) + dues;
  }
  const counts = {
    moments,
    outcomes,
    runs: check.runs.length,
    executions: check.journal.length,
    repeated,
    forgotten,
  };
  return { violations, counts };
}

type Tell = (violation: string) => void;

const keyOf = (one: { event: string; place: string }): string => `${one.event}/${one.place}`;
const named = (one: { event: string; place: string }, dueMs: number): string =>
  `${one.event}${one.place && ` at ${one.place}`}, due ${momentText(dueMs)},`;
const momentText = (ms: number): string => `${new Date(ms).toISOString()} (${ms})`;

function grouped<Item>(items: readonly Item[], keyOfItem: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const group = groups.get(keyOfItem(item));
    if (group) group.push(item);
    else groups.set(keyOfItem(item), [item]);
  }
  return groups;
}

/** P2: the calendars against the ledger. Returns how many moments were due. */
function checkMoments({ events, occurrences }: LedgerCheck, tell: Tell): number {
  const scheduled = grouped(
    occurrences.filter(({ cause }) => cause === 'schedule'),
    keyOf,
  );
  let count = 0;
  for (const checked of events) {
    const rows = (scheduled.get(keyOf(checked)) ?? []).sort((one, other) => one.dueMs - other.dueMs);
    scheduled.delete(keyOf(checked));
    const dues = momentsOf(checked);
    count += dues.length;
    matchMoments(checked, rows, dues, tell);
  }
  for (const [row] of scheduled.values()) {
    if (row) tell(`P2: ${named(row, row.dueMs)} is in the ledger, and no such event was defined`);
  }
  return count;
}

function momentsOf({ periods }: CheckedEvent): number[] {
  const dues: number[] = [];
  for (const { afterMs, untilMs, next } of periods) {
    for (let due = next(afterMs); due !== undefined && due <= untilMs; due = next(due)) dues.push(due);
  }
  return dues;
}

function matchMoments(
  checked: CheckedEvent,
  rows: readonly LedgerOccurrence[],
  dues: readonly number[],
  tell: Tell,
): void {
  const endMs = checked.periods.at(-1)?.untilMs ?? Number.NEGATIVE_INFINITY;
  let index = 0;
  let coveredUntilMs = Number.NEGATIVE_INFINITY;
  for (const row of rows) {
    if (row.dueMs <= coveredUntilMs) tell(`P2: ${named(row, row.dueMs)} is in the ledger twice`);
    coveredUntilMs = Math.max(coveredUntilMs, row.lastDueMs);
    for (let due = dues[index]; due !== undefined && due < row.dueMs; due = dues[++index])
      tell(`P2: ${named(checked, due)} is not in the ledger`);
    if (row.dueMs > endMs) {
      if (!isDueLater(checked, row.dueMs)) tell(`P2: ${named(row, row.dueMs)} was not due then`);
      continue;
    }
    if (dues[index] !== row.dueMs && row.dueMs > (dues[index - 1] ?? Number.NEGATIVE_INFINITY))
      tell(`P2: ${named(row, row.dueMs)} was not due then`);
    let covered = 0;
    for (let due = dues[index]; due !== undefined && due <= row.lastDueMs; due = dues[++index]) covered++;
    if (row.lastDueMs <= endMs && covered !== row.dues && dues[index - 1] === row.lastDueMs)
      tell(`P2: ${named(row, row.dueMs)} stands for ${row.dues} moments, and there were ${covered}`);
  }
  for (const due of dues.slice(index)) tell(`P2: ${named(checked, due)} is not in the ledger`);
}

const isDueLater = ({ periods }: CheckedEvent, dueMs: number): boolean =>
  periods.at(-1)?.next(dueMs - 1) === dueMs;

/** P2, P3: each line of the ledger against its runs. */
function checkOutcomes(check: LedgerCheck, tell: Tell): void {
  const runsOf = grouped(check.runs, ({ occurrence }) => occurrence);
  const endsOf = new Map(check.events.map((one) => [keyOf(one), one.periods.at(-1)?.untilMs ?? 0]));
  for (const row of check.occurrences) {
    const runs = (runsOf.get(row.id) ?? []).sort((one, other) => one.attempt - other.attempt);
    runsOf.delete(row.id);
    const wrong = wrongWith(row, runs);
    if (wrong) tell(`${wrong[0]}: ${named(row, row.dueMs)} ${wrong[1]}`);
    const isDue = row.dueMs <= (endsOf.get(keyOf(row)) ?? Number.NEGATIVE_INFINITY);
    if (check.mustBeDone && row.state !== 'done' && isDue)
      tell(`P2: ${named(row, row.dueMs)} has no outcome: it is ${row.state}`);
    if (row.outcome === 'missed') checkMissed(check, row, tell);
  }
  for (const [run] of runsOf.values()) if (run) tell(`P2: run ${run.token} is of no occurrence`);
}

/** Each moment for which the line stands. */
function checkMissed({ events, couldBeRun }: LedgerCheck, row: LedgerOccurrence, tell: Tell): void {
  if (!couldBeRun) return;
  const calendars = events.find((one) => keyOf(one) === keyOf(row))?.periods ?? [];
  for (const { next } of calendars) {
    for (let due = next(row.dueMs - 1); due !== undefined && due <= row.lastDueMs; due = next(due)) {
      if (!couldBeRun(row.event, row.place, due)) continue;
      tell(`P2: ${named(row, due)} was missed, and somebody could have run it (${row.reason})`);
      return;
    }
  }
}

function wrongWith(
  row: LedgerOccurrence,
  runs: readonly LedgerRun[],
): ['P1' | 'P2' | 'P3', string] | undefined {
  const open = runs.filter(({ outcome }) => outcome === null);
  const succeeded = runs.filter(({ outcome }) => outcome === 'succeeded');
  if ((row.state === 'done') !== (row.outcome !== null))
    return ['P2', `is ${row.state}, outcome ${row.outcome}`];
  if (open.length > 1) return ['P1', `has ${open.length} runs that have not ended`];
  if ((row.state === 'running') !== (open.length === 1))
    return ['P2', `is ${row.state} with ${open.length} runs that have not ended`];
  if (succeeded.length > 1) return ['P1', `succeeded ${succeeded.length} times`];
  if (succeeded.length === 1 && row.outcome !== 'succeeded')
    return ['P2', `has a run that succeeded, and its outcome is ${row.outcome}`];
  if (runs.some(({ attempt }, index) => attempt !== index + 1) || runs.length !== row.attempts)
    return ['P2', `counts ${row.attempts} attempts, and its runs are ${runs.map(({ attempt }) => attempt)}`];
  if (runs.some(({ token }, index) => BigInt(token) <= BigInt(runs[index - 1]?.token ?? -1)))
    return ['P3', `has tokens that do not rise: ${runs.map(({ token }) => token)}`];
  if (row.dues > 1 !== row.lastDueMs > row.dueMs || (row.dues > 1 && row.outcome !== 'missed'))
    return ['P2', `stands for ${row.dues} moments and is ${row.outcome ?? row.state}`];
  if (row.rerunsLeft < 0) return ['P2', 'was run again more often than it may'];
  return implausible(row, runs);
}

/** Whether the outcome follows from the runs, and says why where nobody could tell. */
function implausible(row: LedgerOccurrence, runs: readonly LedgerRun[]): ['P2', string] | undefined {
  const last = runs.at(-1)?.outcome;
  switch (row.outcome) {
    case null:
      return undefined;
    case 'succeeded':
      return last === 'succeeded' ? undefined : ['P2', `succeeded, and its last run ${last ?? 'never was'}`];
    case 'failed':
      return last === 'failed' ? undefined : ['P2', `failed, and its last run ${last ?? 'never was'}`];
    case 'missed':
      if (runs.length > 0) return ['P2', 'was missed, and there were runs of it'];
      return row.reason ? undefined : ['P2', 'was missed without a reason'];
    case 'skipped':
      return row.reason ? undefined : ['P2', 'was skipped without a reason'];
    case 'abandoned': {
      if (!row.reason) return ['P2', 'was abandoned without a reason'];
      if (row.reason.includes('no longer in the configuration')) return undefined;
      if (last !== 'lost') return ['P2', `was abandoned, and its last run was ${last ?? 'never there'}`];
      return row.rerunsLeft === 0 ? undefined : ['P2', `was abandoned with ${row.rerunsLeft} reruns left`];
    }
  }
}

/** P1, P2, P3: the journal against itself and against the ledger. */
function checkJournal(check: LedgerCheck, tell: Tell): { repeated: number; forgotten: number } {
  const overlapping = new Map(check.events.map((one) => [keyOf(one), one.mayOverlap]));
  for (const [key, entries] of grouped(check.journal, keyOf)) {
    for (const ofOne of grouped(entries, occurrenceOf).values()) checkOrder(ofOne, tell);
    checkAlone(entries, overlapping.get(key) ?? true, tell); // a failover may have forgotten the event itself
  }
  const byToken = grouped(check.journal, ({ token }) => token);
  const runs = new Map(check.runs.map((run) => [run.token, run]));
  for (const run of check.runs) {
    const entries = byToken.get(run.token) ?? [];
    if (entries.length > 1) tell(`P1: run ${run.token} was executed ${entries.length} times`);
    if (run.outcome === 'succeeded' && entries[0]?.how !== 'completed')
      tell(`P2: run ${run.token} succeeded, and its execution ${entries[0]?.how ?? 'is not in the journal'}`);
    if (run.outcome === 'returned' && entries[0] && entries[0].how !== 'aborted')
      tell(`P2: run ${run.token} was given back, and its execution ${entries[0].how ?? 'goes on'}`);
  }
  let forgotten = 0;
  const completions = new Map<string, number>();
  for (const entry of check.journal) {
    const run = runs.get(entry.token);
    if (!run) {
      if (check.lostTimelines?.has(tokenParts(BigInt(entry.token)).timeline)) forgotten++;
      else
        tell(
          `P2: ${named(entry, entry.dueMs)} was executed under token ${entry.token}, unknown to the ledger`,
        );
    }
    if (entry.how !== 'completed') continue;
    if (run && run.outcome !== 'succeeded' && run.outcome !== 'lost' && run.outcome !== null)
      tell(
        `P2: ${named(entry, entry.dueMs)} was completed by ${entry.agent}, and the ledger says ${run.outcome}`,
      );
    const key = `${keyOf(entry)}/${occurrenceOf(entry)}`;
    completions.set(key, (completions.get(key) ?? 0) + 1);
  }
  return { forgotten, repeated: [...completions.values()].filter((count) => count > 1).length };
}

/** Of one event and place. */
const occurrenceOf = ({ dueMs, cause = 'schedule' }: JournalEntry): string => `${dueMs} ${cause}`;

function checkOrder(entries: JournalEntry[], tell: Tell): void {
  entries.sort((one, other) => one.beganMs - other.beganMs);
  for (const [index, entry] of entries.entries()) {
    const before = entries[index - 1];
    if (before && BigInt(entry.token) <= BigInt(before.token))
      tell(`P3: ${named(entry, entry.dueMs)} was begun with token ${entry.token} after ${before.token}`);
  }
}

/** P1: an occurrence alone, and an event that must not overlap alone at its place. */
function checkAlone(entries: JournalEntry[], mayOverlap: boolean, tell: Tell): void {
  entries.sort((one, other) => one.beganMs - other.beganMs);
  let live: JournalEntry[] = [];
  for (const entry of entries) {
    live = live.filter(({ endedMs }) => endedMs === undefined || endedMs > entry.beganMs);
    for (const other of live) {
      if (occurrenceOf(other) === occurrenceOf(entry)) {
        tell(`P1: ${entry.agent} and ${other.agent} worked on ${named(entry, entry.dueMs)} at the same time`);
      } else if (!mayOverlap) {
        tell(
          `P1: ${entry.agent} began ${named(entry, entry.dueMs)} while ${other.agent} ran the one of ${momentText(other.dueMs)}`,
        );
      }
    }
    live.push(entry);
  }
}
