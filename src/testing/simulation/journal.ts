/**
 * What the executors of a simulation did, in true time, as somebody saw it who sees all machines at once. Two that
 * may not work at the same time are found out at the moment at which the second one begins, or wakes.
 */
import type { JournalEntry } from '../ledger-checker.ts';

export interface Execution {
  readonly entry: { -readonly [Key in keyof JournalEntry]: JournalEntry[Key] };
  readonly occurrence: string;
  readonly instance: string;
  /** Of the membership under which it began. */
  readonly memberToken: bigint;
  /** Its machine is asleep since then, so it does nothing. */
  asleepSinceMs: number | undefined;
}

export interface Journal {
  readonly entries: readonly JournalEntry[];
  readonly live: ReadonlySet<Execution>;
  began(execution: Execution): void;
  woke(execution: Execution): void;
  ended(execution: Execution, how: NonNullable<JournalEntry['how']>, atMs: number): void;
}

export function openJournal({
  mayOverlap,
  onViolation,
  note,
}: {
  mayOverlap(event: string): boolean;
  onViolation(text: string): void;
  note(line: string): void;
}): Journal {
  const entries: JournalEntry[] = [];
  const live = new Set<Execution>();

  /** P1, at this moment. */
  function checkAlone(execution: Execution): void {
    const { entry } = execution;
    for (const other of live) {
      if (other === execution || other.asleepSinceMs !== undefined) continue;
      if (other.entry.event !== entry.event || other.entry.place !== entry.place) continue;
      const isSame = other.occurrence === execution.occurrence;
      if (isSame || !mayOverlap(entry.event)) {
        const what = isSame ? nameOf(entry) : `${nameOf(entry)} and ${nameOf(other.entry)}`;
        onViolation(`P1: ${entry.agent} and ${other.entry.agent} work on ${what} at the same time`);
      }
    }
  }

  return {
    entries,
    live,
    began(execution) {
      entries.push(execution.entry);
      live.add(execution);
      const { entry } = execution;
      note(`${entry.agent} works on ${nameOf(entry)}, attempt ${entry.attempt}, token ${entry.token}`);
      checkAlone(execution);
    },
    woke: checkAlone,
    ended(execution, how, atMs) {
      if (!live.delete(execution)) return;
      const { entry } = execution;
      entry.endedMs = atMs;
      entry.how = how;
      note(`${entry.agent} worked on ${nameOf(entry)}, attempt ${entry.attempt}: ${how}`);
    },
  };
}

const nameOf = ({ event, place, dueMs }: JournalEntry): string =>
  `${event}${place && ` at ${place}`} (${dueMs})`;
