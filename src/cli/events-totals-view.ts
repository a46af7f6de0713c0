/** The events of the cluster at a glance, as `status` shows them. */
import type { EventTotals } from '../events/administration.ts';
import { overdueEvents } from './events-overdue.ts';
import { ago, isoTime, plain, span } from './events-times.ts';
import { type Style, styled } from './output.ts';

export function totalsJson(totals: EventTotals) {
  return {
    events: totals.events,
    running: totals.running,
    waiting: totals.waiting,
    lastDay: totals.lastDay,
    paused: totals.paused.map(({ event, by, reason, atMs }) => ({ event, by, reason, at: isoTime(atMs) })),
    overdue: overdueEvents(totals).map(({ event, sinceMs }) => ({ event, since: isoTime(sinceMs) })),
    fences: totals.fences,
    now: isoTime(totals.nowMs),
  };
}

export type TotalsJson = ReturnType<typeof totalsJson>;

/** So many paused or overdue ones are named; the others are counted. */
const mostNamed = 5;

export function totalsLines(totals: TotalsJson): string[] {
  const nowMs = Date.parse(totals.now);
  const { failed, missed, abandoned } = totals.lastDay;
  const bad = (count: number, word: string) => styled(count > 0 ? 'red' : 'dim', `${count} ${word}`);
  const first = [
    `${totals.events} event${totals.events === 1 ? '' : 's'}`,
    `${totals.running} running`,
    `${totals.waiting} waiting`,
  ].join(', ');
  const lastDay = [bad(failed, 'failed'), bad(missed, 'missed'), bad(abandoned, 'abandoned')].join(', ');
  return [
    `${first}; in the last 24 h ${lastDay}`,
    ...named(
      totals.overdue,
      'red',
      ({ event, since }) => `overdue: ${event}, for ${span(nowMs - Date.parse(since))}`,
    ),
    ...named(
      totals.paused,
      'yellow',
      ({ event, by, reason, at }) =>
        `paused: ${event}, by ${plain(by)} ${ago(Date.parse(at), nowMs)}: ${plain(reason)}`,
    ),
    ...named(totals.fences, 'red', ({ instance, tries, error }) => {
      const why = error === null ? '' : `, which failed: ${unended(plain(error))}`;
      return `to be fenced: ${instance}, ${tries} ${tries === 1 ? 'try' : 'tries'}${why}; what it ran waits`;
    }),
  ];
}

/** For a text that may be whole sentences and is to be followed by more. */
const unended = (text: string): string => text.replace(/[\s.;,:]+$/, '');

function named<T>(all: readonly T[], style: Style, text: (one: T) => string): string[] {
  const more = all.length - mostNamed;
  return [
    ...all.slice(0, mostNamed).map((one) => styled(style, text(one))),
    ...(more > 0 ? [styled(style, `and ${more} more: holdfast events list`)] : []),
  ];
}
