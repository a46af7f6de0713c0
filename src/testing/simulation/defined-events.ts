/**
 * What was due, and when: follows the definitions as the arbiter receives them, so that the checker of the ledger
 * knows by which calendar each moment was due. It reads what is asked of the arbiter, never what is in the ledger.
 */
import { openCalendar } from '../../protocol/calendar/calendar.ts';
import type { CalendarSettings } from '../../protocol/calendar/schedule.ts';
import type { CheckedEvent } from '../ledger-checker.ts';
import type { Execution } from './arbiter.ts';

interface Period {
  readonly afterMs: number;
  readonly untilMs: number;
  readonly calendar: CalendarSettings | null;
}

interface Defined {
  readonly event: string;
  readonly place: string;
  readonly mayOverlap: boolean;
  readonly periods: readonly Period[];
}

export interface DefinedEvents {
  executed(execution: Execution): void;
  /** The event is no longer in the configuration; its cursor stands there. */
  retired(event: string, place: string, cursorMs: number): void;
  /** What a standby has received of it, and what it goes on with. */
  snapshot(): void;
  restoreSnapshot(): void;
  /** Nobody may be there for that place any more: nothing is owed after that moment. */
  checked(deserted: ReadonlyMap<string, number>): CheckedEvent[];
}

interface DefineRow {
  readonly name: string;
  readonly place: string;
  readonly calendar: CalendarSettings | null;
  readonly definition: { readonly overlap: string };
}

interface ClaimRow {
  readonly event: string;
  readonly place: string;
  readonly toMs: number;
  readonly become?: { readonly calendar: CalendarSettings | null };
}

const keyOf = (event: string, place: string): string => `${event}/${place}`;

export function definedEvents(): DefinedEvents {
  let defined = new Map<string, Defined>();
  let standby = new Map<string, Defined>();

  function define({ values, rows }: Execution): void {
    const asked = JSON.parse(String(values[1])) as DefineRow[];
    const known = rows[0]?.known as { event: string; place: string; cursorMs: number; calendar: null }[];
    for (const { event, place, cursorMs, calendar } of known) {
      const row = asked.find(({ name }) => name === event);
      const before = defined.get(keyOf(event, place));
      const mayOverlap = row?.definition.overlap === 'allow' || (before?.mayOverlap ?? false);
      const begins = {
        afterMs: cursorMs,
        untilMs: Number.POSITIVE_INFINITY,
        calendar: calendar ?? row?.calendar ?? null,
      };
      const periods = before?.periods ?? [];
      const isClosed = (periods.at(-1)?.untilMs ?? 0) < Number.POSITIVE_INFINITY;
      defined.set(keyOf(event, place), {
        event,
        place,
        mayOverlap,
        periods: isClosed ? [...periods, begins] : periods,
      });
    }
  }

  function close(key: string, untilMs: number, next: Period[]): void {
    const known = defined.get(key);
    const last = known?.periods.at(-1);
    if (!known || !last || last.untilMs < Number.POSITIVE_INFINITY) return;
    defined.set(key, { ...known, periods: [...known.periods.slice(0, -1), { ...last, untilMs }, ...next] });
  }

  function claimed({ values, rows }: Execution): void {
    const answers = (rows[0]?.answer as { answers?: { outcome: string }[] } | undefined)?.answers ?? [];
    for (const [index, claim] of (JSON.parse(String(values[2])) as ClaimRow[]).entries()) {
      if (!claim.become || answers[index]?.outcome !== 'recorded') continue;
      const begins = {
        afterMs: claim.toMs,
        untilMs: Number.POSITIVE_INFINITY,
        calendar: claim.become.calendar,
      };
      close(keyOf(claim.event, claim.place), claim.toMs, [begins]);
    }
  }

  return {
    executed(execution) {
      if (execution.text.includes('holdfast.event_define')) define(execution);
      else if (execution.text.includes('holdfast.event_claim')) claimed(execution);
    },
    retired: (event, place, cursorMs) => close(keyOf(event, place), cursorMs, []),
    snapshot() {
      standby = new Map(defined);
    },
    restoreSnapshot() {
      defined = new Map(standby);
    },
    checked: (deserted) =>
      [...defined.values()].map(({ event, place, mayOverlap, periods }) => ({
        event,
        place,
        mayOverlap,
        periods: periods.map(({ afterMs, untilMs, calendar }) => ({
          afterMs,
          untilMs: Math.min(untilMs, deserted.get(keyOf(event, place)) ?? Number.POSITIVE_INFINITY),
          next: calendar ? openCalendar(calendar).next : () => undefined,
        })),
      })),
  };
}
