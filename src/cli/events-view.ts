/** `events list` as data and as a picture: pure functions from what the arbiter says and the calendars of the events. */
import type { EventList, EventView, OccurrenceOutcome, OpenOccurrence } from '../events/administration.ts';
import { openCalendar } from '../protocol/calendar/calendar.ts';
import { overdueSinceMs } from './events-overdue.ts';
import { ago, isoTime, isoTimeOrNull, plain, span, wrapped, zoneTime } from './events-times.ts';
import { calendarInWords, placeInWords, runInWords } from './events-words.ts';
import { type Style, styled, table } from './output.ts';

export const outcomeStyles: Record<OccurrenceOutcome, Style> = {
  succeeded: 'green',
  failed: 'red',
  skipped: 'yellow',
  missed: 'red',
  abandoned: 'red',
};

export type EventState = 'running' | 'paused' | 'overdue' | 'waiting' | 'idle';

/** One event as `events list --json` prints it. */
export function eventJson(event: EventView, nowMs: number) {
  const { definition, last, paused } = event;
  const overdueMs = overdueSinceMs(event, nowMs);
  const calendar = definition.calendar && openCalendar(definition.calendar);
  const nextMs = calendar?.next(nowMs);
  const timezone = definition.calendar?.timezone ?? null;
  return {
    event: event.name,
    revision: event.revision,
    run: definition.run ?? null,
    on: definition.on,
    schedule: calendarInWords(definition.calendar),
    timezone,
    state: stateOf(event, overdueMs),
    appointed: event.appointed,
    running: event.open.filter(({ state }) => state === 'running').map(openJson),
    waiting: event.open.filter(({ state }) => state === 'waiting').map(openJson),
    paused: paused && { by: paused.by, reason: paused.reason, at: isoTime(paused.atMs) },
    overdueSince: isoTimeOrNull(overdueMs),
    last: last && {
      due: isoTime(last.dueMs),
      lastDue: isoTime(last.lastDueMs),
      dues: last.dues,
      outcome: last.outcome,
      reason: last.reason,
      ended: isoTime(last.endedMs),
      instance: last.instance,
      durationMs: last.durationMs,
    },
    next: isoTimeOrNull(nextMs),
    nextLocal: nextMs === undefined ? null : (calendar?.describe(nextMs).local ?? null),
  };
}

const openJson = (one: OpenOccurrence) => ({
  occurrence: one.occurrence,
  place: one.place === '' ? null : one.place,
  due: isoTime(one.dueMs),
  cause: one.cause,
  attempts: one.attempts,
  instance: one.instance,
  started: isoTimeOrNull(one.startedMs),
  held: one.held,
  fenceOf: one.fenceOf,
  notBefore: one.state === 'waiting' ? isoTime(one.notBeforeMs) : null,
  reason: one.reason,
});

function stateOf(event: EventView, overdueMs: number | undefined): EventState {
  if (event.open.some(({ state }) => state === 'running')) return 'running';
  if (event.paused) return 'paused';
  if (overdueMs !== undefined) return 'overdue';
  return event.open.length > 0 ? 'waiting' : 'idle';
}

/** What an occurrence waits for, as half a sentence. */
export function waitInWords(
  one: Pick<OpenOccurrence, 'held' | 'fenceOf' | 'notBeforeMs' | 'attempts'>,
  nowMs: number,
): string {
  if (one.held === 'predecessor') return 'in line behind the one before it';
  if (one.held === 'fence') return `waits until ${one.fenceOf ?? 'the lost instance'} is fenced`;
  const what = one.attempts > 0 ? 'next attempt' : 'start';
  if (one.notBeforeMs > nowMs) return `${what} in ${span(one.notBeforeMs - nowMs)}`;
  return `${what} waits for an instance`;
}

interface Note {
  readonly text: string;
  readonly style: Style;
}

/** Everything that is to be said about its state; the first is the most important. */
function stateNotes(event: EventView, nowMs: number): Note[] {
  const notes: Note[] = [];
  const running = event.open.filter(({ state }) => state === 'running');
  const waiting = event.open.filter(({ state }) => state === 'waiting');
  for (const one of running.slice(0, 3)) {
    const text = `running on ${one.instance} for ${span(nowMs - (one.startedMs ?? nowMs))}`;
    notes.push({ text, style: 'cyan' });
  }
  if (running.length > 3) notes.push({ text: `and ${running.length - 3} more`, style: 'cyan' });
  if (event.paused) {
    const { by, reason, atMs } = event.paused;
    notes.push({ text: `paused by ${plain(by)} ${ago(atMs, nowMs)}: ${plain(reason)}`, style: 'yellow' });
  }
  const overdueMs = overdueSinceMs(event, nowMs);
  if (overdueMs !== undefined) notes.push({ text: `overdue for ${span(nowMs - overdueMs)}`, style: 'red' });
  const [first] = waiting;
  if (first) {
    const more = waiting.length > 1 ? ` (${waiting.length} wait)` : '';
    notes.push({ text: `${waitInWords(first, nowMs)}${more}`, style: 'yellow' });
  }
  if (event.definition.on.kind === 'designated') notes.push(appointmentNote(event));
  return notes.length > 0 ? notes : [{ text: 'idle', style: 'dim' }];
}

const appointmentNote = ({ appointed }: EventView): Note =>
  appointed === null
    ? { text: 'nobody appointed', style: 'yellow' }
    : { text: `appointed: ${appointed}`, style: 'green' };

function lastInWords({ last }: EventView, nowMs: number): string {
  if (!last) return '–';
  const took = last.durationMs === null ? '' : `, took ${span(last.durationMs)}`;
  const many = last.dues > 1 ? `${last.dues} ` : '';
  return `${styled(outcomeStyles[last.outcome], `${many}${last.outcome}`)} ${ago(last.endedMs, nowMs)}${took}`;
}

function nextInWords({ definition }: EventView, nowMs: number): string {
  const nextMs = definition.calendar && openCalendar(definition.calendar).next(nowMs);
  if (nextMs === undefined) return '–';
  return `${zoneTime(nextMs, definition.calendar?.timezone)} (in ${span(nextMs - nowMs)})`;
}

/** A table where it fits, else a few lines for each event. `width` undefined: nobody looks at a screen. */
export function eventsText({ nowMs, events }: EventList, width: number | undefined): string {
  const head = ['event', 'schedule', 'on', 'last', 'next', 'state'].map((title) => styled('dim', title));
  const rows = events.map((event) => [
    event.name,
    event.definition.calendar ? calendarInWords(event.definition.calendar) : '–',
    placeInWords(event.definition),
    lastInWords(event, nowMs),
    nextInWords(event, nowMs),
    stateNotes(event, nowMs)
      .map(({ text, style }) => styled(style, text))
      .join('; '),
  ]);
  const wide = table([head, ...rows]);
  if (width === undefined || wide.split('\n').every((line) => shownLength(line) <= width)) return wide;
  return events.map((event) => eventLines(event, nowMs, width)).join('\n\n');
}

function eventLines(event: EventView, nowMs: number, width: number): string {
  const { definition, last } = event;
  const where = definition.on.kind === 'one' ? 'on one instance' : `on: ${placeInWords(definition)}`;
  const when = definition.calendar ? [calendarInWords(definition.calendar)] : [];
  const reason = last && last.outcome !== 'succeeded' && last.reason ? plain(last.reason) : undefined;
  return [
    styled('bold', event.name),
    ...stateNotes(event, nowMs).map(({ text, style }) => styled(style, wrapped(text, width, '  '))),
    wrapped([...when, plain(runInWords(definition)), where].join('; '), width, '  '),
    `  last  ${lastInWords(event, nowMs)}`,
    ...(reason === undefined ? [] : [wrapped(reason, width, '        ')]),
    `  next  ${nextInWords(event, nowMs)}`,
  ].join('\n');
}

/** Without the escape sequences of colours. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what colours begin with
export const shownLength = (text: string): number => text.replace(/\x1b\[[0-9;]*m/g, '').length;
