import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventView, LastOccurrence, OpenOccurrence } from '../events/administration.ts';
import { parseConfiguration } from '../settings/index.ts';
import { eventJson, eventsText } from './events-view.ts';

const nowMs = Date.parse('2027-01-02T12:00:00Z');
const minute = 60_000;

function eventOf(yaml: string, rest: Partial<EventView> = {}): EventView {
  const text = `cluster: shop\napp: { command: x, instances: [shop-1] }\nevents: { nightly-invoices: ${yaml} }\n`;
  const [definition] = parseConfiguration(text, 'shop.yaml').configuration.events;
  assert.ok(definition);
  return {
    name: 'nightly-invoices',
    revision: 3,
    definition,
    paused: null,
    places: [{ place: '', cursorMs: nowMs - 1_000, isServed: true }],
    open: [],
    last: null,
    appointed: null,
    ...rest,
  };
}

const nightly = '{ schedule: "0 2 * * *", timezone: Europe/Amsterdam, run: { post: /invoices } }';

const open: OpenOccurrence = {
  occurrence: '77',
  place: '',
  dueMs: nowMs - 2 * minute,
  cause: 'schedule',
  state: 'running',
  held: null,
  fenceOf: null,
  notBeforeMs: nowMs - 2 * minute,
  attempts: 1,
  reason: null,
  instance: 'shop-1',
  startedMs: nowMs - 2 * minute,
};
const waiting: OpenOccurrence = { ...open, state: 'waiting', instance: null, startedMs: null };

const last: LastOccurrence = {
  dueMs: nowMs - 600 * minute,
  lastDueMs: nowMs - 600 * minute,
  dues: 1,
  outcome: 'failed',
  reason: 'HTTP 500',
  endedMs: nowMs - 540 * minute,
  instance: 'shop-2',
  durationMs: 3_200,
};

const textOf = (event: EventView, width?: number) => eventsText({ nowMs, events: [event] }, width);

test('the table says when and where an event runs, how it ended last and when it is due next in its zone', () => {
  assert.deepEqual(textOf(eventOf(nightly, { last })).split('\n'), [
    'event             schedule                         on   last                      next                             state',
    'nightly-invoices  daily at 02:00 Europe/Amsterdam  one  failed 9h ago, took 3.2s  2027-01-03 02:00+01:00 (in 13h)  idle',
  ]);
});

test('on a screen that is too narrow for the table every event has lines of its own, none too long', () => {
  const text = textOf(eventOf(nightly, { last }), 80);
  assert.equal(
    text,
    `nightly-invoices
  idle
  daily at 02:00 Europe/Amsterdam; POST /invoices; on one instance
  last  failed 9h ago, took 3.2s
        HTTP 500
  next  2027-01-03 02:00+01:00 (in 13h)`,
  );
  const paused = { atMs: nowMs - minute, by: 'alice@ops', reason: 'the tax rate is wrong. '.repeat(10) };
  const longest = Math.max(
    ...textOf(eventOf(nightly, { paused }), 80)
      .split('\n')
      .map((line) => line.length),
  );
  assert.ok(longest <= 80, String(longest));
});

const states: readonly [string, Partial<EventView>, string, RegExp][] = [
  ['idle', {}, 'idle', /idle$/],
  ['running', { open: [open] }, 'running', /running on shop-1 for 2m$/],
  [
    'waiting for its retry',
    { open: [{ ...waiting, notBeforeMs: nowMs + 25_000 }] },
    'waiting',
    /next attempt in 25s$/,
  ],
  [
    'in line',
    { open: [open, { ...waiting, held: 'predecessor', attempts: 0 }] },
    'running',
    /running on shop-1 for 2m; in line behind the one before it$/,
  ],
  [
    'waiting for a fence',
    { open: [{ ...waiting, held: 'fence', fenceOf: 'shop-2' }] },
    'waiting',
    /waits until shop-2 is fenced$/,
  ],
  [
    'claimed by nobody',
    { open: [{ ...waiting, attempts: 0 }] },
    'overdue',
    /overdue for 2m; start waits for an instance$/,
  ],
  [
    'paused',
    { paused: { atMs: nowMs - 3 * minute, by: 'alice', reason: 'wrong tax' } },
    'paused',
    /paused by alice 3m ago: wrong tax$/,
  ],
  [
    'due and not in the ledger',
    { places: [{ place: '', cursorMs: nowMs - 1_440 * minute, isServed: true }] },
    'overdue',
    /overdue for 11h$/,
  ],
  [
    'due at an instance that is not there',
    { places: [{ place: 'shop-2', cursorMs: nowMs - 1_440 * minute, isServed: false }] },
    'idle',
    /idle$/,
  ],
];
for (const [name, rest, state, text] of states) {
  test(`an event that is ${name} says so`, () => {
    const event = eventOf(nightly, rest);
    assert.equal(eventJson(event, nowMs).state, state);
    assert.match(textOf(event), text);
  });
}

const designated = '{ on: designated, appointed: { command: ./on } }';

test('a designated event says who is appointed, or that nobody is, instead of being idle and never due', () => {
  const appointed = textOf(eventOf(designated, { appointed: 'shop-2' })).split('\n')[1];
  assert.match(appointed ?? '', /^nightly-invoices +– +designated +– +– +appointed: shop-2$/);
  const nobody = textOf(eventOf(designated));
  assert.match(nobody, /designated +– +– +nobody appointed$/);
  assert.equal(
    textOf(eventOf(designated, { appointed: 'shop-2' }), 50),
    `nightly-invoices
  appointed: shop-2
  appointment only; on: designated
  last  –
  next  –`,
  );
  assert.equal(eventJson(eventOf(designated, { appointed: 'shop-2' }), nowMs).appointed, 'shop-2');
});

test('a designated event that runs or is paused says who is appointed all the same', () => {
  const scheduled = '{ on: designated, schedule: "0 2 * * *", run: { post: /invoices } }';
  const paused = { atMs: nowMs - 3 * minute, by: 'alice', reason: 'wrong tax' };
  assert.match(
    textOf(eventOf(scheduled, { open: [open], paused, appointed: 'shop-1' })),
    /running on shop-1 for 2m; paused by alice 3m ago: wrong tax; appointed: shop-1$/,
  );
  assert.match(textOf(eventOf(scheduled, { paused })), /wrong tax; nobody appointed$/);
});

test('what people and applications wrote cannot move the cursor of the terminal', () => {
  const paused = { atMs: nowMs, by: 'eve\u001b[2J', reason: 'line\nbreak \u202egnp' };
  const text = textOf(eventOf(nightly, { paused }));
  assert.match(text, /paused by eve·\[2J just now: line break ·gnp$/);
});

test('JSON has ISO times, and null where there is nothing', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(eventJson(eventOf(designated), nowMs))), {
    event: 'nightly-invoices',
    revision: 3,
    run: null,
    on: { kind: 'designated' },
    schedule: 'never due',
    timezone: null,
    state: 'idle',
    appointed: null,
    running: [],
    waiting: [],
    paused: null,
    overdueSince: null,
    last: null,
    next: null,
    nextLocal: null,
  });
  const running = eventJson(eventOf(nightly, { open: [open], last }), nowMs);
  assert.equal(running.running[0]?.started, '2027-01-02T11:58:00.000Z');
  assert.deepEqual(
    [running.next, running.nextLocal],
    ['2027-01-03T01:00:00.000Z', '2027-01-03T02:00:00+01:00'],
  );
  assert.deepEqual([running.last?.ended, running.last?.durationMs], ['2027-01-02T03:00:00.000Z', 3_200]);
});
