/** The definitions that the agents of a measurement get, made from a few words instead of sent around. */
import type { EventSchedule } from '../../src/protocol/calendar/schedule.ts';
import type { EventSettings } from '../../src/settings/index.ts';

export type Workload =
  /** Due at full seconds and at offsets from them: the first by cron, the others by an anchored interval. */
  | { readonly kind: 'ticks'; readonly round: number; readonly fromMs: number; readonly untilMs: number }
  /** Each due once a second: all at the same moment, or evenly spread over the second. */
  | {
      readonly kind: 'load';
      readonly count: number;
      readonly spread: boolean;
      readonly fromMs: number;
      readonly untilMs: number;
    }
  /** Due at every full minute, by cron. */
  | { readonly kind: 'minutes' }
  /** Due in half a year. */
  | { readonly kind: 'idle'; readonly count: number };

/** The offsets from the full second at which something is due, in ms. */
export const tickOffsetsMs = [0, 70, 190, 280, 410, 490, 620, 730, 840, 950];

export function eventsOf(workload: Workload): EventSettings[] {
  switch (workload.kind) {
    case 'ticks':
      return tickOffsetsMs.map((offsetMs) =>
        event(
          `tick-${workload.round}-${offsetMs}`,
          offsetMs === 0 ? { kind: 'cron', cron: '* * * * * *' } : { kind: 'every', everyMs: 1_000 },
          { fromMs: workload.fromMs + offsetMs, untilMs: workload.untilMs },
        ),
      );
    case 'load':
      return Array.from({ length: workload.count }, (_, index) => {
        const offsetMs = workload.spread ? Math.floor((index * 1_000) / workload.count) : 0;
        return event(
          `load-${index}`,
          { kind: 'every', everyMs: 1_000 },
          { fromMs: workload.fromMs + offsetMs, untilMs: workload.untilMs },
        );
      });
    case 'minutes':
      return [event('minutes', { kind: 'cron', cron: '* * * * *' })];
    case 'idle': {
      const month = ((new Date().getUTCMonth() + 6) % 12) + 1;
      return Array.from({ length: workload.count }, (_, index) =>
        event(`idle-${index}`, {
          kind: 'yearly',
          month,
          day: 1 + (index % 28),
          at: { hour: index % 24, minute: index % 60, second: 0 },
        }),
      );
    }
  }
}

/** The due moments of `ticks`. */
export function ticksBetween(fromMs: number, untilMs: number): number[] {
  const dues: number[] = [];
  for (let second = fromMs; second < untilMs; second += 1_000)
    for (const offsetMs of tickOffsetsMs) dues.push(second + offsetMs);
  return dues;
}

function event(
  name: string,
  schedule: EventSchedule,
  { fromMs, untilMs }: { fromMs?: number; untilMs?: number } = {},
): EventSettings {
  return {
    name,
    calendar: {
      schedule,
      timezone: 'UTC',
      dst: { skipped: 'after', repeated: undefined },
      fromMs,
      untilMs,
    },
    run: { kind: 'command', command: 'replaced by an executor that does nothing' },
    on: { kind: 'one' },
    overlap: 'allow',
    missed: { kind: 'latest' },
    lost: { reruns: 0 },
    timeoutMs: 60_000,
    retry: { times: 0, backoffMs: 1_000, maxBackoffMs: 60_000 },
    payload: undefined,
    limit: 100,
    appointed: undefined,
    dismissed: undefined,
  };
}
