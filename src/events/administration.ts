/**
 * What a person sees of scheduled events and may do about them, one statement each. Everything here reads the ledger
 * as it is, or calls the function that the protocol has for it; when something is due *next* is no affair of the
 * arbiter's: whoever asks has the calendar and computes it.
 *
 * Moments are milliseconds since 1970 on the arbiter's clock, tokens decimal text.
 */
import type { Query } from '../database/arbiter.ts';
import type { CalendarSettings } from '../protocol/calendar/schedule.ts';
import type { EventSettings } from '../settings/index.ts';

/** Events of Holdfast itself; the configuration has none of such a name. */
export const builtInPrefix = 'holdfast-';

export type OccurrenceOutcome = 'succeeded' | 'failed' | 'skipped' | 'missed' | 'abandoned';
type RunOutcome = 'succeeded' | 'failed' | 'lost' | 'handed over' | 'returned';

interface PauseView {
  readonly atMs: number;
  readonly by: string;
  readonly reason: string;
}

/** An occurrence that has no outcome yet. */
export interface OpenOccurrence {
  readonly occurrence: string;
  readonly place: string;
  readonly dueMs: number;
  readonly cause: 'schedule' | 'manual';
  readonly state: 'waiting' | 'running';
  /** While it waits for something else than time. */
  readonly held: 'predecessor' | 'fence' | null;
  /** The lost instance that must be fenced first. */
  readonly fenceOf: string | null;
  /** While it waits for time only: it may be claimed from then on. */
  readonly notBeforeMs: number;
  readonly attempts: number;
  /** Why the last attempt was not the last one. */
  readonly reason: string | null;
  /** While it runs. */
  readonly instance: string | null;
  readonly startedMs: number | null;
}

/** How the occurrence that ended last has ended. */
export interface LastOccurrence {
  readonly dueMs: number;
  readonly lastDueMs: number;
  readonly dues: number;
  readonly outcome: OccurrenceOutcome;
  readonly reason: string | null;
  readonly endedMs: number;
  readonly instance: string | null;
  /** Of its last attempt; null: it was never begun. */
  readonly durationMs: number | null;
}

interface PlaceView {
  /** '' for what runs once in the cluster, else an instance. */
  readonly place: string;
  /** Every moment up to here is in the ledger. */
  readonly cursorMs: number;
  /** False: its instance is not there, so nobody is to claim anything for it. */
  readonly isServed: boolean;
}

export interface EventView {
  readonly name: string;
  readonly revision: number;
  readonly definition: EventSettings;
  readonly paused: PauseView | null;
  readonly places: readonly PlaceView[];
  readonly open: readonly OpenOccurrence[];
  readonly last: LastOccurrence | null;
  /** Of a designated event: the instance that is appointed. Null: none is, or the event is not designated. */
  readonly appointed: string | null;
}

export interface EventList {
  /** The arbiter's clock. */
  readonly nowMs: number;
  readonly events: readonly EventView[];
}

/** A cursor counts where its event runs now: on `each`, those of instances; else the one of the cluster. */
const cursorCounts = `(c.place <> '') = (e.definition -> 'on' ->> 'kind' = 'each')`;

const isServed = `(c.place = '' or exists (select from holdfast.member m
  where m.instance = c.place and m.left_at is null and m.state <> 'lost'))`;

const openOccurrence = `jsonb_build_object(
  'occurrence', o.id::text, 'place', o.place, 'dueMs', holdfast.ms(o.due), 'cause', o.cause, 'state', o.state,
  'held', o.held, 'fenceOf', o.fence_of, 'notBeforeMs', holdfast.ms(o.not_before), 'attempts', o.attempts,
  'reason', o.reason, 'instance', r.instance, 'startedMs', holdfast.ms(r.started_at))`;

/** Who holds the appointment's lease, by the rule under which the lease is another one's for the asking. */
const appointed = `select l.holder from holdfast.lease l join holdfast.member m
  on m.instance = l.holder and m.token = l.member_token and m.state <> 'lost' and m.left_at is null
  where l.name = 'event:' || e.name and e.definition -> 'on' ->> 'kind' = 'designated'`;

/** Of one that `missed: all` has left behind there may be thousands. */
const mostOpen = 50;

/** All events of the current configuration in the order of their names, or one of them. */
export async function listEvents(query: Query, { name }: { name?: string } = {}): Promise<EventList> {
  const [row] = await query<EventList>(
    `select holdfast.ms(holdfast.now()) as "nowMs", coalesce(jsonb_agg(jsonb_build_object(
       'name', e.name, 'revision', e.revision, 'definition', e.definition,
       'paused', case when e.paused_at is not null then jsonb_build_object(
         'atMs', holdfast.ms(e.paused_at), 'by', e.paused_by, 'reason', e.paused_reason) end,
       'places', (select coalesce(jsonb_agg(jsonb_build_object(
           'place', c.place, 'cursorMs', holdfast.ms(c.cursor), 'isServed', ${isServed}) order by c.place), '[]')
         from holdfast.event_cursor c where c.event = e.name and ${cursorCounts}),
       'open', (select coalesce(jsonb_agg(${openOccurrence} order by o.state, o.due, o.place), '[]')
         from (select * from holdfast.occurrence x where x.event = e.name and x.state <> 'done'
           order by x.state, x.due limit ${mostOpen}) o
         left join holdfast.run r on r.occurrence = o.id and r.ended_at is null),
       'last', (select jsonb_build_object(
           'dueMs', holdfast.ms(o.due), 'lastDueMs', holdfast.ms(o.last_due), 'dues', o.dues, 'outcome', o.outcome,
           'reason', o.reason, 'endedMs', holdfast.ms(o.ended_at), 'instance', r.instance,
           'durationMs', holdfast.ms(r.ended_at) - holdfast.ms(r.started_at))
         from (select * from holdfast.occurrence x where x.event = e.name and x.state = 'done'
           order by x.ended_at desc, x.due desc limit 1) o
         left join lateral (select * from holdfast.run y where y.occurrence = o.id
           order by y.token desc limit 1) r on true),
       'appointed', (${appointed})
       ) order by e.name), '[]') as events
     from holdfast.event e where not e.retired and ($1::text is null or e.name = $1)`,
    [name ?? null],
  );
  return row ?? { nowMs: 0, events: [] };
}

/** For the nearest name: of all events, and of those that the configuration no longer has. */
export async function eventNames(query: Query): Promise<{ current: string[]; retired: string[] }> {
  const rows = await query<{ name: string; retired: boolean }>(
    'select name, retired from holdfast.event order by name',
  );
  const names = (retired: boolean) => rows.filter((row) => row.retired === retired).map(({ name }) => name);
  return { current: names(false), retired: names(true) };
}

export interface RunView {
  readonly attempt: number;
  readonly instance: string;
  readonly token: string;
  readonly startedMs: number;
  readonly endedMs: number | null;
  /** Null while it runs. */
  readonly outcome: RunOutcome | null;
  readonly reason: string | null;
  readonly result: string | null;
}

export interface OccurrenceView {
  readonly occurrence: string;
  readonly event: string;
  readonly place: string;
  /** Null where the event was never due by itself. */
  readonly timezone: string | null;
  readonly dueMs: number;
  /** Missed in a row: from `dueMs` to here, `dues` moments. */
  readonly lastDueMs: number;
  readonly dues: number;
  readonly cause: 'schedule' | 'manual';
  readonly askedBy: string | null;
  readonly state: 'waiting' | 'running' | 'done';
  readonly held: 'predecessor' | 'fence' | null;
  readonly fenceOf: string | null;
  readonly notBeforeMs: number;
  readonly outcome: OccurrenceOutcome | null;
  readonly reason: string | null;
  readonly endedMs: number | null;
  readonly attempts: number;
  readonly runs: readonly RunView[];
}

export const occurrenceFilters = [
  'succeeded',
  'failed',
  'skipped',
  'missed',
  'abandoned',
  'running',
  'waiting',
] as const;

export interface RunsFilter {
  readonly event?: string;
  readonly outcome?: (typeof occurrenceFilters)[number];
  /** What ended since then, or has not ended. */
  readonly sinceMs?: number;
  /** Those of Holdfast itself too. One that is asked for by name is never left out. */
  readonly builtIn?: boolean;
  readonly limit: number;
}

const occurrenceView = `jsonb_build_object(
  'occurrence', o.id::text, 'event', o.event, 'place', o.place,
  'timezone', (select e.definition -> 'calendar' ->> 'timezone' from holdfast.event e where e.name = o.event),
  'dueMs', holdfast.ms(o.due), 'lastDueMs', holdfast.ms(o.last_due), 'dues', o.dues, 'cause', o.cause,
  'askedBy', o.asked_by, 'state', o.state, 'held', o.held, 'fenceOf', o.fence_of,
  'notBeforeMs', holdfast.ms(o.not_before), 'outcome', o.outcome, 'reason', o.reason,
  'endedMs', holdfast.ms(o.ended_at), 'attempts', o.attempts,
  'runs', (select coalesce(jsonb_agg(jsonb_build_object('attempt', r.attempt, 'instance', r.instance,
      'token', r.token::text, 'startedMs', holdfast.ms(r.started_at), 'endedMs', holdfast.ms(r.ended_at),
      'outcome', r.outcome, 'reason', r.reason, 'result', r.result) order by r.token), '[]')
    from holdfast.run r where r.occurrence = o.id))`;

export interface RunsList {
  readonly nowMs: number;
  readonly occurrences: readonly OccurrenceView[];
}

/** What is under way, then what ended last; of each as many as the limit allows, so that indexes bound the work. */
export async function listRuns(query: Query, filter: RunsFilter): Promise<RunsList> {
  const [row] = await query<RunsList>(
    `select holdfast.ms(holdfast.now()) as "nowMs", coalesce((select jsonb_agg(${occurrenceView}
         order by o.ended_at desc nulls first, o.due desc, o.id desc)
       from (
         (select * from holdfast.occurrence x
          where x.state <> 'done' and ($1::text is null or x.event = $1) and ($2::text is null or x.state = $2)
            and ($4::text is null or not starts_with(x.event, $4))
          order by x.due desc limit $5)
         union all
         (select * from holdfast.occurrence x
          where x.state = 'done' and ($1::text is null or x.event = $1) and ($2::text is null or x.outcome = $2)
            and ($3::float8 is null or x.ended_at >= holdfast.moment($3))
            and ($4::text is null or not starts_with(x.event, $4))
          order by x.ended_at desc, x.due desc limit $5)
         order by ended_at desc nulls first, due desc limit $5) o), '[]') as occurrences`,
    [
      filter.event ?? null,
      filter.outcome ?? null,
      filter.sinceMs ?? null,
      filter.event === undefined && !filter.builtIn ? builtInPrefix : null,
      filter.limit,
    ],
  );
  return row ?? { nowMs: 0, occurrences: [] };
}

/** Those of them that the ledger still has. */
export async function findOccurrences(query: Query, ids: readonly string[]): Promise<RunsList> {
  const [row] = await query<RunsList>(
    `select holdfast.ms(holdfast.now()) as "nowMs",
       coalesce((select jsonb_agg(${occurrenceView} order by o.due, o.place)
         from holdfast.occurrence o where o.id = any ($1::bigint[])), '[]') as occurrences`,
    [ids],
  );
  return row ?? { nowMs: 0, occurrences: [] };
}

export type TriggerAnswer =
  | { readonly outcome: 'unknown' }
  | {
      readonly outcome: 'asked';
      /** None: it runs on each instance, and none is there. */
      readonly occurrences: readonly {
        readonly occurrence: string;
        readonly place: string;
        readonly dueMs: number;
        /** It starts when the one before it has ended. */
        readonly held: 'predecessor' | null;
      }[];
    };

/** A payload that is undefined is the one of the configuration; null is null. */
export async function triggerEvent(
  query: Query,
  event: string,
  { by, payload }: { by: string; payload?: unknown },
): Promise<TriggerAnswer> {
  const [row] = await query<{ answer: TriggerAnswer }>(
    'select holdfast.event_trigger($1, $2, $3) as answer',
    [event, by, payload === undefined ? null : JSON.stringify(payload)],
  );
  return row?.answer ?? { outcome: 'unknown' };
}

export type PauseAnswer =
  | { readonly outcome: 'paused' | 'unknown' }
  /** It was paused already, by somebody whose reason stands. */
  | { readonly outcome: 'unchanged'; readonly by: string; readonly reason: string };

export async function pauseEvent(
  query: Query,
  event: string,
  { by, reason }: { by: string; reason: string },
): Promise<PauseAnswer> {
  const [row] = await query<{ answer: PauseAnswer }>('select holdfast.event_pause($1, $2, $3) as answer', [
    event,
    by,
    reason,
  ]);
  return row?.answer ?? { outcome: 'unknown' };
}

export interface ResumeAnswer {
  readonly outcome: 'resumed' | 'unchanged' | 'unknown';
}

export async function resumeEvent(query: Query, event: string): Promise<ResumeAnswer> {
  const [row] = await query<{ answer: ResumeAnswer }>('select holdfast.event_resume($1) as answer', [event]);
  return row?.answer ?? { outcome: 'unknown' };
}

export interface EventTotals {
  readonly nowMs: number;
  /** Without those of Holdfast itself. */
  readonly events: number;
  readonly running: number;
  readonly waiting: number;
  /** Could have been claimed for a while, and nobody did. */
  readonly unclaimed: readonly { readonly event: string; readonly sinceMs: number }[];
  /** Lost instances that are not known to be fenced yet; what they worked on waits. */
  readonly fences: readonly {
    readonly instance: string;
    readonly tries: number;
    readonly error: string | null;
  }[];
  /** Moments that ended so in the last 24 hours. */
  readonly lastDay: { readonly failed: number; readonly missed: number; readonly abandoned: number };
  readonly paused: readonly (PauseView & { readonly event: string })[];
  /** Of the places that are served, for whoever has the calendar: is anything due that is not in the ledger? */
  readonly cursors: readonly {
    readonly event: string;
    readonly place: string;
    readonly cursorMs: number;
    readonly isGate: boolean;
    readonly calendar: CalendarSettings;
  }[];
}

/** How long after its moment something may be claimed before a person should know. */
export const overdueAfterMs = 10_000;

/** What a glance at the cluster shows of its events. */
export async function eventTotals(query: Query): Promise<EventTotals> {
  const [row] = await query<{ totals: EventTotals }>(
    `select jsonb_build_object(
       'nowMs', holdfast.ms(holdfast.now()),
       'events', (select count(*) from holdfast.event e where not e.retired and not starts_with(e.name, $2)),
       'running', (select count(*) from holdfast.occurrence o where o.state = 'running'),
       'waiting', (select count(*) from holdfast.occurrence o where o.state = 'waiting'),
       'unclaimed', (select coalesce(jsonb_agg(jsonb_build_object('event', o.event, 'sinceMs', holdfast.ms(o.not_before))
           order by o.not_before), '[]')
         from (select o.event, min(o.not_before) as not_before
           from holdfast.occurrence o join holdfast.event e on e.name = o.event
           where o.state = 'waiting' and o.held is null and not e.retired
             and (e.paused_at is null or o.cause = 'manual')
             and e.definition -> 'run' ->> 'kind' is distinct from 'gate' -- waits until the application asks
             and o.not_before < holdfast.now() - $1::float8 * interval '1 ms'
           group by o.event) o),
       'fences', (select coalesce(jsonb_agg(jsonb_build_object(
           'instance', f.instance, 'tries', f.tries, 'error', f.error) order by f.instance), '[]')
         from holdfast.fence f where f.done_at is null),
       'lastDay', (select jsonb_build_object(
           'failed', coalesce(sum(o.dues) filter (where o.outcome = 'failed'), 0),
           'missed', coalesce(sum(o.dues) filter (where o.outcome = 'missed'), 0),
           'abandoned', coalesce(sum(o.dues) filter (where o.outcome = 'abandoned'), 0))
         from holdfast.occurrence o
         where o.state = 'done' and o.ended_at >= holdfast.now() - interval '24 hours'),
       'paused', (select coalesce(jsonb_agg(jsonb_build_object('event', e.name, 'atMs', holdfast.ms(e.paused_at),
           'by', e.paused_by, 'reason', e.paused_reason) order by e.name), '[]')
         from holdfast.event e where not e.retired and e.paused_at is not null),
       'cursors', (select coalesce(jsonb_agg(jsonb_build_object('event', c.event, 'place', c.place,
           'cursorMs', holdfast.ms(c.cursor), 'isGate', e.definition -> 'run' ->> 'kind' = 'gate',
           'calendar', c.calendar) order by c.event, c.place), '[]')
         from holdfast.event_cursor c join holdfast.event e on e.name = c.event
         where not e.retired and jsonb_typeof(c.calendar) = 'object' and ${cursorCounts} and ${isServed})
     ) as totals`,
    [overdueAfterMs, builtInPrefix],
  );
  if (!row) throw new Error('the totals of events are one row');
  return row.totals;
}
