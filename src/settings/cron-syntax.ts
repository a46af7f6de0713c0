/**
 * Is this text a cron schedule, and can it ever be due? Only the syntax is judged here, with the reason in words, so
 * that a mistake is found while the configuration is read and not at two o'clock at night. When it is due is the
 * calendar's affair.
 */
interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const longestMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const fields: readonly Field[] = [
  { name: 'second', min: 0, max: 59 },
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: months },
  { name: 'day of week', min: 0, max: 7, names: weekdays },
];

/** Why `text` is no cron schedule, as half a sentence; undefined where it is one. */
export function cronProblem(text: string): string | undefined {
  const parts = text.trim().split(/\s+/);
  if (parts.length !== 5 && parts.length !== 6) {
    const count = text.trim() === '' ? 'none' : String(parts.length);
    return `a cron schedule has 5 fields, or 6 with seconds in front, and this has ${count}`;
  }
  const expected = parts.length === 6 ? fields : fields.slice(1);
  for (const [index, field] of expected.entries()) {
    for (const item of (parts[index] ?? '').split(',')) {
      const problem = itemProblem(item.toLowerCase(), field);
      if (problem) return `the field "${field.name}" ${problem}`;
    }
  }
  return neverDueProblem(parts.at(-3) ?? '', parts.at(-2) ?? '', parts.at(-1) ?? '');
}

function itemProblem(item: string, field: Field): string | undefined {
  if (item === '') return 'has an empty place in its list';
  if (field.name === 'day of month' && item === 'l') return undefined;
  const [range = '', step, ...more] = item.split('/');
  if (more.length > 0) return `has more than one "/" in "${item}"`;
  if (step !== undefined && !(/^\d+$/.test(step) && Number(step) >= 1 && Number(step) <= field.max)) {
    return `has the step "${step}", which is not a number from 1 to ${field.max}`;
  }
  if (range === '*' || (range === '?' && field.name.startsWith('day'))) return undefined;
  if (field.name === 'day of week') {
    const occurrence = /^(\w+?)(#[1-5]|#l|l)$/.exec(range);
    if (occurrence && step === undefined && numberOf(occurrence[1] ?? '', field) !== undefined)
      return undefined;
  }
  const ends = range.split('-');
  if (ends.length > 2) return `has more than one "-" in "${item}"`;
  const numbers = ends.map((end) => numberOf(end, field));
  for (const [index, number] of numbers.entries()) {
    if (number === undefined) return `has "${ends[index]}", which is not ${rangeOf(field)}`;
  }
  const [from = 0, end] = numbers;
  const to = ends[1] === 'sun' ? 7 : end; // a week that ends with Sunday
  if (to !== undefined && to < from) return `has the range "${range}", which ends before it begins`;
  return undefined;
}

function numberOf(text: string, field: Field): number | undefined {
  const named = field.names?.indexOf(text) ?? -1;
  if (named >= 0) return named + field.min;
  if (!/^\d{1,2}$/.test(text)) return undefined;
  const number = Number(text);
  return number >= field.min && number <= field.max ? number : undefined;
}

function rangeOf(field: Field): string {
  const names = field.names ? ` or a name (${field.names.join(', ')})` : '';
  return `a number from ${field.min} to ${field.max}${names}`;
}

/** Plain days in plain months that do not have them, such as `0 0 31 2 *`. A weekday beside it would still be due. */
function neverDueProblem(day: string, month: string, weekday: string): string | undefined {
  if (weekday !== '*' && weekday !== '?') return undefined;
  const days = day.split(',').map(Number);
  const monthField: Field = { name: 'month', min: 1, max: 12, names: months };
  const numbers = month.split(',').map((text) => numberOf(text.toLowerCase(), monthField));
  if (days.some(Number.isNaN) || numbers.includes(undefined)) return undefined;
  const exists = numbers.some((number) => days.some((one) => one <= (longestMonth[(number ?? 1) - 1] ?? 31)));
  return exists ? undefined : `day ${day} of month ${month} does not exist, so it would never be due`;
}
