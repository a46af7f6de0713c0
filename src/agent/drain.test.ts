import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Query } from '../database/arbiter.ts';
import type { DrainProgress } from '../members/balancers.ts';
import { silentLog } from '../support/log.ts';
import { type DrainOptions, drain } from './drain.ts';

/** A drain in a time of its own: `at` is what the balancers say at a moment after its start. */
async function drained(
  at: (afterMs: number) => DrainProgress,
  options: { readonly limitMs?: number; readonly cutAtMs?: number } = {},
): Promise<{ readonly tookMs: number; readonly told: readonly string[] }> {
  let nowMs = 0;
  const told: string[] = [];
  const cut = new AbortController();
  const draining: DrainOptions = {
    // biome-ignore lint/suspicious/noExplicitAny: a query gives whatever its caller names
    query: (async () => [at(nowMs)]) as any as Query,
    instance: 'shop-1',
    limitMs: options.limitMs ?? 20_000,
    events: { leave: async () => undefined } as unknown as DrainOptions['events'],
    clock: {
      monotonicMs: () => nowMs,
      wallMs: () => nowMs,
      async sleep(ms) {
        if (ms >= 1_000) return new Promise(() => undefined); // the limit for runs, of which there are none
        nowMs += ms;
        if (nowMs >= (options.cutAtMs ?? Number.POSITIVE_INFINITY)) cut.abort();
        if (nowMs > 60_000) throw new Error('it drains for ever');
      },
    },
    cut: cut.signal,
    log: { ...silentLog, info: (_fields, message) => told.push(message) },
    announce: () => undefined,
  };
  await drain(draining);
  return { tookMs: nowMs, told };
}

const left = (users: number | null, inFlight: number): DrainProgress => ({
  isDrained: false,
  users,
  inFlight,
});
const nobody: DrainProgress = { isDrained: true, users: 0, inFlight: 0 };

test('a drain ends as soon as nobody uses the instance any more', async () => {
  const { tookMs, told } = await drained((afterMs) => (afterMs < 2_000 ? left(1, 0) : nobody));
  assert.equal(tookMs, 2_000);
  assert.deepEqual(told, []);
});

test('every few seconds it is told how many users and requests are left, and how long they may stay', async () => {
  const { told } = await drained((afterMs) =>
    afterMs < 5_000 ? left(3, 2) : afterMs < 9_000 ? left(1, 1) : nobody,
  );
  assert.deepEqual(told, [
    'shop-1 drains: 3 users and 2 requests left, at most 17 s more',
    'shop-1 drains: 1 user and 1 request left, at most 14 s more',
  ]);
});

test('where users cannot be told apart, only requests are', async () => {
  const { told } = await drained((afterMs) => (afterMs < 4_000 ? left(null, 0) : nobody));
  assert.deepEqual(told, ['shop-1 drains: 0 requests left, at most 17 s more']);
});

test('a drain lasts no longer than its limit, and no longer than until it is cut short', async () => {
  assert.equal((await drained(() => left(1, 1), { limitMs: 4_000 })).tookMs, 4_000);
  assert.equal((await drained(() => left(1, 1), { cutAtMs: 1_500 })).tookMs, 1_500);
});

test('P9: while the arbiter is away the limit decides, and that is told', async () => {
  const { tookMs, told } = await drained(
    () => {
      throw new Error('the arbiter is away');
    },
    { limitMs: 5_000 },
  );
  assert.equal(tookMs, 5_000);
  assert.deepEqual(told, [
    'shop-1 drains: the arbiter is away, so nobody can say who is left; at most 2 s more',
  ]);
});
