/** The arbiter is away for longer than a lease: users go on working, nobody runs scheduled events, and all settles afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres } from '../../src/testing/postgres.ts';
import { startMendixCluster, ttlMs } from './cluster.ts';
import { journalOf } from './story.ts';

async function until(what: () => Promise<boolean>, words: string): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await what())) {
    assert.ok(performance.now() < deadlineMs, `not within a minute: ${words}`);
    await delay(100);
  }
}

test('P9: users go on, no event is run that could be run twice, and the events come back with the arbiter', async (t) => {
  const server = await startTestPostgres();
  t.after(() => server.stop());
  const cluster = await startMendixCluster({ arbiterUrl: await server.createDatabase() });
  t.after(() => cluster.stop());
  const statuses = new Map<number, number>();
  const over = new AbortController();
  const using = (async () => {
    while (!over.signal.aborted) {
      const { status } = await fetch(`${cluster.url}/rest/claims`);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await delay(20);
    }
  })();
  await until(async () => (await journalOf(cluster)).executions >= 2, 'the leader runs events');

  server.freeze();
  try {
    await delay(ttlMs + 2_000);
    const silent = await journalOf(cluster);
    await delay(2_500);
    assert.equal(
      (await journalOf(cluster)).executions,
      silent.executions,
      'somebody runs events without a lease',
    );
  } finally {
    server.thaw();
  }
  const before = (await journalOf(cluster)).executions;
  await until(async () => (await journalOf(cluster)).executions > before, 'events are run again');
  over.abort();
  await using;
  const { doubled, overlapping } = await journalOf(cluster);
  assert.deepEqual({ doubled, overlapping }, { doubled: 0, overlapping: 0 });
  assert.deepEqual([...statuses.keys()], [200]);
});
