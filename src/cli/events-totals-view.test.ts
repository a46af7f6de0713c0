import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TotalsJson, totalsLines } from './events-totals-view.ts';

const nothing: TotalsJson = {
  events: 1,
  running: 0,
  waiting: 1,
  lastDay: { failed: 0, missed: 0, abandoned: 0 },
  paused: [],
  overdue: [],
  fences: [],
  now: '2027-01-02T12:00:00.000Z',
};

const fenceLine = (error: string | null, tries = 1): string | undefined =>
  totalsLines({ ...nothing, fences: [{ instance: 'shop-2', tries, error }] })[1];

test('why a fence failed may be whole sentences, and the line goes on after them with one mark', () => {
  assert.equal(
    fenceLine('the fence command exited with code 1. Run it by hand until it can do no more.', 2),
    'to be fenced: shop-2, 2 tries, which failed: the fence command exited with code 1. ' +
      'Run it by hand until it can do no more; what it ran waits',
  );
  assert.equal(
    fenceLine('permission denied;\n'),
    'to be fenced: shop-2, 1 try, which failed: permission denied; what it ran waits',
  );
});

test('a fence that is still at it says no reason', () => {
  assert.equal(fenceLine(null), 'to be fenced: shop-2, 1 try; what it ran waits');
});
