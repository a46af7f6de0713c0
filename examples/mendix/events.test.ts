/** The other two ways for scheduled events, on real processes: every microflow asks first, and Holdfast posts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type MendixCluster, scheduledEvent, startMendixCluster } from './cluster.ts';

async function until(what: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await what())) {
    assert.ok(performance.now() < deadlineMs, 'not within a minute');
    await delay(100);
  }
}

async function outcomes({ arbiter }: MendixCluster, event: string): Promise<Record<string, number>> {
  const rows = await arbiter.query<{ outcome: string; times: number }>(
    `select coalesce(outcome, 'open') as outcome, count(*)::int as times from holdfast.occurrence
      where event = $1 group by 1`,
    [event],
  );
  return Object.fromEntries(rows.map(({ outcome, times }) => [outcome, times]));
}

test('gate: every runtime fires, each microflow asks its agent, and each moment is run once', async (t) => {
  const cluster = await startMendixCluster({
    behaviour: { asks: { [scheduledEvent]: 'every-second' } },
    changes: [
      [['app', 'mendix', 'scheduledEvents'], 'gate'],
      [['events'], { 'every-second': { every: '1s', run: 'gate' } }],
    ],
  });
  t.after(() => cluster.stop());
  await until(async () => ((await outcomes(cluster, 'every-second')).succeeded ?? 0) >= 4);
  const [row] = await cluster.application.query<{ all: number; moments: number }>(
    `select count(*)::int as "all", count(distinct due)::int as moments
      from "system$scheduledeventinformation"`,
  );
  assert.ok((row?.all ?? 0) >= 4);
  assert.equal(row?.all, row?.moments);
});

test('post: no runtime runs events by itself, Holdfast calls the published service of one', async (t) => {
  const cluster = await startMendixCluster({
    changes: [
      [['app', 'mendix', 'scheduledEvents'], 'post'],
      [['app', 'settings', 'ScheduledEventExecution'], 'NONE'],
      [['events'], { tidy: { every: '1s', run: { post: '/rest/claims/tidy' } } }],
    ],
  });
  t.after(() => cluster.stop());
  await until(async () => ((await outcomes(cluster, 'tidy')).succeeded ?? 0) >= 3);
  const [row] = await cluster.application.query<{ all: number }>(
    'select count(*)::int as "all" from "system$scheduledeventinformation"',
  );
  assert.equal(row?.all, 0);
});
