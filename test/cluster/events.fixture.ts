/**
 * What the event tests have in common: a configuration whose application is the worker, a database that remembers
 * where each calendar began, and the three accounts (calendars, ledger, journal) brought before the checker.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '../../src/database/arbiter.ts';
import { openCalendar } from '../../src/protocol/calendar/calendar.ts';
import { loadConfiguration } from '../../src/settings/index.ts';
import {
  type CheckedEvent,
  checkLedger,
  type JournalEntry,
  type LedgerCheck,
  type LedgerOccurrence,
  type LedgerRun,
  type LedgerVerdict,
} from '../../src/testing/ledger-checker.ts';
import { freePort, until } from './cluster.fixture.ts';
import { executionsOf, type Note, readNotes, type WorkOrder } from './journal.fixture.ts';

const here = import.meta.dirname;

export interface EventsOptions {
  readonly database: string;
  /** Of the section `events:`, by name, as YAML in flow style. */
  readonly events: Readonly<Record<string, string>>;
  readonly ttl?: string;
  readonly heartbeat?: string;
  readonly drain?: string;
  readonly restartAfter?: string;
  /** Events that run on each instance; the worker cannot know. */
  readonly each?: readonly string[];
  /** Events for which the worker asks every second. */
  readonly gates?: readonly string[];
  /** Further sections. */
  readonly extra?: string;
}

export const command = `exec ${process.execPath} ${join(here, 'command.fixture.ts')}`;
/** For work that is asked for by hand: its own schedule never comes. */
export const never = 'yearly: {month: january, day: 1, at: "03:00"}';

export interface EventsFolder {
  readonly folder: string;
  readonly configFile: string;
  readonly journalFolder: string;
  remove(): Promise<void>;
}

export async function eventsFolder(options: EventsOptions): Promise<EventsFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-events-'));
  const journalFolder = join(folder, 'journal');
  await mkdir(journalFolder);
  await prepareDatabase(options.database);
  const port = await freePort();
  const names = Object.keys(options.events).join(',');
  const text = [
    'cluster: work',
    `database: ${options.database}`,
    'app:',
    `  command: exec ${process.execPath} ${resolve(here, 'worker.fixture.ts')}`,
    '  instances: 3',
    `  url: http://127.0.0.1:${port}`,
    '  environment:',
    `    WORKER_JOURNAL: ${journalFolder}`,
    `    WORKER_EVENTS: "${names}"`,
    `    WORKER_EACH: "${(options.each ?? []).join(',')}"`,
    `    WORKER_GATES: "${(options.gates ?? []).join(',')}"`,
    `  health: { path: /health, every: 250ms, timeout: 1s, restartAfter: ${options.restartAfter ?? '2s'} }`,
    '  restart: { backoff: 100ms, maxBackoff: 500ms }',
    `  stop: { drain: ${options.drain ?? '2s'}, kill: 3s }`,
    `balancer: { listen: "127.0.0.1:${port}" }`,
    `lease: { ttl: ${options.ttl ?? '3s'}, heartbeat: ${options.heartbeat ?? '500ms'} }`,
    'events:',
    ...Object.entries(options.events).map(([name, settings]) => `  ${name}: { ${settings} }`),
    options.extra ?? '',
    '',
  ].join('\n');
  const configFile = join(folder, 'holdfast.yaml');
  await writeFile(configFile, text.replaceAll('FOLDER', journalFolder));
  return {
    folder,
    configFile,
    journalFolder,
    remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Where each calendar begins is not in the ledger: nothing was due there before it was defined. */
async function prepareDatabase(url: string): Promise<void> {
  const arbiter = openArbiter({ url, max: 1 });
  await arbiter.query(`
    create table if not exists public.effects (event text, due timestamptz, token bigint);
    create table if not exists public.beginnings (event text, place text, at timestamptz, primary key (event, place));
    create or replace function public.remember_beginning() returns trigger language plpgsql as $$
    begin
      insert into public.beginnings values (new.event, new.place, new.cursor) on conflict do nothing;
      return null;
    end $$;
    create or replace trigger beginning after insert on holdfast.event_cursor
    for each row execute function public.remember_beginning();`);
  await arbiter.close();
}

export interface RunRow extends LedgerRun {
  readonly event: string;
  readonly dueMs: number;
  readonly instance: string;
  readonly reason: string | null;
  readonly result: string | null;
  readonly startedMs: number;
  readonly endedMs: number | null;
}

export interface EventsView {
  readonly query: Arbiter['query'];
  trigger(event: string, payload?: WorkOrder): Promise<{ occurrence: string; dueMs: number }>;
  occurrences(event: string): Promise<(LedgerOccurrence & { asked: string | null })[]>;
  runsOf(occurrence: string): Promise<RunRow[]>;
  notes(): Promise<Note[]>;
  executions(event?: string): Promise<JournalEntry[]>;
  /** Waits for an execution of this occurrence's n-th attempt to have begun, and a step later. */
  begun(occurrence: string, attempt: number, limitMs?: number): Promise<JournalEntry & { pid: number }>;
  done(occurrence: string, limitMs?: number): Promise<LedgerOccurrence>;
  effects(): Promise<{ event: string; dueMs: number; token: string }[]>;
  /** What the calendars, the ledger and the journal say about everything that was due until then. */
  accounts(untilMs: number, lostTimelines?: ReadonlySet<number>): Promise<LedgerCheck>;
  /** Everything that was due up to now is settled within the limit, and no promise was broken. */
  assertAllIsWell(limitMs?: number, lostTimelines?: ReadonlySet<number>): Promise<LedgerVerdict['counts']>;
  close(): Promise<void>;
}

const occurrenceColumns = `o.id::text, o.event, o.place, holdfast.ms(o.due) as "dueMs",
  holdfast.ms(o.last_due) as "lastDueMs", o.dues, o.cause, o.state, o.outcome, o.reason, o.attempts,
  o.reruns_left as "rerunsLeft", o.asked_by as asked`;
const runColumns = `r.token::text, r.occurrence::text, r.attempt, r.outcome, r.instance, r.reason, r.result,
  o.event, holdfast.ms(o.due) as "dueMs", holdfast.ms(r.started_at) as "startedMs", holdfast.ms(r.ended_at) as "endedMs"`;

export function openView({ configFile, journalFolder }: EventsFolder, url: string): EventsView {
  const arbiter = openArbiter({ url, max: 2, applicationName: 'event tests' });
  const { query } = arbiter;
  const own = `o.event not like 'holdfast-%'`;

  const view: EventsView = {
    query,
    async trigger(event, payload) {
      const [row] = await query<{ asked: { occurrences: { occurrence: string; dueMs: number }[] } }>(
        'select holdfast.event_trigger($1, $2, $3) as asked',
        [event, 'a test', payload ? JSON.stringify(payload) : null],
      );
      const [made] = row?.asked.occurrences ?? [];
      assert.ok(made, `${event} could not be asked for: ${JSON.stringify(row)}`);
      return made;
    },
    occurrences: (event) =>
      query(`select ${occurrenceColumns} from holdfast.occurrence o where o.event = $1 order by o.due`, [
        event,
      ]),
    runsOf: (occurrence) =>
      query(
        `select ${runColumns} from holdfast.run r join holdfast.occurrence o on o.id = r.occurrence
         where o.id = $1 order by r.attempt`,
        [occurrence],
      ),
    notes: () => readNotes(journalFolder),
    async executions(event) {
      const committed = new Set((await view.effects()).map(({ token }) => token));
      const all = executionsOf(await view.notes(), committed);
      return event === undefined ? all : all.filter((one) => one.event === event);
    },
    async begun(occurrence, attempt, limitMs = 15_000) {
      return until(
        async () => {
          const run = (await view.runsOf(occurrence)).find((one) => one.attempt === attempt);
          const notes = (await view.notes()).filter(({ token }) => token === run?.token);
          const [first] = notes;
          return first && { ...first, beganMs: first.atMs, endedMs: undefined, how: undefined };
        },
        (found) => found !== undefined,
        limitMs,
      ) as Promise<JournalEntry & { pid: number }>;
    },
    async done(occurrence, limitMs = 20_000) {
      const rows = await until(
        () =>
          query<LedgerOccurrence>(`select ${occurrenceColumns} from holdfast.occurrence o where o.id = $1`, [
            occurrence,
          ]),
        ([row]) => row?.state === 'done',
        limitMs,
      );
      return rows[0] as LedgerOccurrence;
    },
    effects: () => query('select event, holdfast.ms(due) as "dueMs", token::text from public.effects'),
    async accounts(untilMs, lostTimelines) {
      const checked = await checkedEvents(query, configFile, untilMs);
      // One statement, so that occurrences and runs are of one moment; the journal after it, so that it has the rest.
      const [ledger] = await query<{ occurrences: LedgerOccurrence[] | null; runs: LedgerRun[] | null }>(
        `select (select json_agg(x) from (select ${occurrenceColumns} from holdfast.occurrence o where ${own}) x) as occurrences,
           (select json_agg(x) from (select ${runColumns} from holdfast.run r
             join holdfast.occurrence o on o.id = r.occurrence where ${own}) x) as runs`,
      );
      const runs = ledger?.runs ?? [];
      // What began after the ledger was read is not of that moment.
      const latest = runs.reduce((max, { token }) => (BigInt(token) > max ? BigInt(token) : max), 0n);
      const journal = (await view.executions()).filter(({ token }) => BigInt(token) <= latest);
      return {
        events: checked,
        occurrences: ledger?.occurrences ?? [],
        runs,
        journal,
        mustBeDone: true,
        ...(lostTimelines ? { lostTimelines } : {}),
      };
    },
    async assertAllIsWell(limitMs = 15_000, lostTimelines) {
      const untilMs = Date.now();
      const deadlineMs = performance.now() + limitMs;
      for (;;) {
        const { violations, counts } = checkLedger(await view.accounts(untilMs, lostTimelines));
        if (violations.length === 0) return counts;
        if (performance.now() > deadlineMs) assert.deepEqual(violations, []);
        await delay(250);
      }
    },
    close: () => arbiter.close(),
  };
  return view;
}

async function checkedEvents(
  query: Arbiter['query'],
  configFile: string,
  untilMs: number,
): Promise<CheckedEvent[]> {
  const { configuration } = await loadConfiguration(configFile);
  const beginnings = await query<{ event: string; place: string; atMs: number }>(
    'select event, place, holdfast.ms(at) as "atMs" from public.beginnings',
  );
  return beginnings.flatMap(({ event, place, atMs }) => {
    const settings = configuration.events.find(({ name }) => name === event);
    if (!settings) return [];
    const calendar = settings.calendar && openCalendar(settings.calendar);
    return [
      {
        event,
        place,
        mayOverlap: settings.overlap === 'allow',
        periods: [{ afterMs: atMs, untilMs, next: (afterMs: number) => calendar?.next(afterMs) }],
      },
    ];
  });
}

/** Lines of JSON that somebody appended to a file of the journal's folder; none if nobody did. */
export async function linesOf<Line = Record<string, unknown>>(
  { journalFolder }: EventsFolder,
  name: string,
): Promise<Line[]> {
  const text = await readFile(join(journalFolder, name), 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}
