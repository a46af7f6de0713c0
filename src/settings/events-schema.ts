/**
 * The section `events`: what is due when, who runs it, and what happens when that goes wrong. Every choice that
 * other schedulers make silently (overlap, missed moments, a lost executor) has a key here with a visible default.
 */
import { z } from 'zod';
import { cronProblem } from './cron-syntax.ts';
import { commandLine, duration, name, requestPath, text, timeZone, wholeNumber } from './values.ts';

const hour = 3_600_000;
const day = 24 * hour;

export const weekdayNames = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const;
export const monthNames = [
  'january',
  'february',
  'march',
  'april',
  'may',
  'june',
  'july',
  'august',
  'september',
  'october',
  'november',
  'december',
] as const;
const longestMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const weekday = z.enum(weekdayNames, { error: 'expected a day of the week, such as monday' });
const month = z.enum(monthNames, { error: 'expected a month, such as january' });
const dayOfMonth = z.union([wholeNumber(1, 31), z.literal('last')], {
  error: 'expected a day of the month from 1 to 31, or last',
});

const at = text('expected a time of day such as 02:00 or 23:59:30', /^([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?$/)
  .transform((value) => {
    const [hours = 0, minutes = 0, seconds = 0] = value.split(':').map(Number);
    return { hour: hours, minute: minutes, second: seconds };
  })
  .prefault('00:00')
  .describe('Time of day.');

const weekly = z.strictObject({
  days: z.array(weekday).min(1, { error: 'expected at least one day' }).describe('Days of the week.'),
  at,
});

const monthly = z.union(
  [
    z.strictObject({ day: dayOfMonth.describe('Day of the month, or `last`.'), at }),
    z.strictObject({
      weekday: weekday.describe('Day of the week, together with `which`.'),
      which: z
        .enum(['first', 'second', 'third', 'fourth', 'last'], {
          error: 'expected first, second, third, fourth or last',
        })
        .describe('Which of these weekdays in the month.'),
      at,
    }),
  ],
  { error: 'expected {day, at} or {weekday, which, at}' },
);

const yearly = z
  .strictObject({
    month: month.describe('Month.'),
    day: dayOfMonth.describe('Day of the month, or `last`.'),
    at,
  })
  .refine(
    (value) => value.day === 'last' || value.day <= (longestMonth[monthNames.indexOf(value.month)] ?? 31),
    {
      path: ['day'],
      error: 'expected a day that this month has',
    },
  );

const run = z.union(
  [
    z.literal('gate'),
    z.strictObject({
      post: requestPath.describe('Path of the own instance to which the agent sends a POST.'),
    }),
    z.strictObject({ command: commandLine.describe('Command that the agent starts, run by `sh -c`.') }),
  ],
  { error: 'expected {post: PATH}, {command: COMMAND} or gate' },
);

const on = z.union(
  [
    z.enum(['one', 'each', 'designated']),
    z.strictObject({
      prefer: name.describe('Instance that runs it as long as it can; otherwise another one.'),
    }),
  ],
  { error: 'expected one, each, designated or {prefer: INSTANCE}' },
);

const missed = z.union(
  [
    z.enum(['latest', 'all', 'none']),
    z.strictObject({
      all: z
        .strictObject({
          count: wholeNumber(1, 10_000).default(100).describe('At most this many, the latest ones.'),
          age: duration(1_000, 366 * day)
            .prefault('1d')
            .describe('None that was due longer ago than this.'),
        })
        .describe('Every missed moment in order, within these bounds.'),
    }),
  ],
  { error: 'expected latest, all, none or {all: {count, age}}' },
);

const retry = z
  .strictObject({
    times: wholeNumber(0, 1_000).default(0).describe('Further attempts after a failed one.'),
    backoff: duration(0, day).prefault('30s').describe('Pause before the first further attempt; it doubles.'),
    maxBackoff: duration(0, 7 * day)
      .prefault('1h')
      .describe('The longest pause between two attempts.'),
  })
  .prefault({})
  .describe('What happens after a failed attempt.');

const event = z.strictObject({
  schedule: text('expected a cron schedule such as "0 2 * * *"')
    .superRefine((value, context) => {
      const problem = cronProblem(value);
      if (problem)
        context.addIssue({
          code: 'custom',
          message: `expected a cron schedule such as "0 2 * * *": ${problem}`,
        });
    })
    .optional()
    .describe(
      'When it is due, as cron: minute, hour, day of month, month, day of week; with seconds in front if there are six fields.',
    ),
  every: duration(1_000, 366 * day)
    .optional()
    .describe('Due at a fixed interval instead.'),
  weekly: weekly.optional().describe('Due on days of the week instead.'),
  monthly: monthly.optional().describe('Due once a month instead: `{day, at}` or `{weekday, which, at}`.'),
  yearly: yearly.optional().describe('Due once a year instead.'),
  timezone: timeZone.default('UTC').describe('Time zone of the schedule.'),
  run: run
    .optional()
    .describe(
      'What is run: `{post: PATH}`, `{command: COMMAND}`, or `gate`: the application has its own scheduler and asks its agent first.',
    ),
  on: on
    .default('one')
    .describe(
      'Where: on `one` instance, on `each`, on `{prefer: INSTANCE}`; or `designated`: one instance is appointed as long as it lives.',
    ),
  overlap: z
    .enum(['skip', 'delay', 'allow'], { error: 'expected skip, delay or allow' })
    .default('skip')
    .describe('When it is due while the previous one still runs: skip it, start it afterwards, or run both.'),
  missed: missed
    .prefault('latest')
    .describe(
      'Moments at which nothing could run: catch up with the latest one, with `all` within bounds, or with none.',
    ),
  lost: z
    .enum(['rerun', 'abandon'], { error: 'expected rerun or abandon' })
    .default('rerun')
    .describe('When the instance that runs it is lost: run it again elsewhere, or record it as abandoned.'),
  timeout: duration(100, 7 * day)
    .prefault('10m')
    .describe('A run that takes longer is aborted and has failed.'),
  retry,
  payload: z.unknown().optional().describe('Any value that is given to the run.'),
  limit: wholeNumber(1, 1_000)
    .default(10)
    .describe('How many runs of this event one instance works on at once.'),
});

const scheduleKeys = ['schedule', 'every', 'weekly', 'monthly', 'yearly'] as const;

const checkedEvent = event.superRefine((value, context) => {
  const problem = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
  const given = scheduleKeys.filter((key) => value[key] !== undefined);
  if (given.length > 1) {
    problem([given[1] ?? ''], `an event has one schedule, and this one has several: ${given.join(', ')}`);
  }
  if (value.on === 'designated') return;
  if (given.length === 0)
    problem(['schedule'], 'expected a schedule: one of schedule, every, weekly, monthly, yearly');
  if (value.run === undefined)
    problem(['run'], 'expected what is to be run: {post: PATH}, {command: COMMAND} or gate');
});

const eventName = name.refine((value) => !value.startsWith('holdfast-'), {
  error: 'expected a name that does not begin with holdfast-, as those are the built-in events',
});

export const eventsSchema = z
  .record(eventName, checkedEvent)
  .default({})
  .describe('Scheduled events by name.');
