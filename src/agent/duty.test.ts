import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { plainFacts } from '../members/member-facts.fixture.ts';
import { join, leave, type Membership } from '../members/membership.ts';
import { silentLog } from '../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { InstanceDuty } from './duty.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
});
after(() => postgres.stop());

interface Candidate {
  readonly duty: InstanceDuty;
  readonly membership: Membership;
  mayAct: boolean;
}

/** Candidates of a cluster of their own. */
async function candidates(...names: string[]): Promise<Candidate[]> {
  arbiter = openArbiter({ url: await postgres.createDatabase() });
  return Promise.all(
    names.map(async (instance) => {
      const result = await join(arbiter.query, {
        instance,
        agentId: `agent-of-${instance}`,
        provedDead: [],
        watched: null,
        ttlMs: 60_000,
        state: 'up',
        facts: plainFacts,
      });
      assert.equal(result.outcome, 'joined');
      const { membership } = result as { membership: Membership };
      const candidate = { membership, mayAct: true } as { mayAct: boolean; membership: Membership };
      const lease = { membership, remainingMs: () => (candidate.mayAct ? 1_000 : 0) };
      const duty = new InstanceDuty({
        query: arbiter.query,
        name: 'leader',
        words: 'leads',
        instance,
        lease,
        log: silentLog,
      });
      return Object.assign(candidate, { duty });
    }),
  );
}

test('of several that ask at once one is the leader', async (t) => {
  const all = await candidates('a', 'b', 'c');
  t.after(() => arbiter.close());
  const answers = await Promise.all(all.map(({ duty }) => duty.claim()));
  assert.equal(answers.filter((tenure) => tenure !== undefined).length, 1);
});

test('a leader that is started again stays the leader, one that cannot be started gives it back', async (t) => {
  const [one, other] = (await candidates('a', 'b')) as [Candidate, Candidate];
  t.after(() => arbiter.close());
  const tenure = await one.duty.claim();
  await one.duty.release({ isKept: true });
  assert.equal(await other.duty.claim(), undefined);
  assert.equal(await one.duty.claim(), tenure);
  assert.equal(tenure?.over.aborted, false);
  await one.duty.release({ isKept: false });
  assert.equal(tenure?.over.aborted, true);
  assert.ok(await other.duty.claim());
});

test('who abstains does not become the leader, and ends being it when the process has ended', async (t) => {
  const [one, other] = (await candidates('a', 'b')) as [Candidate, Candidate];
  t.after(() => arbiter.close());
  const tenure = await one.duty.claim();
  one.duty.abstains = true;
  assert.equal(tenure?.over.aborted, false);
  await one.duty.release({ isKept: true });
  assert.equal(tenure?.over.aborted, true);
  assert.equal(await one.duty.claim(), undefined);
  assert.ok(await other.duty.claim());
});

test('P4: a leader whose lease ran out is told so, and is it again only by asking', async (t) => {
  const [one, other] = (await candidates('a', 'b')) as [Candidate, Candidate];
  t.after(() => arbiter.close());
  const tenure = await one.duty.claim();
  one.duty.expired();
  assert.equal(tenure?.over.aborted, true);
  one.mayAct = false;
  assert.equal(await one.duty.claim(), undefined);
  await leave(arbiter.query, one.membership);
  assert.ok(await other.duty.claim());
});

test('after a failover a leader that the arbiter does not know any more is told, one that it knows stays it', async (t) => {
  const [one, other] = (await candidates('a', 'b')) as [Candidate, Candidate];
  t.after(() => arbiter.close());
  const tenure = await one.duty.claim();
  one.duty.renewed({ timeline: 1 });
  one.duty.renewed({ timeline: 2 });
  // Its own answer comes after one that was asked later.
  assert.equal(await other.duty.claim(), undefined);
  assert.equal(tenure?.over.aborted, false);

  await arbiter.query('delete from holdfast.lease');
  assert.ok(await other.duty.claim());
  one.duty.renewed({ timeline: 3 });
  await new Promise<void>((done) => {
    if (tenure?.over.aborted) done();
    else tenure?.over.addEventListener('abort', () => done(), { once: true });
  });
});

test('whenever the lease is proved anew, the leader is told how long that is good for', async (t) => {
  const [one] = (await candidates('a')) as [Candidate];
  t.after(() => arbiter.close());
  const tenure = await one.duty.claim();
  const proofs: number[] = [];
  tenure?.onProof((remainingMs) => proofs.push(remainingMs));
  one.duty.renewed({ timeline: 1 });
  one.duty.renewed({ timeline: 1 });
  assert.deepEqual(proofs, [1_000, 1_000]);
});
