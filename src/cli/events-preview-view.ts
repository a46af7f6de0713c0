/** `events preview` as data and as a picture: when an event is due, in its zone and in UTC, and where clocks change. */
import { type Due, openCalendar } from '../protocol/calendar/calendar.ts';
import type { EventSettings } from '../settings/index.ts';
import { isoTime, plain, span, wrapped, zoneTime, zoneTimeWithDay } from './events-times.ts';
import { calendarInWords, dstInWords, placeInWords, runInWords } from './events-words.ts';
import { styled, table } from './output.ts';

export interface PreviewInput {
  readonly settings: EventSettings;
  /** `arbiter`: what is in force; else the file that says so. */
  readonly source: string;
  readonly fromMs: number;
  readonly nowMs: number;
  readonly count: number;
}

/** The first moments that are due at `fromMs` or later. */
function previewDues({ settings, fromMs, count }: PreviewInput): Due[] {
  const calendar = settings.calendar && openCalendar(settings.calendar);
  const dues: Due[] = [];
  let dueMs = calendar?.next(fromMs - 1);
  while (calendar && dueMs !== undefined && dues.length < count) {
    dues.push(calendar.describe(dueMs));
    dueMs = calendar.next(dueMs);
  }
  return dues;
}

export function previewJson(input: PreviewInput) {
  const { calendar, name } = input.settings;
  return {
    event: name,
    source: input.source,
    schedule: calendarInWords(calendar),
    definition: calendar?.schedule ?? null,
    timezone: calendar?.timezone ?? null,
    dst: calendar ? { skipped: calendar.dst.skipped, repeated: calendar.dst.repeated ?? null } : null,
    from: typeof calendar?.fromMs === 'number' ? isoTime(calendar.fromMs) : null,
    until: typeof calendar?.untilMs === 'number' ? isoTime(calendar.untilMs) : null,
    due: previewDues(input).map(({ atMs, local, dst }) => ({ utc: isoTime(atMs), local, dst: dst ?? null })),
  };
}

const dstNotes = {
  moved: 'DST: moved past gap',
  first: 'DST: first pass',
  second: 'DST: second pass',
} as const;

const offsetOf = (local: string): string => /([+-][\d:]+)$/.exec(local)?.[1] ?? '';

function noteOf(due: Due, before: Due | undefined): string {
  if (due.dst) return styled('yellow', dstNotes[due.dst]);
  const [offset, offsetBefore] = [offsetOf(due.local), before && offsetOf(before.local)];
  return offsetBefore !== undefined && offsetBefore !== offset
    ? styled('dim', `DST: was ${offsetBefore}`)
    : '';
}

const timeFromNow = (ms: number): string => (ms < 0 ? `${span(-ms)} ago` : `in ${span(ms)}`);

export function previewText(input: PreviewInput, width: number | undefined): string {
  const { settings, source, nowMs, count } = input;
  const { calendar } = settings;
  const room = width ?? 100;
  const dues = previewDues(input);
  const rows = dues.map((due, index) => [
    `  ${zoneTimeWithDay(due.atMs, calendar?.timezone)}`,
    ...(calendar?.timezone === 'UTC' ? [] : [zoneTime(due.atMs, 'UTC')]),
    timeFromNow(due.atMs - nowMs),
    noteOf(due, dues[index - 1]),
  ]);
  const what = `${settings.name}: ${calendarInWords(calendar)}; ${plain(runInWords(settings))}; on ${placeInWords(settings)}`;
  return [
    wrapped(source === 'arbiter' ? what : `${what} (as ${source} says)`, room),
    '',
    dues.length > 0 ? table(rows) : `  ${styled('yellow', calendar ? 'Not due any more.' : neverDue)}`,
    ...(dues.length > 0 && dues.length < count ? [`  ${styled('yellow', 'Then never again.')}`] : []),
    ...(calendar ? ['', ...rules(settings, calendar, room)] : []),
  ].join('\n');
}

const neverDue = 'It has no schedule: an instance is appointed, as long as it lives.';

function rules(
  { on }: EventSettings,
  calendar: NonNullable<EventSettings['calendar']>,
  room: number,
): string[] {
  const { schedule, fromMs, untilMs, timezone } = calendar;
  const limits = [
    ...(typeof fromMs === 'number' ? [`Not due before ${zoneTime(fromMs, timezone)}.`] : []),
    ...(typeof untilMs === 'number' ? [`Not due at ${zoneTime(untilMs, timezone)} or later.`] : []),
  ];
  const cron = schedule.kind === 'cron' ? [`The schedule is cron "${schedule.cron}" in ${timezone}.`] : [];
  const each = on.kind === 'each' ? ['Each instance runs it.'] : [];
  return [...cron, ...limits, ...each, ...dstInWords(calendar)].map((line) => wrapped(line, room));
}
