/**
 * The section `events`: what is due when, who runs it, and what happens when that goes wrong. Every choice that
 * other schedulers make silently (overlap, missed moments, a lost executor) has a key here with a visible default.
 */
import { z } from 'zod';
import { cronProblem } from './cron-syntax.ts';
import { moment, momentOf } from './moments.ts';
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

const dst = z
  .strictObject({
    skipped: z
      .enum(['after', 'skip'], { error: 'expected after or skip' })
      .default('after')
      .describe('A local time that does not exist: due at the first moment `after` the gap, or not at all.'),
    repeated: z
      .enum(['once', 'twice'], { error: 'expected once or twice' })
      .optional()
      .describe(
        'A local time that occurs twice: due at the first of the two, or at both. Left out: once, but a schedule that is due in every hour goes on by elapsed time.',
      ),
  })
  .prefault({})
  .describe('What happens when the clocks of the time zone change.');

const command = z.strictObject({
  command: commandLine.describe('Command that the agent starts, run by `sh -c`.'),
});
const post = z.strictObject({
  post: requestPath.describe('Path of the own instance to which the agent sends a POST.'),
});

const run = z.union([z.literal('gate'), post, command], {
  error: 'expected {post: PATH}, {command: COMMAND} or gate',
});

const hook = z.union([post, command], { error: 'expected {post: PATH} or {command: COMMAND}' });

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
          count: wholeNumber(1, 1_000).default(100).describe('At most this many, the latest ones.'),
          age: duration(1_000, 366 * day)
            .prefault('1d')
            .describe('None that was due longer ago than this.'),
        })
        .describe('Every missed moment in order, within these bounds.'),
    }),
    z.strictObject({
      none: z
        .strictObject({
          after: duration(1_000, 366 * day)
            .prefault('1m')
            .describe(
              'A moment counts as missed when it is this long past and nothing could run. Plain `none` is 1m.',
            ),
        })
        .describe('None of the missed moments.'),
    }),
  ],
  { error: 'expected latest, all, none, {all: {count, age}} or {none: {after}}' },
);

const lost = z.union(
  [
    z.enum(['rerun', 'abandon']),
    z.strictObject({
      rerun: wholeNumber(1, 100).describe(
        'Run it again so many times at most; then it is abandoned. Plain `rerun` is 3.',
      ),
    }),
  ],
  { error: 'expected rerun, abandon or {rerun: TIMES}' },
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
  from: moment
    .optional()
    .describe(
      'Not due before this date or date-time, in the time zone of the event unless it has an offset.',
    ),
  until: moment
    .optional()
    .describe('Not due at this date or date-time or later. A date means the beginning of that day.'),
  dst,
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
  lost: lost
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
  appointed: hook
    .optional()
    .describe('Only with `on: designated`: what is called on the instance that is appointed.'),
  dismissed: hook
    .optional()
    .describe('Only with `on: designated`: what is called on the instance that is appointed no longer.'),
});

const scheduleKeys = ['schedule', 'every', 'weekly', 'monthly', 'yearly'] as const;

const hookKeys = ['appointed', 'dismissed'] as const;

type Event = z.output<typeof event>;
type EventProblem = readonly [key: keyof Event, message: string];

function scheduleProblems(value: Event): EventProblem[] {
  const problems: EventProblem[] = [];
  const given = scheduleKeys.filter((key) => value[key] !== undefined);
  const [first, second] = given;
  if (second !== undefined) {
    problems.push([second, `an event has one schedule, and this one has several: ${given.join(', ')}`]);
  }
  const mayHaveNone = value.on === 'designated' && value.run === undefined;
  if (first === undefined && !mayHaveNone) {
    problems.push(['schedule', 'expected a schedule: one of schedule, every, weekly, monthly, yearly']);
  }
  if (first === undefined && mayHaveNone) {
    for (const key of ['from', 'until'] as const) {
      if (value[key] !== undefined) problems.push([key, 'there is no schedule that it could limit']);
    }
  }
  const [fromMs, untilMs] = [momentOf(value.timezone, value.from), momentOf(value.timezone, value.until)];
  if (fromMs !== undefined && untilMs !== undefined && untilMs <= fromMs) {
    problems.push(['until', `expected a moment after \`from\` (${value.from})`]);
  }
  return problems;
}

const gateReasons = {
  each: 'with `on: each` every instance would be told yes, and none would need to ask',
  designated:
    'with `on: designated` the answer is known before anybody asks; let `appointed` and `dismissed` switch the scheduler of the application on and off',
} as const;

function runProblems(value: Event): EventProblem[] {
  const { run: what, on: where } = value;
  const scheduled = scheduleKeys.some((key) => value[key] !== undefined);
  const hooks = hookKeys.filter((key) => value[key] !== undefined);
  if (where !== 'designated') {
    const problems = hooks.map(
      (key): EventProblem => [key, 'an instance is appointed with `on: designated` only: leave this out'],
    );
    if (what === undefined)
      problems.push(['run', 'expected what is to be run: {post: PATH}, {command: COMMAND} or gate']);
    if (what === 'gate' && where === 'each') problems.push(['run', gateProblem('each')]);
    return problems;
  }
  if (what === 'gate') return [['run', gateProblem('designated')]];
  if (what !== undefined) return [];
  if (scheduled) return [['run', 'expected what is to be run: {post: PATH} or {command: COMMAND}']];
  if (hooks.length > 0) return [];
  return [
    [
      'on',
      'a designated event that has no schedule and calls nothing does nothing: add `appointed`, `dismissed`, or a schedule and `run`',
    ],
  ];
}

function gateProblem(where: keyof typeof gateReasons): string {
  return `\`gate\` goes with \`on: one\` or {prefer: INSTANCE} only: ${gateReasons[where]}`;
}

const checkedEvent = event.superRefine((value, context) => {
  for (const [key, message] of [...scheduleProblems(value), ...runProblems(value)])
    context.addIssue({ code: 'custom', path: [key], message });
});

const eventName = name.refine((value) => !value.startsWith('holdfast-'), {
  error: 'expected a name that does not begin with holdfast-, as those are the built-in events',
});

export const eventsSchema = z
  .record(eventName, checkedEvent)
  .default({})
  .describe('Scheduled events by name.');
