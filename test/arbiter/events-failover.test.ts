/**
 * Runs are in flight while the arbiter fails over: a real primary is killed, its real standby promoted, and the
 * agents find it. With a synchronous standby nothing that was granted is forgotten. An asynchronous one forgets its
 * tail, and then the higher timeline and one ttl of silence keep two executions apart.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openArbiter } from '../../src/database/arbiter.ts';
import { migrate } from '../../src/database/migrate.ts';
import { tokenParts } from '../../src/protocol/token.ts';
import { type Agents, startAgents } from '../cluster/agents.fixture.ts';
import { runHoldfast } from '../cluster/cluster.fixture.ts';
import {
  command,
  type EventsFolder,
  type EventsView,
  eventsFolder,
  never,
  openView,
} from '../cluster/events.fixture.ts';
import { findServerBinaries, type PrimaryAndStandby, startPrimaryAndStandby } from './primary-and-standby.ts';

const binaries = await findServerBinaries();
const skip = 'missing' in binaries ? binaries.missing : false;
if (skip) console.log(`failover of events is not tested: ${skip}`);

for (const kind of ['synchronous', 'asynchronous'] as const) {
  describe(`runs in flight while the arbiter fails over to a ${kind} standby`, {
    skip,
    timeout: 120_000,
  }, () => {
    let servers: PrimaryAndStandby;
    let folder: EventsFolder;
    let view: EventsView;
    let agents: Agents;
    before(async () => {
      if ('missing' in binaries) return;
      servers = await startPrimaryAndStandby(binaries.folder, { synchronous: kind === 'synchronous' });
      const database = `postgres://holdfast@127.0.0.1:${servers.primary.port},127.0.0.1:${servers.standby.port}/postgres`;
      const arbiter = openArbiter({ url: database, max: 1 });
      await migrate(arbiter);
      await arbiter.close();
      folder = await eventsFolder({
        database,
        ttl: '2s',
        heartbeat: '400ms',
        restartAfter: '30s',
        events: {
          tick: 'every: 1s, run: {post: /holdfast/events/tick}, missed: all, overlap: delay, lost: {rerun: 20}, retry: {times: 20, backoff: 250ms, maxBackoff: 250ms}, payload: {workMs: 200, commit: true}',
          // Stubborn and long, so that one is always at work that the new primary may know nothing of.
          slow: `every: 3s, run: {command: "${command}"}, overlap: allow, lost: {rerun: 20}, payload: {workMs: 4000, laterMs: 500, stubborn: true}`,
          command: `${never}, run: {command: "${command}"}, overlap: allow`,
        },
      });
      view = openView(folder, database);
      agents = await startAgents(folder, view);
    });
    after(async () => {
      await agents?.dispose();
      await view?.close();
      await folder?.remove();
      await servers?.stop();
    });

    test(`status says what a failover to the ${kind} standby may forget`, async () => {
      const { out } = await runHoldfast(['status', '--json', '-c', folder.configFile], folder.folder);
      const { durability } = (
        JSON.parse(out) as { arbiter: { durability: { kind: string; promise: string } } }
      ).arbiter;
      assert.equal(durability.kind, kind);
      const promise = kind === 'synchronous' ? /survives a failover/ : /a run may happen twice/;
      assert.match(durability.promise, promise);
    });

    test('P1, P2, P3: every moment is settled once, tokens rise, and no two work at once', async () => {
      await delay(2_000);
      const older = await view.trigger('command', { workMs: 2_000 });
      await view.begun(older.occurrence, 1);
      await servers.caughtUp();
      if (kind === 'asynchronous') await servers.cutOff();
      await delay(1_500); // what is granted now is in the tail that an asynchronous standby does not have
      const newer = await view.trigger('command', { workMs: 4_000 });
      await view.begun(newer.occurrence, 1);
      await servers.primary.kill();
      const killedMs = Date.now();
      await servers.promoteStandby();
      const promotedMs = Date.now();
      const isForgotten = kind === 'asynchronous';
      const lost = isForgotten ? new Set([1]) : undefined;
      const counts = await view.assertAllIsWell(30_000, lost);
      if (isForgotten) assert.ok(counts.forgotten > 0, 'the standby had everything');
      else assert.equal(counts.forgotten, 0);

      const rows = await view.occurrences('tick');
      assert.deepEqual(
        rows.filter(({ outcome, state }) => state === 'done' && outcome !== 'succeeded'),
        [],
      );
      const effects = new Set((await view.effects()).map(({ dueMs }) => dueMs));
      assert.equal(effects.size, (await view.effects()).length, 'an effect is there twice');

      const executions = (await view.executions()).sort((one, other) => one.beganMs - other.beganMs);
      const timelineOf = ({ token }: { token: string }) => tokenParts(BigInt(token)).timeline;
      const timelines = executions.map(timelineOf);
      assert.deepEqual(
        timelines,
        timelines.toSorted((one, other) => one - other),
      );
      assert.equal(timelines.at(-1), 2, 'nothing ran after the failover');
      const moments = Map.groupBy(executions, ({ event, dueMs }) => `${event} ${dueMs}`);
      const onBoth = [...moments.values()].filter((ofOne) => new Set(ofOne.map(timelineOf)).size > 1);
      if (isForgotten) assert.ok(onBoth.length > 0, 'nothing of the forgotten tail was due to be run again');
      const firstAfter = executions.find((one) => timelineOf(one) === 2);
      assert.ok((firstAfter?.beganMs ?? 0) - promotedMs >= 2_000 * 0.9, 'granted before one ttl had passed');
      const ofOld = executions.filter((one) => timelineOf(one) === 1);
      for (const { endedMs = Infinity, event } of ofOld)
        assert.ok(
          endedMs <= (firstAfter?.beganMs ?? 0) || event !== 'tick',
          `${event} of before still worked`,
        );
      assert.ok(promotedMs - killedMs < 20_000);
    });
  });
}
