/**
 * A month of a realistic calendar across a change of the clocks: many events in six zones, a few agents, and faults
 * now and then. The lease lasts minutes instead of seconds, so that a month of heartbeats can be afforded.
 */
import type { CalendarSettings, EventSchedule } from '../../protocol/calendar/schedule.ts';
import type { EventSettings } from '../../settings/index.ts';
import type { SimulatedDatabase } from './database.ts';
import type { SimulatedEvent } from './definitions.ts';
import type { Random } from './random.ts';
import type { Scenario } from './scenario.ts';
import { type RunResult, runScenario, type SimulationOptions } from './world.ts';

export interface MonthOptions extends SimulationOptions {
  readonly days?: number;
  readonly events?: number;
  /** Its clocks change a few days after the beginning. */
  readonly season?: 'spring' | 'autumn';
}

const dayMs = 86_400_000;
const minuteMs = 60_000;
const lease = { ttlMs: 10 * minuteMs, heartbeatMs: 2 * minuteMs };

/** Northern spring with southern autumn: within four weeks the clocks change in four of these six zones. */
const zones = [
  'Europe/Amsterdam',
  'America/New_York',
  'Australia/Sydney',
  'America/Santiago',
  'Asia/Kolkata',
  'UTC',
] as const;

/** Two days later the clocks of Europe change. */
const beginnings = { spring: '2027-03-26T00:00:00Z', autumn: '2027-10-29T00:00:00Z' };

export function simulateMonth(
  seed: number,
  database: SimulatedDatabase,
  { days = 30, events = 200, season = 'spring', ...options }: MonthOptions = {},
): Promise<RunResult> {
  const draw = (random: Random): Scenario => {
    const lastsMs = days * dayMs;
    const epochMs = Date.parse(beginnings[season]);
    const plan = { epochMs, revisions: [drawEvents(random, events, epochMs + lastsMs)] };
    return {
      ...{ names: ['a', 'b', 'c'], lease, plan, lastsMs, usesSlot: false },
      faults: {
        beginMs: 60 * minuteMs,
        messagesEndMs: lastsMs - 150 * minuteMs,
        endMs: lastsMs - 120 * minuteMs,
        longestMs: 6 * lease.ttlMs,
        atLeast: 2 * days,
        atMost: 3 * days,
      },
      people: { restartEveryMs: dayMs / 4 },
      patienceMs: 240 * minuteMs,
      stormPerSecond: 2 * events,
    };
  };
  return runScenario(seed, database, draw, options);
}

function drawEvents(random: Random, count: number, untilMs: number): SimulatedEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const timezone = random.pick(zones);
    return drawEvent(random, `event-${index + 1}`, { schedule: drawSchedule(random), timezone, untilMs });
  });
}

function drawEvent(
  random: Random,
  name: string,
  { schedule, timezone, untilMs }: { schedule: EventSchedule; timezone: string; untilMs: number },
): SimulatedEvent {
  const calendar: CalendarSettings = {
    ...{ schedule, timezone, fromMs: undefined, untilMs },
    dst: {
      skipped: random.pick(['after', 'after', 'skip']),
      repeated: random.pick(['once', 'twice', undefined]),
    },
  };
  const settings: EventSettings = {
    ...{ name, calendar, payload: null, appointed: undefined, dismissed: undefined },
    run: random.chance(0.7) ? { kind: 'post', path: `/${name}` } : { kind: 'command', command: name },
    on: random.chance(0.05) ? { kind: 'each' } : { kind: 'one' },
    overlap: random.pick(['skip', 'skip', 'delay', 'allow']),
    missed: random.pick([
      { kind: 'latest' },
      { kind: 'none', afterMs: 30 * minuteMs },
      { kind: 'all', count: 10, ageMs: 120 * minuteMs },
    ]),
    lost: { reruns: random.pick([0, 3, 3]) },
    timeoutMs: 60 * minuteMs,
    retry: { times: random.pick([0, 3]), backoffMs: minuteMs, maxBackoffMs: 10 * minuteMs },
    limit: random.pick([1, 5]),
  };
  const usualMs = random.pick([1_000, 30_000, 5 * minuteMs]);
  return { settings, workload: { usualMs, slowChance: 0.02, failChance: 0.02 } };
}

/** Mostly nightly, as such calendars are, and often in the hours that a change of the clocks touches. */
function drawSchedule(random: Random): EventSchedule {
  const at = {
    hour: random.chance(0.5) ? Math.floor(random.between(0, 4)) : Math.floor(random.between(0, 24)),
    minute: random.pick([0, 0, 15, 30, 45]),
    second: 0,
  };
  const kind = random.next();
  if (kind < 0.5) return { kind: 'cron', cron: `${at.minute} ${at.hour} * * *` };
  if (kind < 0.65) return { kind: 'weekly', weekdays: [1 + Math.floor(random.between(0, 7))], at };
  if (kind < 0.72) return { kind: 'monthly', day: random.pick([1, 28, 31, 'last']), at };
  if (kind < 0.78) return { kind: 'monthlyWeekday', weekday: 7, which: 'last', at };
  if (kind < 0.92) return { kind: 'cron', cron: `${at.minute} * * * *` };
  if (kind < 0.97) return { kind: 'every', everyMs: 4 * 60 * minuteMs };
  return { kind: 'every', everyMs: 15 * minuteMs };
}
