import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventSettings } from '../settings/index.ts';
import { defineEvent } from './definition.ts';
import { DueWatch, type Turn, turnDelayMs } from './due-watch.ts';

const settings = (more: Partial<EventSettings> = {}): EventSettings => ({
  name: 'e',
  calendar: {
    schedule: { kind: 'every', everyMs: 10_000 },
    timezone: 'UTC',
    dst: { skipped: 'after', repeated: undefined },
    fromMs: undefined,
    untilMs: undefined,
  },
  run: { kind: 'command', command: 'true' },
  on: { kind: 'one' },
  overlap: 'skip',
  missed: { kind: 'latest' },
  lost: { reruns: 3 },
  timeoutMs: 1_000,
  retry: { times: 0, backoffMs: 0, maxBackoffMs: 0 },
  payload: undefined,
  limit: 1,
  appointed: undefined,
  dismissed: undefined,
  ...more,
});

const definition = (more?: Partial<EventSettings>) => defineEvent(settings(more), 'a');
const first: Turn = { rank: () => 0, hasRoom: () => true };

function watching(more?: Partial<EventSettings>): DueWatch {
  const watch = new DueWatch();
  watch.watch(definition(more), 5_000);
  return watch;
}

test('whoever is preferred claims at the due moment, and not before', () => {
  const watch = watching();
  assert.equal(watch.nextAtMs(), 10_000);
  assert.deepEqual(watch.collect(9_999, first), []);
  const [found] = watch.collect(10_000, first);
  assert.deepEqual(found?.claim.dueMs, [10_000]);
  assert.equal(found?.claim.cursorMs, 5_000);
  assert.equal(watch.nextAtMs(), undefined, 'out of sight until the answer is known');
});

test('the others look later, each after the one before it, and all of the last at once', () => {
  for (const [rank, delayMs] of [
    [1, 300],
    [2, 600],
    [4, 1_200],
    [40, 1_200],
  ] as const) {
    const watch = watching();
    const turn = { ...first, rank: () => rank };
    assert.equal(turnDelayMs(rank), delayMs);
    assert.deepEqual(watch.collect(10_000, turn), []);
    assert.equal(watch.nextAtMs(), 10_000 + delayMs);
    assert.equal(watch.collect(10_000 + delayMs, turn).length, 1);
  }
});

test('a cursor that somebody else moved is followed', () => {
  const watch = watching();
  const [found] = watch.collect(10_000, first);
  assert.ok(found);
  watch.settled(found.watched, 30_000);
  assert.equal(watch.nextAtMs(), 40_000);
});

test('what came due while nobody looked is one claim: the latest to run, the others missed', () => {
  const [found] = watching().collect(45_000, first);
  assert.deepEqual(found?.claim.dueMs, [40_000]);
  assert.equal(found?.claim.missed?.count, 3);
  assert.equal(found?.claim.toMs, 40_000);
});

test('more missed moments than fit one claim are settled in parts', () => {
  const watch = watching();
  const nowMs = 25_000_000;
  const [part] = watch.collect(nowMs, first);
  assert.equal(part?.claim.missed?.count, 1_000);
  assert.deepEqual(part?.claim.dueMs, []);
  watch.settled(part.watched, part.claim.toMs);
  const [next] = watch.collect(nowMs, first);
  assert.equal(next?.claim.cursorMs, part.claim.toMs);
});

test('where runs may overlap it waits for room until a run has ended', () => {
  const watch = watching({ overlap: 'allow' });
  assert.deepEqual(watch.collect(10_000, { ...first, hasRoom: () => false }), []);
  assert.equal(watch.nextAtMs(), undefined);
  watch.released(({ name }) => name === 'other');
  assert.equal(watch.nextAtMs(), undefined);
  watch.released(({ name }) => name === 'e');
  assert.equal(watch.collect(10_500, first).length, 1);
});

test('where they may not, a full instance still records what is skipped', () => {
  const [found] = watching().collect(10_000, { ...first, hasRoom: () => false });
  assert.deepEqual(found?.claim.dueMs, [10_000]);
});

test('a moment that nobody asked for at the gate is missed when the patience is over', () => {
  const watch = watching({ run: { kind: 'gate' } });
  assert.equal(watch.nextAtMs(), 70_000);
  const [found] = watch.collect(70_000, first);
  assert.deepEqual(found?.claim.dueMs, []);
  assert.equal(found?.claim.toMs, 10_000);
  assert.equal(found?.claim.missed?.reason, 'no instance asked for it');
});

test('an event for each instance has a place of its own there', () => {
  assert.equal(definition({ on: { kind: 'each' } }).place, 'a');
  assert.equal(definition().place, '');
});

test('calendars with equal settings have equal digests, whatever the order of their keys', () => {
  const calendar = settings().calendar;
  assert.ok(calendar);
  const turned = Object.fromEntries(Object.entries(calendar).reverse()) as typeof calendar;
  assert.equal(definition({ calendar: turned }).digest, definition().digest);
  assert.notEqual(
    definition({ calendar: { ...calendar, timezone: 'Europe/Rome' } }).digest,
    definition().digest,
  );
});

test('ten thousand definitions at rest are not looked at', () => {
  const watch = new DueWatch();
  let asked = 0;
  for (let index = 0; index < 10_000; index++)
    watch.watch(
      definition({
        name: `e${index}`,
        calendar: { ...settings().calendar, schedule: { kind: 'every', everyMs: 1e9 } } as never,
      }),
      5_000,
    );
  const turn = { rank: () => asked++, hasRoom: () => true };
  assert.deepEqual(watch.collect(10_000, turn), []);
  assert.equal(asked, 0);
});
