/** `events runs`, and one occurrence as `events trigger --wait` follows it, as data and as lines. */
import type { OccurrenceView, RunsList, RunView } from '../events/administration.ts';
import { formatToken } from '../protocol/token.ts';
import { excerpt, isoTime, isoTimeOrNull, plain, span, wrapped, zoneTime } from './events-times.ts';
import { outcomeStyles, shownLength, waitInWords } from './events-view.ts';
import { type Style, styled, table } from './output.ts';

/** Begun this much after its moment, it is said. */
const lateMs = 2_000;
const longestResult = 300;

export function occurrenceJson(one: OccurrenceView) {
  return {
    occurrence: one.occurrence,
    event: one.event,
    place: one.place === '' ? null : one.place,
    due: isoTime(one.dueMs),
    lastDue: isoTime(one.lastDueMs),
    dues: one.dues,
    cause: one.cause,
    askedBy: one.askedBy,
    state: one.state,
    outcome: one.outcome,
    reason: one.reason,
    ended: isoTimeOrNull(one.endedMs),
    attempts: one.attempts,
    held: one.held,
    fenceOf: one.fenceOf,
    notBefore: one.state === 'waiting' ? isoTime(one.notBeforeMs) : null,
    runs: one.runs.map(runJson),
  };
}

const runJson = (run: RunView) => ({
  attempt: run.attempt,
  instance: run.instance,
  token: formatToken(BigInt(run.token)),
  /** As the run itself was given it. */
  tokenDecimal: run.token,
  started: isoTime(run.startedMs),
  ended: isoTimeOrNull(run.endedMs),
  durationMs: run.endedMs === null ? null : Math.round(run.endedMs - run.startedMs),
  outcome: run.outcome,
  reason: run.reason,
  result: run.result,
});

const stateOf = (one: OccurrenceView) => one.outcome ?? (one.state === 'running' ? 'running' : 'waiting');

const stateStyle = (one: OccurrenceView): Style =>
  one.outcome ? outcomeStyles[one.outcome] : one.state === 'running' ? 'cyan' : 'yellow';

function tookOf({ runs }: OccurrenceView, nowMs: number): string {
  const last = runs.at(-1);
  if (!last) return '–';
  return last.endedMs === null ? `${span(nowMs - last.startedMs)}…` : span(last.endedMs - last.startedMs);
}

/** What the columns do not say. */
function notesOf(one: OccurrenceView, nowMs: number): string {
  const notes: string[] = [];
  const [first] = one.runs;
  if (one.dues > 1) notes.push(`${one.dues} moments up to ${zoneTime(one.lastDueMs, one.timezone)}`);
  if (one.cause === 'manual') notes.push(`asked for by ${plain(one.askedBy ?? 'somebody')}`);
  else if (first && first.startedMs - one.dueMs >= lateMs)
    notes.push(`begun ${span(first.startedMs - one.dueMs)} late`);
  if (one.runs.length > 1) notes.push(`${one.runs.length} attempts`);
  if (one.state === 'waiting') notes.push(waitInWords(one, nowMs));
  if (one.reason) notes.push(plain(one.reason));
  return notes.join('; ');
}

/** One line for each attempt; with `result` also what it answered. */
function attemptLines(one: OccurrenceView, nowMs: number, withResult: boolean, width: number): string[] {
  return one.runs.flatMap((run) => {
    const took = span((run.endedMs ?? nowMs) - run.startedMs);
    const outcome = run.outcome === null ? `running for ${took}` : `${run.outcome} after ${took}`;
    const reason = run.reason ? `: ${plain(run.reason)}` : '';
    const ended = run.endedMs === null ? '' : `–${zoneTime(run.endedMs, one.timezone).slice(11)}`;
    const when = `${zoneTime(run.startedMs, one.timezone)}${ended}`;
    const text = `${run.attempt}. ${run.instance}, ${outcome}${reason} (${when}, token ${formatToken(BigInt(run.token))})`;
    const result = withResult && run.result ? plain(run.result) : undefined;
    return [
      wrapped(text, width, '    '),
      ...(result === undefined
        ? []
        : [wrapped(`answer: ${excerpt(result, longestResult)}`, width, '       ')]),
    ];
  });
}

/** `width` undefined: nobody looks at a screen, so that every note stays on its line. */
export function runsText(
  { nowMs, occurrences }: RunsList,
  { attempts, width }: { attempts: boolean; width: number | undefined },
): string {
  const head = ['due', 'event', 'outcome', 'on', 'took'].map((title) => styled('dim', title));
  const rows = occurrences.map((one) => [
    zoneTime(one.dueMs, one.timezone),
    one.event,
    styled(stateStyle(one), stateOf(one)),
    one.runs.at(-1)?.instance ?? (one.place || '–'),
    tookOf(one, nowMs),
  ]);
  const [title = '', ...lines] = padded(table([head, ...rows]));
  const shown = occurrences.flatMap((one, index) => {
    const line = lines[index] ?? '';
    const notes = notesOf(one, nowMs);
    const fits = width === undefined || shownLength(line) + 2 + notes.length <= width;
    const below = attempts || one.runs.length > 1;
    return [
      fits ? `${line}  ${notes}`.trimEnd() : line.trimEnd(),
      ...(fits ? [] : [wrapped(notes, width, '    ')]),
      ...(below ? attemptLines(one, nowMs, attempts, width ?? Number.POSITIVE_INFINITY) : []),
    ];
  });
  return [title.trimEnd(), ...shown].join('\n');
}

/** All lines as long as the longest, so that what is added to them begins in one column. */
function padded(text: string): string[] {
  const lines = text.split('\n');
  const longest = Math.max(...lines.map(shownLength));
  return lines.map((line) => line + ' '.repeat(longest - shownLength(line)));
}

/** What has changed since it was looked at last, as a line of progress; equal texts mean that nothing has. */
export function progressText(one: OccurrenceView): string {
  const where = one.place === '' ? '' : `${one.place}: `;
  const last = one.runs.at(-1);
  if (one.state === 'running' && last) {
    const again = last.attempt > 1 ? ` (attempt ${last.attempt})` : '';
    return `${where}running on ${last.instance}${again}, token ${formatToken(BigInt(last.token))}`;
  }
  if (one.state === 'waiting') {
    const before = last?.outcome
      ? `${last.outcome} on ${last.instance}${last.reason ? `: ${plain(last.reason)}` : ''}; `
      : '';
    if (one.held === 'predecessor') return `${where}${before}in line behind the one before it`;
    if (one.held === 'fence') return `${where}${before}waits until ${one.fenceOf} is fenced`;
    return `${where}${before}waits to be ${last ? 'begun again' : 'begun'}`;
  }
  return `${where}${endText(one)}`;
}

function endText(one: OccurrenceView): string {
  const last = one.runs.at(-1);
  const on = last ? ` on ${last.instance}` : '';
  const took = last && last.endedMs !== null ? ` after ${span(last.endedMs - last.startedMs)}` : '';
  const reason = one.reason ? `: ${plain(one.reason)}` : '';
  const result = last?.result ? `\n  answer: ${excerpt(plain(last.result), longestResult)}` : '';
  return `${styled(stateStyle(one), stateOf(one))}${on}${took}${reason}${result}`;
}
