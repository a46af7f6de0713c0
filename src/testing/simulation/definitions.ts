/** What a seed's cluster has to run: its events, and the next revision of them. */
import type { CalendarSettings } from '../../protocol/calendar/schedule.ts';
import type { EventSettings } from '../../settings/index.ts';
import type { Workload } from './application.ts';
import type { Random } from './random.ts';

export interface SimulatedEvent {
  readonly settings: EventSettings;
  readonly workload: Workload;
}

/** The events of revision 1, of revision 2, and so on. */
type Revisions = readonly (readonly SimulatedEvent[])[];

/** Moments shortly before the clocks change somewhere, and one at which nothing happens. */
const epochs = [
  { startsAt: '2027-01-12T08:30:00Z', timezone: 'Asia/Kolkata' },
  { startsAt: '2027-03-28T00:59:38Z', timezone: 'Europe/Amsterdam' },
  { startsAt: '2027-10-31T00:59:38Z', timezone: 'Europe/Amsterdam' },
  { startsAt: '2027-03-14T06:59:38Z', timezone: 'America/New_York' },
  { startsAt: '2027-04-03T15:29:38Z', timezone: 'Australia/Lord_Howe' },
] as const;

export interface Plan {
  readonly epochMs: number;
  readonly revisions: Revisions;
}

/** Nothing is due `lastsMs` after the epoch any more, so that everything can come to an end. */
export function drawPlan(random: Random, names: readonly string[], lastsMs: number): Plan {
  const { startsAt, timezone } = random.pick(epochs);
  const epochMs = Date.parse(startsAt);
  const untilMs = epochMs + lastsMs;
  const first = Array.from({ length: 2 + Math.floor(random.between(0, 4)) }, (_, index) =>
    drawEvent(random, `e${index + 1}`, { names, timezone, untilMs }),
  );
  if (random.chance(0.1)) first.push(drawGate(random, { names, timezone, untilMs }));
  if (random.chance(0.5)) return { epochMs, revisions: [first] };
  const second = first
    .filter((_, index) => index === 0 || random.chance(0.8))
    .map((one) => (random.chance(0.5) ? one : changed(random, one, { names, timezone, untilMs })));
  const added = random.chance(0.5) ? [drawEvent(random, 'added', { names, timezone, untilMs })] : [];
  const next = [...second, ...added];
  if (random.chance(0.6)) return { epochMs, revisions: [first, next] };
  // What was removed comes back, and the one that was added goes.
  const back = first.filter(({ settings }) => !second.some((one) => one.settings.name === settings.name));
  return { epochMs, revisions: [first, next, [...second, ...back]] };
}

interface Circumstances {
  readonly names: readonly string[];
  readonly timezone: string;
  readonly untilMs: number;
}

/** Another schedule, or other rules, at the same place. */
function changed(random: Random, { settings }: SimulatedEvent, where: Circumstances): SimulatedEvent {
  const other = drawEvent(random, settings.name, where);
  const calendar = random.chance(0.7) ? other.settings.calendar : settings.calendar;
  return { ...other, settings: { ...other.settings, on: settings.on, calendar } };
}

function drawEvent(
  random: Random,
  name: string,
  { names, timezone, untilMs }: Circumstances,
): SimulatedEvent {
  const everyMs = Math.round(random.between(2_000, 9_000));
  const overlap = random.pick(['skip', 'delay', 'allow'] as const);
  const usualMs = overlap === 'delay' ? everyMs / 3 : random.pick([100, 1_000, everyMs, 2 * everyMs]);
  const settings: EventSettings = {
    name,
    calendar: {
      schedule: drawSchedule(random, everyMs),
      timezone,
      dst: {
        skipped: random.pick(['after', 'skip'] as const),
        repeated: random.pick(['once', 'twice', undefined] as const),
      },
      fromMs: undefined,
      untilMs,
    },
    run: random.chance(0.5) ? { kind: 'post', path: `/${name}` } : { kind: 'command', command: name },
    on: drawPlace(random, names),
    overlap,
    missed: drawMissed(random),
    lost: { reruns: random.pick([0, 1, 3]) },
    timeoutMs: random.between(3_000, 20_000),
    retry: { times: random.pick([0, 1, 2]), backoffMs: random.between(100, 800), maxBackoffMs: 1_000 },
    payload: null,
    limit: random.pick([1, 2, 5]),
    appointed: undefined,
    dismissed: undefined,
  };
  const slowChance = overlap === 'delay' ? 0 : 0.1;
  return { settings, workload: { usualMs, slowChance, failChance: random.pick([0, 0.1, 0.4]) } };
}

/** The application's own scheduler asks for each run. */
function drawGate(random: Random, where: Circumstances): SimulatedEvent {
  const { settings, workload } = drawEvent(random, 'gate', where);
  return { settings: { ...settings, run: { kind: 'gate' }, on: { kind: 'one' } }, workload };
}

function drawSchedule(random: Random, everyMs: number): CalendarSettings['schedule'] {
  if (random.chance(0.5)) return { kind: 'every', everyMs };
  const seconds = Math.ceil(everyMs / 1_000);
  // Either all day, or in the hour that a change of the clocks leaves out or repeats.
  const hours = random.pick(['*', '*', '1-3']);
  return { kind: 'cron', cron: `*/${seconds} * ${hours} * * *` };
}

function drawPlace(random: Random, names: readonly string[]): EventSettings['on'] {
  const kind = random.next();
  if (kind < 0.2) return { kind: 'each' };
  return kind < 0.4 ? { kind: 'prefer', instance: random.pick(names) } : { kind: 'one' };
}

function drawMissed(random: Random): EventSettings['missed'] {
  const kind = random.next();
  if (kind < 0.4) return { kind: 'latest' };
  if (kind < 0.7) return { kind: 'none', afterMs: random.between(500, 5_000) };
  return { kind: 'all', count: 1 + Math.floor(random.between(0, 5)), ageMs: random.between(5_000, 30_000) };
}
