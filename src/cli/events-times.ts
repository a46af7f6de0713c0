/** Moments, spans and untrusted text as an operator reads them: short, in the event's zone, and safe for a terminal. */
import { localText, zoneOf } from '../protocol/calendar/zone.ts';

export const isoTime = (ms: number): string => new Date(ms).toISOString();

export const isoTimeOrNull = (ms: number | null | undefined): string | null =>
  typeof ms === 'number' ? isoTime(ms) : null;

/** `2027-01-02 02:00+01:00`: as short as it can be without leaving a doubt about the offset. */
export function zoneTime(ms: number, timezone: string | null | undefined): string {
  return shortened(localText(zoneOf(timezone ?? 'UTC'), Math.floor(ms / 1000) * 1000));
}

/** `Sat 2027-01-02 02:00+01:00` */
export function zoneTimeWithDay(ms: number, timezone: string | null | undefined): string {
  const text = zoneTime(ms, timezone);
  const day = new Date(`${text.slice(0, 10)}T00:00Z`).getUTCDay();
  return `${['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][day]} ${text}`;
}

const shortened = (local: string): string =>
  local
    .replace('T', ' ')
    .replace(/^(.{16}):00(?=[+-])/, '$1')
    .replace(/\+00:00$/, 'Z');

/** About how long, in one or two units: `0.3s`, `42s`, `3m 5s`, `2h 10m`, `4d 3h`. */
export function span(ms: number): string {
  const value = Math.max(0, ms);
  if (value < 950) return value < 100 ? `${Math.round(value)}ms` : `${(value / 1000).toFixed(1)}s`;
  if (value < 9_950) return `${(value / 1000).toFixed(1).replace(/\.0$/, '')}s`;
  const seconds = Math.round(value / 1000);
  if (seconds < 60) return `${seconds}s`;
  const [minutes, hours, days] = [seconds / 60, seconds / 3600, seconds / 86_400].map(Math.floor);
  if (seconds < 3600) return twoUnits(minutes ?? 0, 'm', seconds % 60, 's');
  if (seconds < 86_400) return twoUnits(hours ?? 0, 'h', Math.floor((seconds % 3600) / 60), 'm');
  return twoUnits(days ?? 0, 'd', Math.floor((seconds % 86_400) / 3600), 'h');
}

const twoUnits = (large: number, largeUnit: string, small: number, smallUnit: string): string =>
  `${large}${largeUnit}${small === 0 ? '' : ` ${small}${smallUnit}`}`;

export const ago = (ms: number, nowMs: number): string =>
  nowMs - ms < 1_000 ? 'just now' : `${span(nowMs - ms)} ago`;

/** What an application or a command has said, on one line and without anything that a terminal would obey. */
export const plain = (text: string): string =>
  text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '·')
    .trim();

/** Lines of at most `width` characters, broken between words where there are any; later ones are indented too. */
export function wrapped(text: string, width: number, indent = ''): string {
  const room = Math.max(20, width - indent.length);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((one) => `${indent}${one}`).join('\n');
}

/** Of a text that may be long, its beginning. */
export const excerpt = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 1)}…`;
