/**
 * Moments as people write them: a date or date-time on the clocks of a time zone, or with an offset, which makes it
 * exact wherever it is read. A date alone means the beginning of that day.
 */
import { momentOfLocal } from '../protocol/calendar/zone.ts';
import { isTimeZone, text } from './values.ts';

const expected =
  'expected a date or a date-time, such as 2027-01-01, 2027-01-01T06:00 or, exactly, 2027-01-01T06:00+01:00';

const day = /(?:19[7-9]\d|[2-9]\d{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])/.source;
const clock = /(?:[01]\d|2[0-3]):[0-5]\d/.source;
const momentPattern = new RegExp(`^(${day})(?:T(${clock}(?::[0-5]\\d)?)(Z|[+-]${clock})?)?$`);

/** Stays text, as its meaning depends on the time zone that stands beside it. */
export const moment = text(expected, momentPattern).refine(
  (value) => {
    const [, date = ''] = momentPattern.exec(value) ?? [];
    return new Date(`${date}T00:00Z`).toISOString().startsWith(date);
  },
  { error: 'expected a day that this month has', abort: true },
);

/** Undefined for what is no moment or no zone, so that it may be asked before both are known to be right. */
export function momentOf(timezone: string, value: string | undefined): number | undefined {
  const match = momentPattern.exec(value ?? '');
  if (!match || !isTimeZone(timezone)) return undefined;
  const [, date = '', time = '00:00', offset] = match;
  const local = `${date}T${time}`;
  return offset === undefined ? momentOfLocal(timezone, local) : Date.parse(`${local}${offset}`);
}
