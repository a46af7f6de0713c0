/** P9 for scheduled events: while the arbiter is away nothing begins, and afterwards everything is settled soon. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { type Agents, startAgents } from './agents.fixture.ts';
import {
  command,
  type EventsFolder,
  type EventsView,
  eventsFolder,
  never,
  openView,
} from './events.fixture.ts';

const ttlMs = 3_000;
/** A grant whose answer was under way when the arbiter went is still begun, if its lease allows it. */
const underWayMs = 1_000;

let postgres: TestPostgres;
let folder: EventsFolder;
let view: EventsView;
let agents: Agents;

before(async () => {
  postgres = await startTestPostgres();
  const database = await postgres.createDatabase();
  folder = await eventsFolder({
    database,
    restartAfter: '30s',
    events: {
      tick: 'every: 1s, run: {post: /holdfast/events/tick}, missed: all, overlap: delay, lost: {rerun: 20}, retry: {times: 20, backoff: 250ms, maxBackoff: 250ms}, payload: {workMs: 100, commit: true}',
      long: 'every: 5s, run: {post: /holdfast/events/long}, payload: {workMs: 4000, laterMs: 200}',
      command: `${never}, run: {command: "${command}"}`,
    },
  });
  view = openView(folder, database);
  agents = await startAgents(folder, view);
});
after(async () => {
  await agents?.dispose();
  await view?.close();
  await folder?.remove();
  await postgres?.stop();
});

for (const [how, awayMs, leave, comeBack] of [
  ['is restarted', 0, () => postgres.halt(), () => postgres.start()],
  ['is stopped for longer than the ttl', 4_500, () => postgres.halt(), () => postgres.start()],
  ['is frozen for longer than the ttl', 4_500, async () => postgres.freeze(), async () => postgres.thaw()],
] as const) {
  test(`P4, P9: the arbiter ${how}: nothing begins meanwhile, and all is settled within two ttl`, async () => {
    await agents.allUp();
    const { occurrence } = await view.trigger('command', {
      workMs: awayMs + 2_000,
      laterMs: 200,
      stubborn: true,
    });
    const first = await view.begun(occurrence, 1);
    await delay(500);
    await leave();
    const awaySinceMs = Date.now();
    await delay(awayMs);
    const notes = await view.notes();
    const backMs = Date.now();
    const begunMeanwhile = notes.filter(
      ({ what, atMs }) => what === 'began' && atMs > awaySinceMs + underWayMs && atMs < backMs,
    );
    assert.deepEqual(begunMeanwhile, []);
    if (awayMs > ttlMs) {
      const lastMs = notes.findLast(({ token }) => token === first.token)?.atMs ?? 0;
      assert.ok(
        lastMs <= awaySinceMs + ttlMs,
        `the command worked for ${lastMs - awaySinceMs} ms without a lease`,
      );
      assert.deepEqual(
        notes.filter(({ what, atMs }) => what === 'step' && atMs > awaySinceMs + ttlMs),
        [],
        'something worked without a lease',
      );
    }
    await comeBack();
    const returnedMs = Date.now();
    const counts = await view.assertAllIsWell(2 * ttlMs + 12_000);
    assert.ok(counts.runs > 0);
    const late = (await view.occurrences('tick')).filter(
      ({ dueMs, outcome }) => dueMs < returnedMs && outcome !== 'succeeded',
    );
    assert.deepEqual(
      late,
      [],
      'with `missed: all`, `overlap: delay` and retries every moment is run in the end',
    );
    const settledMs = Math.max(
      ...(await view.executions('tick'))
        .filter(({ dueMs }) => dueMs < returnedMs)
        .map((one) => one.endedMs ?? 0),
    );
    assert.ok(settledMs - returnedMs < 2 * ttlMs, `settled ${settledMs - returnedMs} ms after its return`);
    const [{ count: effects = 0 } = {}] = await view.query<{ count: number }>(
      'select count(*)::int as count from (select 1 from public.effects group by event, due having count(*) > 1) x',
    );
    assert.equal(effects, 0);
  });
}
