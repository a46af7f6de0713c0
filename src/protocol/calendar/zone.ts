/**
 * Local time and moments. A zone is a row of stretches in which the clock on the wall differs from UTC by one offset.
 * Where a stretch with a larger offset begins, the clock jumps forward over local times that do not exist (a gap);
 * where one with a smaller offset begins, it shows local times for a second time (a fold). Everything else about
 * daylight saving, permanent changes, days left out of the calendar and midnights that never were follows from that
 * row, so no rule of any country stands here.
 *
 * A local time is written as the number of milliseconds that UTC would have when its clock shows the same. Offsets
 * are asked of Intl once per day and zone and kept: a day whose two ends have one offset has that offset throughout
 * (the least time between two changes of a clock, in all the zones there are, is four days: Freetown, 1939).
 */

/** From `fromMs`, and before `untilMs`, local time is the moment plus `offsetMs`. */
export interface Stretch {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly offsetMs: number;
}

export interface Zone {
  readonly name: string;
  /** The stretch around a moment, cut at the ends of the UTC day: two neighbours may have one offset. */
  stretchAt(ms: number): Stretch;
}

const secondMs = 1000;
const dayMs = 86_400_000;
/** Local times differ from UTC by less than this in every zone. */
const largestOffsetMs = 16 * 3_600_000;
const daysKept = 4000;

const zones = new Map<string, Zone>();

/** The zone of an IANA name. Throws the RangeError of Intl for a name that it does not know. */
export function zoneOf(name: string): Zone {
  const known = zones.get(name);
  if (known) return known;
  const zone = openZone(name);
  zones.set(name, zone);
  return zone;
}

function openZone(name: string): Zone {
  const offsetAt = offsetReader(name);
  const startOffsets = new Map<number, number>();
  const days = new Map<number, readonly Stretch[]>();

  const startOffset = (day: number): number => {
    const known = startOffsets.get(day);
    if (known !== undefined) return known;
    if (startOffsets.size > daysKept) startOffsets.clear();
    const offset = offsetAt(day * dayMs);
    startOffsets.set(day, offset);
    return offset;
  };

  const stretchesOf = (day: number): readonly Stretch[] => {
    const known = days.get(day);
    if (known) return known;
    if (days.size > daysKept) days.clear();
    const fromMs = day * dayMs;
    const untilMs = fromMs + dayMs;
    const [before, after] = [startOffset(day), startOffset(day + 1)];
    const stretches = [];
    if (before === after) {
      stretches.push({ fromMs, untilMs, offsetMs: before });
    } else {
      const changeMs = firstWithout(before, fromMs, untilMs, offsetAt);
      if (changeMs > fromMs) stretches.push({ fromMs, untilMs: changeMs, offsetMs: before });
      if (changeMs < untilMs) stretches.push({ fromMs: changeMs, untilMs, offsetMs: after });
    }
    days.set(day, stretches);
    return stretches;
  };

  return {
    name,
    stretchAt: (ms) => {
      const [early, late] = stretchesOf(Math.floor(ms / dayMs)) as [Stretch, Stretch?];
      return late && ms >= late.fromMs ? late : early;
    },
  };
}

/** The first whole second of a day at which the offset is no longer `before`; it is so at the end of the day. */
function firstWithout(
  before: number,
  fromMs: number,
  untilMs: number,
  offsetAt: (ms: number) => number,
): number {
  let [still, changed] = [fromMs, untilMs];
  while (changed - still > secondMs) {
    const middle = still + Math.floor((changed - still) / 2 / secondMs) * secondMs;
    if (offsetAt(middle) === before) still = middle;
    else changed = middle;
  }
  return changed;
}

function offsetReader(timeZone: string): (wholeSecondMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  });
  return (wholeSecondMs) => {
    const [year = 0, month = 0, ...rest] = (format.format(wholeSecondMs).match(/\d+/g) ?? []).map(Number);
    const [day, hour, minute, second] = rest;
    return Date.UTC(year, month - 1, day, hour, minute, second) - wholeSecondMs;
  };
}

/** What the clock on the wall shows at a moment. */
export function localOf(zone: Zone, ms: number): number {
  return ms + zone.stretchAt(ms).offsetMs;
}

/** The moments at which the clock shows this local time, in order: none in a gap, two in a fold, otherwise one. */
export function momentsOf(zone: Zone, local: number): number[] {
  const moments = [];
  for (const stretch of stretchesAround(zone, local)) {
    const ms = local - stretch.offsetMs;
    if (ms >= stretch.fromMs && ms < stretch.untilMs) moments.push(ms);
  }
  return moments;
}

/** For a local time that does not exist: the first moment after the gap that it lies in. */
export function gapEndOf(zone: Zone, local: number): number | undefined {
  let before: Stretch | undefined;
  for (const stretch of stretchesAround(zone, local)) {
    const { fromMs, offsetMs } = stretch;
    if (before && fromMs + before.offsetMs <= local && local < fromMs + offsetMs) return fromMs;
    before = stretch;
  }
  return undefined;
}

/** In order, all stretches in which a clock could show this local time. */
function* stretchesAround(zone: Zone, local: number): Generator<Stretch> {
  let ms = local - largestOffsetMs;
  while (ms <= local + largestOffsetMs) {
    const stretch = zone.stretchAt(ms);
    yield stretch;
    ms = stretch.untilMs;
  }
}

/**
 * The moment that a person means by a local time such as `2027-01-01`, `2027-01-01T00:00` or `2027-01-01T00:00:30`:
 * the first where it occurs twice, the first moment after the gap where it does not exist. Undefined where the text
 * is no such time, or a day that no calendar has.
 */
export function momentOfLocal(zoneName: string, isoLocalText: string): number | undefined {
  const local = localOfText(isoLocalText);
  if (local === undefined) return undefined;
  const zone = zoneOf(zoneName);
  return momentsOf(zone, local)[0] ?? gapEndOf(zone, local);
}

function localOfText(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?)?$/.exec(text.trim());
  if (!match) return undefined;
  const written = `${match[1]}T${match[2] ?? '00:00'}${match[3] ?? ':00'}.000Z`;
  const local = Date.parse(written);
  // A day such as 30 February is taken for one in March, and 24:00 for the next day; neither reads back as written.
  return Number.isNaN(local) || new Date(local).toISOString() !== written ? undefined : local;
}

/** A moment as people in the zone write it: `2027-03-28T03:00:00+02:00`. */
export function localText(zone: Zone, ms: number): string {
  const { offsetMs } = zone.stretchAt(ms);
  const shown = new Date(ms + offsetMs).toISOString().replace(/(\.000)?Z$/, '');
  const size = new Date(Math.abs(offsetMs)).toISOString().slice(11, 19).replace(/:00$/, '');
  return `${shown}${offsetMs < 0 ? '-' : '+'}${size}`;
}
