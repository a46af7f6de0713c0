import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import type { EventSettings } from './configuration.ts';
import { parseConfiguration } from './load.ts';

const minimal = 'cluster: shop\napp: { command: node server.js }\n';

function eventOf(keys: string): EventSettings {
  const { configuration } = parseConfiguration(`${minimal}events: { e: { ${keys} } }\n`, 'holdfast.yaml');
  const [event] = configuration.events;
  assert.ok(event);
  return event;
}

/** The lines of the error, without the heading. */
function problems(addition: string): string[] {
  try {
    parseConfiguration(`${minimal}${addition}\n`, 'holdfast.yaml');
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === 'CONFIGURATION_INVALID', String(error));
    return error.message.split('\n').slice(1);
  }
  return [];
}

test('an event with only a schedule and a run gets defaults for everything else', () => {
  assert.deepEqual(eventOf('every: 1h, run: gate'), {
    name: 'e',
    calendar: {
      schedule: { kind: 'every', everyMs: 3_600_000 },
      timezone: 'UTC',
      dst: { skipped: 'after', repeated: undefined },
      fromMs: undefined,
      untilMs: undefined,
    },
    run: { kind: 'gate' },
    on: { kind: 'one' },
    overlap: 'skip',
    missed: { kind: 'latest' },
    lost: { reruns: 3 },
    timeoutMs: 600_000,
    retry: { times: 0, backoffMs: 30_000, maxBackoffMs: 3_600_000 },
    payload: undefined,
    limit: 10,
    appointed: undefined,
    dismissed: undefined,
  });
});

const bounds: readonly [timezone: string, written: string, moment: string, why: string][] = [
  ['UTC', '2027-01-01', '2027-01-01T00:00:00Z', 'a date is the beginning of its day'],
  ['Europe/Amsterdam', '2027-01-01', '2026-12-31T23:00:00Z', 'the day begins in the zone of the event'],
  ['America/New_York', '2027-07-01T06:00', '2027-07-01T10:00:00Z', 'summer time counts'],
  ['Asia/Kathmandu', '2027-01-01T06:00:30', '2027-01-01T00:15:30Z', 'zones have quarters of hours'],
  ['Europe/Amsterdam', '2027-01-01T06:00Z', '2027-01-01T06:00:00Z', 'Z is exact'],
  ['Europe/Amsterdam', '2027-01-01T06:00:01-05:30', '2027-01-01T11:30:01Z', 'an offset is exact'],
  ['Europe/Amsterdam', '2027-03-28T02:30', '2027-03-28T01:00:00Z', 'a skipped time is the end of the gap'],
  ['Europe/Amsterdam', '2027-03-28T03:00', '2027-03-28T01:00:00Z', 'the end of the gap exists'],
  ['Europe/Amsterdam', '2027-10-31T02:30', '2027-10-31T00:30:00Z', 'a time that occurs twice is the first'],
  ['America/New_York', '2027-11-07T01:30', '2027-11-07T05:30:00Z', 'also west of Greenwich'],
  ['Australia/Lord_Howe', '2027-10-03T02:10', '2027-10-02T15:30:00Z', 'a gap may be half an hour'],
  ['America/Havana', '2027-03-14', '2027-03-14T05:00:00Z', 'midnight itself may be skipped'],
  ['Pacific/Apia', '2011-12-30', '2011-12-30T10:00:00Z', 'a whole day was once skipped'],
];

for (const [timezone, written, expected, why] of bounds) {
  test(`from and until: ${written} in ${timezone} is ${expected}: ${why}`, () => {
    const event = eventOf(`every: 1h, run: gate, timezone: ${timezone}, from: ${written}`);
    assert.equal(event.calendar?.fromMs, Date.parse(expected));
    const until = eventOf(`every: 1h, run: gate, timezone: ${timezone}, until: "${written}"`);
    assert.equal(until.calendar?.untilMs, Date.parse(expected));
  });
}

const accepted: readonly [keys: string, part: Partial<EventSettings>][] = [
  ['missed: all', { missed: { kind: 'all', count: 100, ageMs: 86_400_000 } }],
  ['missed: { all: {} }', { missed: { kind: 'all', count: 100, ageMs: 86_400_000 } }],
  ['missed: none', { missed: { kind: 'none', afterMs: 60_000 } }],
  ['missed: { none: {} }', { missed: { kind: 'none', afterMs: 60_000 } }],
  ['missed: { none: { after: 10s } }', { missed: { kind: 'none', afterMs: 10_000 } }],
  ['lost: rerun', { lost: { reruns: 3 } }],
  ['lost: abandon', { lost: { reruns: 0 } }],
  ['lost: { rerun: 100 }', { lost: { reruns: 100 } }],
];

for (const [keys, part] of accepted) {
  test(`${keys} is understood`, () => {
    const event = eventOf(`every: 1h, run: { post: /x }, ${keys}`);
    assert.deepEqual({ ...event, ...part }, event);
  });
}

test('what happens when the clocks change can be chosen', () => {
  const dst = (keys: string) => eventOf(`every: 1h, run: gate, dst: ${keys}`).calendar?.dst;
  assert.deepEqual(dst('{}'), { skipped: 'after', repeated: undefined });
  assert.deepEqual(dst('{ repeated: once }'), { skipped: 'after', repeated: 'once' });
  assert.deepEqual(dst('{ skipped: skip, repeated: twice }'), { skipped: 'skip', repeated: 'twice' });
});

test('a designated instance is told by hooks, and may have a schedule of its own', () => {
  const hooks = eventOf('on: designated, appointed: { post: /on }, dismissed: { command: ./off }');
  assert.equal(hooks.calendar, undefined);
  assert.equal(hooks.run, undefined);
  assert.deepEqual(hooks.appointed, { kind: 'post', path: '/on' });
  assert.deepEqual(hooks.dismissed, { kind: 'command', command: './off' });
  const scheduled = eventOf('on: designated, every: 1h, run: { post: /x }');
  assert.deepEqual(scheduled.calendar?.schedule, { kind: 'every', everyMs: 3_600_000 });
  assert.equal(scheduled.appointed, undefined);
});

test('gate goes with one instance or a preferred one', () => {
  assert.equal(eventOf('every: 1h, run: gate, on: one').run?.kind, 'gate');
  assert.equal(eventOf('every: 1h, run: gate, on: { prefer: shop-2 }').run?.kind, 'gate');
});

test('P10: problems of several events are named at once, each with its place', () => {
  assert.deepEqual(
    problems(`events:
  a: { every: 1h, run: gate, form: 2027-01-01 }
  b:
    schedule: "0 2 * * *"
    run: { post: /b }
    timezone: Europe/Amsterdam
    from: 2027-02-30
    until: tomorrow
    dst: { skipped: skp, repeat: once }
    missed: { non: { after: 1m } }
    lost: reran
    appointed: { pots: /on }`),
    [
      'holdfast.yaml:4:30: events.a.form: unknown key; did you mean "from"?',
      'holdfast.yaml:9:11: events.b.from: expected a day that this month has, found "2027-02-30"',
      'holdfast.yaml:10:12: events.b.until: expected a date or a date-time, such as 2027-01-01, 2027-01-01T06:00 or, exactly, 2027-01-01T06:00+01:00, found "tomorrow"',
      'holdfast.yaml:11:21: events.b.dst.skipped: expected after or skip, found "skp"; did you mean "skip"?',
      'holdfast.yaml:11:26: events.b.dst.repeat: unknown key; did you mean "repeated"?',
      'holdfast.yaml:12:15: events.b.missed.non: unknown key; did you mean "none"?',
      'holdfast.yaml:13:11: events.b.lost: expected rerun, abandon or {rerun: TIMES}, found "reran"; did you mean "rerun"?',
      'holdfast.yaml:14:18: events.b.appointed.pots: unknown key; did you mean "post"?',
    ],
  );
});

/** What follows the minimal file, and the one line that it must be answered with. */
const refusals: readonly [addition: string, expected: RegExp][] = [
  ['events: { Nightly: { every: 1h, run: gate } }', /:3:11: events.Nightly: expected a name of lower-case/],
  ['events: { holdfast-prune: { every: 1h, run: gate } }', /those are the built-in events/],
  ['events: { e: { run: gate } }', /events.e.schedule: expected a schedule: one of schedule, every, weekly/],
  ['events: { e: { every: 1h } }', /events.e.run: expected what is to be run/],
  [
    'events: { e: { every: 1h, schedule: "* * * * *", run: gate } }',
    /:3:23: events.e.every: .*several: schedule, every/,
  ],
  ['events: { e: { schedule: "61 * * * *", run: gate } }', /:3:26: events.e.schedule: .*"minute" has "61"/],
  ['events: { e: { every: 1h, run: gat } }', /events.e.run: expected .* found "gat"; did you mean "gate"\?/],
  [
    'events: { e: { every: 1h, run: { pots: /x } } }',
    /events.e.run.pots: unknown key; did you mean "post"\?/,
  ],
  [
    'events: { e: { every: 1h, run: { post: /x, command: y } } }',
    /events.e.run: expected \{post: PATH\}, \{command: COMMAND\} or gate, found a map/,
  ],
  [
    'events: { e: { every: 1h, run: { post: jobs } } }',
    /events.e.run.post: expected a path that begins with a slash/,
  ],
  [
    'events: { e: { every: 1h, run: gate, timezone: Europe/Amsterdm } }',
    /found "Europe\/Amsterdm"; did you mean "Europe\/Amsterdam"\?/,
  ],
  [
    'events: { e: { every: 1h, run: gate, on: { prefer: shop-9 } } }',
    /"shop-9" is no instance of this cluster \(shop-1, shop-2\)/,
  ],
  [
    'events: { e: { every: 1h, run: gate, missed: { all: { count: 0 } } } }',
    /missed.all.count: expected a whole number from 1/,
  ],
  [
    'events: { e: { yearly: { month: april, day: 31 }, run: gate } }',
    /yearly.day: expected a day that this month has, found the number 31/,
  ],
  [
    'events: { e: { monthly: { day: 32 }, run: gate } }',
    /monthly.day: expected a whole number from 1 to 31, found the number 32/,
  ],
  [
    'events: { e: { every: 1h, run: gate, from: 2027-01-01T25:00 } }',
    /:3:44: events.e.from: expected a date or a date-time, such as 2027-01-01, .* found "2027-01-01T25:00"/,
  ],
  [
    'events: { e: { every: 1h, run: gate, from: 2027 } }',
    /events.e.from: expected a date or a date-time, .* found the number 2027/,
  ],
  [
    'events: { e: { every: 1h, run: gate, from: 2027-06-01, until: 2027-06-01 } }',
    /:3:63: events.e.until: expected a moment after `from` \(2027-06-01\), found "2027-06-01"/,
  ],
  [
    'events: { e: { every: 1h, run: gate, timezone: Asia/Tokyo, from: 2027-06-01T08:00, until: 2027-05-31T23:00Z } }',
    /events.e.until: expected a moment after `from` \(2027-06-01T08:00\)/,
  ],
  [
    'events: { e: { every: 1h, run: gate, timezone: Mars/Olympus, from: 2027-01-02, until: 2027-01-01 } }',
    /events.e.timezone: expected the name of a time zone/,
  ],
  [
    'events: { e: { on: designated, appointed: { post: /on }, until: 2027-01-01 } }',
    /:3:65: events.e.until: there is no schedule that it could limit/,
  ],
  ['events: { e: { every: 1h, run: gate, dst: skip } }', /:3:43: events.e.dst: expected a map, found "skip"/],
  [
    'events: { e: { every: 1h, run: gate, dst: { repeated: thrice } } }',
    /events.e.dst.repeated: expected once or twice, found "thrice"/,
  ],
  [
    'events: { e: { every: 1h, run: gate, missed: { none: { after: 0s } } } }',
    /events.e.missed.none.after: expected a duration from 1s to 366d, found "0s"/,
  ],
  [
    'events: { e: { every: 1h, run: gate, missed: { none: { aftr: 5s } } } }',
    /missed.none.aftr: unknown key; did you mean "after"\?/,
  ],
  [
    'events: { e: { every: 1h, run: gate, missed: non } }',
    /events.e.missed: expected latest, all, none, \{all: .* found "non"; did you mean "none"\?/,
  ],
  [
    'events: { e: { every: 1h, run: gate, lost: { rerun: 0 } } }',
    /:3:53: events.e.lost.rerun: expected a whole number from 1 to 100, found the number 0/,
  ],
  [
    'events: { e: { every: 1h, run: gate, lost: { rerun: 101 } } }',
    /events.e.lost.rerun: expected a whole number from 1 to 100, found the number 101/,
  ],
  [
    'events: { e: { every: 1h, run: { post: /x }, appointed: { post: /on } } }',
    /:3:57: events.e.appointed: an instance is appointed with `on: designated` only/,
  ],
  [
    'events: { e: { every: 1h, run: { post: /x }, on: each, dismissed: { command: x } } }',
    /:3:67: events.e.dismissed: an instance is appointed with `on: designated` only/,
  ],
  [
    'events: { e: { on: designated, appointed: gate } }',
    /events.e.appointed: expected \{post: PATH\} or \{command: COMMAND\}, found "gate"/,
  ],
  [
    'events: { e: { on: designated, appointed: { post: /x, command: y } } }',
    /events.e.appointed: expected \{post: PATH\} or \{command: COMMAND\}, found a map/,
  ],
  [
    'events: { e: { on: designated } }',
    /:3:20: events.e.on: a designated event that has no schedule and calls nothing does nothing: add/,
  ],
  [
    'events: { e: { on: designated, every: 1h, appointed: { post: /on } } }',
    /events.e.run: expected what is to be run: \{post: PATH\} or \{command: COMMAND\}, found nothing/,
  ],
  [
    'events: { e: { on: designated, run: { post: /x } } }',
    /events.e.schedule: expected a schedule: one of schedule, every/,
  ],
  [
    'events: { e: { every: 1h, run: gate, on: each } }',
    /:3:32: events.e.run: `gate` goes with `on: one` or \{prefer: INSTANCE\} only: .* every instance would be told yes/,
  ],
  [
    'events: { e: { every: 1h, run: gate, on: designated } }',
    /events.e.run: `gate` goes with .* the answer is known before anybody asks/,
  ],
];

for (const [addition, expected] of refusals) {
  test(`P10: refused, and says why: ${addition}`, () => {
    const lines = problems(addition);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
  });
}
