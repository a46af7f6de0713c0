/** A failover of a real PostgreSQL, as the agents' connection and the members live through it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '../../src/database/arbiter.ts';
import { migrate } from '../../src/database/migrate.ts';
import { plainFacts } from '../../src/members/member-facts.fixture.ts';
import { type HeartbeatResult, heartbeat, join, type Membership } from '../../src/members/membership.ts';
import { tokenParts } from '../../src/protocol/token.ts';
import {
  eventually,
  findServerBinaries,
  type PrimaryAndStandby,
  startPrimaryAndStandby,
} from './primary-and-standby.ts';

const binaries = await findServerBinaries();
const skip = 'missing' in binaries ? binaries.missing : false;
if (skip) console.log(`failover is not tested: ${skip}`);

const ttlMs = 2_000;

describe('a failover to a streaming standby', { skip, timeout: 120_000 }, () => {
  let servers: PrimaryAndStandby;
  let arbiter: Arbiter;
  let url: string;
  before(async () => {
    if ('missing' in binaries) return;
    servers = await startPrimaryAndStandby(binaries.folder);
    url = `postgres://holdfast@127.0.0.1:${servers.primary.port},127.0.0.1:${servers.standby.port}/postgres`;
    arbiter = openArbiter({ url, queryDeadlineMs: 1_000 });
    await migrate(arbiter);
  });
  after(async () => {
    await arbiter?.close();
    await servers?.stop();
  });

  const joinAs = async (instance: string) => {
    const result = await join(arbiter.query, {
      instance,
      agentId: `agent of ${instance}`,
      provedDead: [],
      watched: null,
      ttlMs,
      state: 'up',
      facts: plainFacts,
    });
    assert.equal(result.outcome, 'joined');
    return result as Extract<typeof result, { outcome: 'joined' }>;
  };
  const beat = async (member: Membership) => {
    const result = await heartbeat(arbiter.query, member, ttlMs, { state: null, facts: null });
    assert.equal(result.outcome, 'renewed');
    return result as Extract<HeartbeatResult, { outcome: 'renewed' }>;
  };
  const beatFor = async (member: Membership, ms: number) => {
    const endMs = performance.now() + ms;
    while (performance.now() < endMs) {
      await beat(member);
      await delay(200);
    }
  };
  let witness: Membership;
  let silent: Membership;

  test('the standby is not taken for the arbiter', async () => {
    witness = (await joinAs('shop-1')).membership;
    silent = (await joinAs('shop-2')).membership;
    assert.equal(tokenParts(witness.token).timeline, 1);
    const standbyOnly = openArbiter({
      url: `postgres://holdfast@127.0.0.1:${servers.standby.port}/postgres`,
    });
    await assert.rejects(standbyOnly.query('select 1'), {
      code: 'ARBITER_UNAVAILABLE',
      message: /is a standby/,
    });
    await standbyOnly.close();
  });

  test('P3, P9: the same connection finds the new primary, members stay, tokens rise, nobody is lost for one ttl', async () => {
    await beatFor(witness, ttlMs + 500);
    assert.deepEqual(
      (await beat(witness)).expired.map(({ instance }) => instance),
      ['shop-2'],
    );
    await servers.caughtUp();
    await servers.primary.kill();
    await assert.rejects(beat(witness), { code: 'ARBITER_UNAVAILABLE' });
    await servers.promoteStandby();

    const first = await eventually(() => beat(witness));
    const backMs = performance.now();
    assert.equal(first.timeline, 2);
    assert.deepEqual(first.expired, [], 'who was silent before may only have been cut off');
    const newcomer = await joinAs('shop-3');
    assert.equal(tokenParts(newcomer.membership.token).timeline, 2);
    assert.ok(newcomer.membership.token > silent.token);
    assert.ok(newcomer.graceMs > 0 && newcomer.graceMs <= ttlMs);
    for (;;) {
      const { expired } = await beat(witness);
      await beat(newcomer.membership);
      if (expired.length > 0) {
        assert.deepEqual(
          expired.map(({ instance }) => instance),
          ['shop-2'],
        );
        break;
      }
      await delay(100);
    }
    assert.ok(performance.now() - backMs > ttlMs - 250, 'a whole ttl had passed');
    assert.equal((await joinAs('shop-4')).graceMs, 0);
  });

  test('the old primary that comes back is refused: by who saw the new one, and by a newcomer that sees both', async () => {
    await servers.primary.start();
    const order = [servers.primary.port, servers.standby.port];
    for (const ports of [order, [...order].reverse()]) {
      for (let round = 0; round < 5; round++) {
        const newcomer = openArbiter({
          url: `postgres://holdfast@${ports.map((port) => `127.0.0.1:${port}`).join(',')}/postgres`,
        });
        const [row] = await newcomer.query<{ timeline: number }>('select holdfast.timeline() as timeline');
        await newcomer.close();
        assert.equal(row?.timeline, 2, `hosts in the order ${ports}`);
      }
    }
    await servers.standby.kill();
    await assert.rejects(beat(witness));
    await assert.rejects(beat(witness), {
      code: 'ARBITER_UNAVAILABLE',
      message: /is on timeline 1, older than 2: an old primary/,
    });
  });
});
