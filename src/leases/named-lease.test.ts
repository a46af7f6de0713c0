import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { acquireLease, releaseLease } from './named-lease.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
  arbiter = openArbiter({ url: await postgres.createDatabase(), max: 6 });
});
after(async () => {
  await arbiter.close();
  await postgres.stop();
});

interface Member {
  readonly instance: string;
  readonly token: bigint;
}

/** Joins under a name of its own, by SQL: members are another folder's concept. */
async function member(instance: string, agentId = `agent-of-${instance}`, ttlMs = 60_000): Promise<Member> {
  const [row] = await arbiter.query<{ answer: { token: string } }>(
    `select holdfast.member_join($1, $2, $3, null, $4, 'up', '{}') as answer`,
    [instance, agentId, [`agent-of-${instance}`], ttlMs],
  );
  return { instance, token: BigInt(row?.answer.token ?? 0) };
}

const acquire = (name: string, who: Member) => acquireLease(arbiter.query, name, who);
const tokenOf = async (name: string, who: Member): Promise<bigint> => {
  const answer = await acquire(name, who);
  assert.equal(answer.outcome, 'granted');
  return (answer as { token: bigint }).token;
};

test('a named lease has one holder, and the others are told who', async () => {
  const [one, two] = [await member('a1'), await member('a2')];
  await tokenOf('slot-a', one);
  assert.deepEqual(await acquire('slot-a', two), { outcome: 'held', holder: 'a1' });
});

test('P3: whoever asks again gets a higher token, and a release under the older one ends nothing', async () => {
  const [one, two] = [await member('b1'), await member('b2')];
  const first = await tokenOf('slot-b', one);
  const second = await tokenOf('slot-b', one);
  assert.ok(second > first);
  assert.equal(await releaseLease(arbiter.query, 'slot-b', first), false, 'a release that came late');
  assert.equal((await acquire('slot-b', two)).outcome, 'held');
  assert.equal(await releaseLease(arbiter.query, 'slot-b', second), true);
  assert.ok((await tokenOf('slot-b', two)) > second);
});

test('a named lease is free when its holder was lost, has left or has rejoined', async () => {
  const endings: Record<string, string> = {
    lost: `update holdfast.member set state = 'lost', token = holdfast.next_token() where instance = $1`,
    left: `update holdfast.member set left_at = now() where instance = $1`,
    rejoined: `select holdfast.member_join($1, 'new', array['agent-of-' || $1], null, 60000, 'up', '{}')`,
  };
  const other = await member('c-other');
  for (const [name, ending] of Object.entries(endings)) {
    const holder = await member(`c-${name}`);
    await tokenOf(`slot-c-${name}`, holder);
    assert.equal((await acquire(`slot-c-${name}`, other)).outcome, 'held');
    await arbiter.query(ending, [holder.instance]);
    assert.deepEqual(await acquire(`slot-c-${name}`, holder), { outcome: 'fenced' }, name);
    await tokenOf(`slot-c-${name}`, other);
  }
});

test('a holder whose lease ran out but who was not declared lost still holds: a suspicion frees nothing', async () => {
  const [silent, other] = [await member('d1'), await member('d2')];
  await tokenOf('slot-d', silent);
  await arbiter.query(
    `update holdfast.member set lease_until = now() - interval '1 minute' where instance = 'd1'`,
  );
  assert.deepEqual(await acquire('slot-d', other), { outcome: 'held', holder: 'd1' });
  assert.deepEqual(await acquire('slot-d', silent), { outcome: 'fenced' }, 'nor may it take anything itself');
});

test('of many who ask at once exactly one is granted', async () => {
  const members = await Promise.all(['e1', 'e2', 'e3', 'e4', 'e5', 'e6'].map((name) => member(name)));
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(members.map((one) => acquire(`slot-e-${round}`, one)));
    assert.equal(answers.filter(({ outcome }) => outcome === 'granted').length, 1);
    assert.equal(answers.filter(({ outcome }) => outcome === 'held').length, 5);
  }
});

test('P1: a member that joined after the statement of another began is not robbed by it', async () => {
  // A holder of long ago has ended. A slow asker waits for the row; before it gets it, somebody who joined in the
  // meantime is granted the lease. The asker's first snapshot does not know that member.
  const [gone, slow] = [await member('f-gone'), await member('f-slow')];
  await tokenOf('slot-f', gone);
  await arbiter.query(`update holdfast.member set left_at = now() where instance = 'f-gone'`);
  const { waiting } = await arbiter.transaction(async (query) => {
    await query(`select from holdfast.lease where name = 'slot-f' for update`);
    const asked = acquire('slot-f', slow);
    for (;;) {
      const [row] = await query<{ blocked: boolean }>(
        'select exists (select from pg_locks where not granted) as blocked',
      );
      if (row?.blocked) break;
    }
    const fresh = await member('f-fresh'); // committed, on a connection of its own
    assert.equal((await acquireLease(query, 'slot-f', fresh)).outcome, 'granted');
    return { waiting: asked };
  });
  assert.deepEqual(await waiting, { outcome: 'held', holder: 'f-fresh' });
});

test('P1: for one ttl after a failover no named lease is granted', async () => {
  const own = openArbiter({ url: await postgres.createDatabase() });
  try {
    const [row] = await own.query<{ answer: { token: string } }>(
      `select holdfast.member_join('g1', 'agent', '{}', null, 60000, 'up', '{}') as answer`,
    );
    const holder = { instance: 'g1', token: BigInt(row?.answer.token ?? 0) };
    await own.query(`create or replace function holdfast.timeline() returns int language sql as 'select 7'`);
    assert.deepEqual(await acquireLease(own.query, 'slot', holder), { outcome: 'held', holder: '' });
    await own.query(
      `update holdfast.timeline_start set since = since - interval '1 minute' where timeline = 7`,
    );
    assert.equal((await acquireLease(own.query, 'slot', holder)).outcome, 'granted');
  } finally {
    await own.close();
  }
});
