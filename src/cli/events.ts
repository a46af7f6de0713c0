/** The commands for scheduled events: what they ask of the arbiter, and what they print. */
import { existsSync } from 'node:fs';
import { listEvents, listRuns, pauseEvent, type RunsFilter, resumeEvent } from '../events/administration.ts';
import { type EventSettings, loadConfiguration } from '../settings/index.ts';
import { momentOf } from '../settings/moments.ts';
import { parseDuration } from '../support/duration.ts';
import { HoldfastError } from '../support/errors.ts';
import type { ConnectionOptions } from './connection.ts';
import {
  isBuiltIn,
  requireEvent,
  requireKnownName,
  screenWidth,
  unknownEvent,
  unknownName,
  whoAsks,
  withEvents,
} from './events-access.ts';
import { previewJson, previewText } from './events-preview-view.ts';
import { occurrenceJson, runsText } from './events-runs-view.ts';
import { ago, isoTime, plain } from './events-times.ts';
import { eventJson, eventsText } from './events-view.ts';
import { printJson, styled } from './output.ts';

export type EventOptions = ConnectionOptions & { readonly json?: boolean };

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

export async function eventsListCommand(options: EventOptions & { all?: boolean }): Promise<void> {
  const list = await withEvents(options, (query) => listEvents(query));
  const events = list.events.filter(({ name }) => options.all || !isBuiltIn(name));
  if (options.json) printJson(events.map((event) => eventJson(event, list.nowMs)));
  else if (events.length > 0) say(eventsText({ nowMs: list.nowMs, events }, screenWidth()));
  else
    say('No events. They are written under `events:` in the configuration, and known once an agent runs it.');
}

export interface RunsOptions extends EventOptions {
  readonly outcome?: NonNullable<RunsFilter['outcome']>;
  readonly since?: string;
  readonly limit: number;
  readonly attempts?: boolean;
  readonly all?: boolean;
}

export async function eventsRunsCommand(name: string | undefined, options: RunsOptions): Promise<void> {
  const sinceMs = options.since === undefined ? undefined : sinceOf(options.since, Date.now());
  const list = await withEvents(options, async (query) => {
    if (name !== undefined) await requireKnownName(query, name);
    return listRuns(query, {
      ...(name === undefined ? {} : { event: name }),
      ...(options.outcome === undefined ? {} : { outcome: options.outcome }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
      builtIn: options.all ?? false,
      limit: options.limit,
    });
  });
  if (options.json) {
    printJson(list.occurrences.map(occurrenceJson));
    return;
  }
  if (list.occurrences.length === 0) {
    say('Nothing of that kind in the ledger.');
    return;
  }
  say(runsText(list, { attempts: options.attempts ?? false, width: screenWidth() }));
  if (list.occurrences.length === options.limit)
    say(styled('dim', `The latest ${options.limit}; --limit shows more.`));
}

/** `1d` ago, or a moment in UTC unless it has an offset. */
function sinceOf(text: string, nowMs: number): number {
  const durationMs = parseDuration(text);
  const sinceMs = durationMs === undefined ? momentOf('UTC', text) : nowMs - durationMs;
  if (sinceMs !== undefined) return sinceMs;
  throw new HoldfastError('USAGE', `--since: expected a span such as 6h or 1d, or a date, found "${text}".`);
}

export interface PreviewOptions extends EventOptions {
  readonly count: number;
  readonly from?: string;
  readonly offline?: boolean;
}

export async function eventsPreviewCommand(name: string, options: PreviewOptions): Promise<void> {
  const found = await findDefinition(name, options);
  const timezone = found.settings.calendar?.timezone ?? 'UTC';
  const fromMs = options.from === undefined ? found.nowMs : momentOf(timezone, options.from);
  if (fromMs === undefined) {
    throw new HoldfastError('USAGE', `--from: expected a date or date-time, found "${options.from}".`, {
      remedy: `Such as 2027-03-28, 2027-03-28T01:30 (in ${timezone}) or 2027-03-28T01:30+01:00.`,
    });
  }
  const input = { ...found, fromMs, count: options.count };
  if (options.json) printJson(previewJson(input));
  else say(previewText(input, screenWidth()));
}

interface FoundDefinition {
  readonly settings: EventSettings;
  readonly source: string;
  readonly nowMs: number;
}

/** As it is in force; where no arbiter answers, as the configuration file has it. */
async function findDefinition(name: string, options: PreviewOptions): Promise<FoundDefinition> {
  if (options.offline) return definitionInFile(name, options);
  try {
    return await withEvents(options, async (query) => {
      const { event, nowMs } = await requireEvent(query, name);
      return { settings: event.definition, source: 'arbiter', nowMs };
    });
  } catch (error) {
    const isAway = error instanceof HoldfastError && awayCodes.includes(error.code);
    if (!isAway || !existsSync(options.config)) throw error;
    process.stderr.write(
      `${styled('dim', `No arbiter answers; this is what ${options.config} says.`, process.stderr)}\n`,
    );
    return definitionInFile(name, options);
  }
}

const awayCodes: readonly string[] = ['NOT_RUNNING', 'ARBITER_UNAVAILABLE', 'ARBITER_REFUSED'];

async function definitionInFile(name: string, { config }: PreviewOptions): Promise<FoundDefinition> {
  const { events } = (await loadConfiguration(config)).configuration;
  const settings = events.find((one) => one.name === name);
  if (settings) return { settings, source: config, nowMs: Date.now() };
  throw unknownName(
    name,
    events.map((one) => one.name),
    config,
  );
}

export async function eventsPauseCommand(
  name: string,
  options: EventOptions & { reason: string; by?: string },
): Promise<void> {
  const reason = options.reason.trim();
  if (reason === '')
    throw new HoldfastError('USAGE', '--reason: expected words that others will understand.');
  const by = whoAsks(options.by);
  const { answer, event, nowMs } = await withEvents(options, async (query) => {
    const paused = await pauseEvent(query, name, { by, reason });
    if (paused.outcome === 'unknown') throw await unknownEvent(query, name);
    return { answer: paused, ...(await requireEvent(query, name)) };
  });
  const { paused } = event;
  if (options.json) {
    const at = paused && isoTime(paused.atMs);
    printJson({
      event: name,
      outcome: answer.outcome,
      by: paused?.by ?? by,
      reason: paused?.reason ?? reason,
      at,
    });
    return;
  }
  if (answer.outcome === 'unchanged') {
    const since = paused ? `, ${ago(paused.atMs, nowMs)}` : '';
    say(`${name} was paused already, by ${plain(answer.by)}${since}: ${plain(answer.reason)}`);
    return;
  }
  say(`${name} is paused: what is due is recorded as skipped, until \`holdfast events resume ${name}\`.`);
  const running = event.open.filter(({ state }) => state === 'running');
  for (const one of running) say(`  What runs goes on: on ${one.instance}.`);
}

export async function eventsResumeCommand(name: string, options: EventOptions): Promise<void> {
  const { outcome, next } = await withEvents(options, async (query) => {
    const answer = await resumeEvent(query, name);
    if (answer.outcome === 'unknown') throw await unknownEvent(query, name);
    const { event, nowMs } = await requireEvent(query, name);
    return { outcome: answer.outcome, next: eventJson(event, nowMs).next };
  });
  if (options.json) printJson({ event: name, outcome, next });
  else if (outcome === 'unchanged') say(`${name} was not paused.`);
  else say(`${name} goes on${next ? `; it is due next at ${next.replace('.000Z', 'Z')}` : ''}.`);
}
