/**
 * Makes an agent's events known to the arbiter, and watches them from where their cursors are. Where an older revision
 * had another calendar, that one is settled first; where a newer one has, the event is left to agents that know it.
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import type { Log } from '../support/log.ts';
import { type EventDefinition, eventRow } from './definition.ts';
import { DueWatch } from './due-watch.ts';
import { defineEvents } from './ledger.ts';
import { settleOldCalendar } from './recalendar.ts';

export interface WatchedEvents {
  readonly query: Query;
  readonly log: Log;
  readonly revision: number;
  readonly definitions: readonly EventDefinition[];
  readonly alarm: readonly string[];
}

/** Not complete: a calendar could not be settled now, or somebody else has just done it. Ask again. */
export async function watchEvents(
  { query, log, revision, definitions, alarm }: WatchedEvents,
  member: Membership,
): Promise<{ readonly watch: DueWatch; readonly isComplete: boolean }> {
  const watch = new DueWatch();
  let isComplete = true;
  const rows = definitions.map((definition) => eventRow(definition, alarm));
  const byName = new Map(definitions.map((definition) => [definition.name, definition]));
  for (const known of await defineEvents(query, revision, rows)) {
    const definition = byName.get(known.event);
    if (!definition) continue;
    if (known.digest === definition.digest) {
      watch.watch(definition, known.cursorMs);
    } else if (known.revision >= revision) {
      log.warn(
        { event: known.event, revision: known.revision },
        'another revision has another schedule for it; left to agents that have that revision',
      );
    } else {
      const cursorMs = await settleOldCalendar(query, member, definition, known, revision);
      if (cursorMs === undefined) isComplete = false;
      else watch.watch(definition, cursorMs);
    }
  }
  return { watch, isComplete };
}
