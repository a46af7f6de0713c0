import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { tokenParts } from '../protocol/token.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import {
  declareLost,
  type HeartbeatResult,
  heartbeat,
  type JoinResult,
  join,
  leave,
  type MemberFacts,
  type Membership,
} from './membership.ts';

const ttlMs = 5_000;
const nothingNew = { state: null, facts: null };

const factsOf = (host: string): MemberFacts => ({
  host,
  agentPid: 4711,
  address: null,
  pid: null,
  revision: 1,
  healthPage: null,
  reason: null,
});

describe('members on a real arbiter whose clock is set by hand', () => {
  let postgres: TestPostgres;
  let arbiter: Arbiter;
  before(async () => {
    postgres = await startTestPostgres();
  });
  after(() => postgres.stop());

  beforeEach(async () => {
    arbiter = openArbiter({ url: await postgres.createDatabase() });
    await arbiter.query('create table public.settings (at timestamptz not null, timeline int not null)');
    await arbiter.query(`insert into public.settings values ('2030-01-01', 1)`);
    await arbiter.query(`create or replace function holdfast.now() returns timestamptz language sql stable as
      'select at from public.settings'`);
    await arbiter.query(`create or replace function holdfast.timeline() returns int language sql stable as
      'select timeline from public.settings'`);
  });
  const closing = () => arbiter.close();

  const pass = (ms: number) =>
    arbiter.query(`update public.settings set at = at + $1 * interval '1 ms'`, [ms]);
  const failOver = () => arbiter.query('update public.settings set timeline = timeline + 1');
  const request = (
    instance: string,
    agentId: string,
    rest: { provedDead?: string[]; watched?: string | null } = {},
  ) =>
    join(arbiter.query, {
      instance,
      agentId,
      provedDead: rest.provedDead ?? [],
      watched: rest.watched ?? null,
      ttlMs,
      state: 'up',
      facts: factsOf(`host-of-${agentId}`),
    });
  const joined = (result: JoinResult): Membership => {
    assert.equal(result.outcome, 'joined');
    return (result as Extract<JoinResult, { outcome: 'joined' }>).membership;
  };
  const held = (result: JoinResult) => {
    assert.equal(result.outcome, 'held');
    return (result as Extract<JoinResult, { outcome: 'held' }>).holder;
  };
  const beat = (member: Membership) => heartbeat(arbiter.query, member, ttlMs, nothingNew);
  /** Renews each second for that long: afterwards the member is a witness. */
  const beatFor = async (seconds: number, ...members: Membership[]) => {
    for (let second = 0; second < seconds; second++) {
      await pass(1_000);
      for (const member of members) assert.equal((await beat(member)).outcome, 'renewed');
    }
  };
  const expiredFor = async (member: Membership) => {
    const result = await beat(member);
    assert.equal(result.outcome, 'renewed');
    return result.outcome === 'renewed' ? result.expired.map(({ instance }) => instance) : [];
  };

  test('a name that nobody has is given at once, with the first incarnation', async (t) => {
    t.after(closing);
    const result = await request('shop-1', 'agent-a');
    assert.equal(joined(result).incarnation, 1);
    assert.equal((result as { graceMs: number }).graceMs, 0);
  });

  test('a join is refused while another live agent holds the name, and the answer names the holder', async (t) => {
    t.after(closing);
    const first = joined(await request('shop-1', 'agent-a'));
    const holder = held(await request('shop-1', 'agent-b'));
    assert.equal(holder.facts.host, 'host-of-agent-a');
    assert.equal(holder.incarnation, first.incarnation);
    assert.equal(holder.remainingMs, ttlMs);
    assert.equal((await beat(first)).outcome, 'renewed');
  });

  test('P5: an agent that proved its predecessor dead rejoins at once, and fences it', async (t) => {
    t.after(closing);
    const old = joined(await request('shop-1', 'agent-a'));
    const successor = joined(await request('shop-1', 'agent-b', { provedDead: ['agent-x', 'agent-a'] }));
    assert.equal(successor.incarnation, old.incarnation + 1);
    assert.ok(successor.token > old.token);
    assert.deepEqual(await beat(old), { outcome: 'fenced', because: 'taken over by another agent' });
  });

  test('P5: a proof about somebody else frees nothing', async (t) => {
    t.after(closing);
    joined(await request('shop-1', 'agent-a'));
    held(await request('shop-1', 'agent-b', { provedDead: ['agent-x'] }));
  });

  test('an agent whose answer was lost joins again under its own id', async (t) => {
    t.after(closing);
    const lost = joined(await request('shop-1', 'agent-a'));
    const again = joined(await request('shop-1', 'agent-a'));
    assert.ok(again.token > lost.token);
    assert.equal((await beat(lost)).outcome, 'fenced');
  });

  test('a lease that ran out is not for the taking: the newcomer must have watched that very renewal', async (t) => {
    t.after(closing);
    const old = joined(await request('shop-1', 'agent-a'));
    await pass(ttlMs + 1);
    const { renewedAt } = held(await request('shop-1', 'agent-b'));
    assert.equal((await beat(old)).outcome, 'renewed', 'a late heartbeat that comes first wins');
    await pass(ttlMs + 1);
    held(await request('shop-1', 'agent-b', { watched: renewedAt }));
    const later = held(await request('shop-1', 'agent-b'));
    joined(await request('shop-1', 'agent-b', { watched: later.renewedAt }));
    assert.equal((await beat(old)).outcome, 'fenced');
  });

  test('whoever watched cannot take a lease before it ran out', async (t) => {
    t.after(closing);
    joined(await request('shop-1', 'agent-a'));
    await pass(ttlMs);
    const { renewedAt } = held(await request('shop-1', 'agent-b'));
    held(await request('shop-1', 'agent-b', { watched: renewedAt }));
  });

  test('a member that leaves gives its name back at once, and a fenced one gives back nothing', async (t) => {
    t.after(closing);
    const first = joined(await request('shop-1', 'agent-a'));
    assert.equal(await leave(arbiter.query, first), true);
    assert.equal(await leave(arbiter.query, first), false);
    const second = joined(await request('shop-1', 'agent-b'));
    assert.equal(await leave(arbiter.query, first), false);
    assert.equal((await beat(second)).outcome, 'renewed');
    assert.deepEqual(await beat(first), { outcome: 'fenced', because: 'taken over by another agent' });
  });

  test('a heartbeat of a member that the arbiter does not know says so', async (t) => {
    t.after(closing);
    assert.deepEqual(await beat({ instance: 'nobody', incarnation: 1, token: 1n }), {
      outcome: 'fenced',
      because: 'unknown to the arbiter',
    });
  });

  test('a witness declares a silent member lost; the loser is told by whom', async (t) => {
    t.after(closing);
    const witness = joined(await request('shop-1', 'agent-a'));
    const silent = joined(await request('shop-2', 'agent-b'));
    await beatFor(6, witness);
    assert.deepEqual(await expiredFor(witness), ['shop-2']);
    assert.equal(await declareLost(arbiter.query, witness, silent), true);
    assert.equal(await declareLost(arbiter.query, witness, silent), false, 'once');
    const answer = await beat(silent);
    assert.match((answer as { because: string }).because, /^declared lost by shop-1: no heartbeat since /);
    assert.deepEqual(await expiredFor(witness), []);
    joined(await request('shop-2', 'agent-c'));
  });

  test('among many members each silent one is named to eight witnesses, however many are silent in a row', async (t) => {
    t.after(closing);
    const members: Membership[] = [];
    for (let index = 0; index < 40; index++)
      members.push(joined(await request(`m-${100 + index}`, `agent-${index}`)));
    const isSilent = (index: number) => (index >= 12 && index < 32) || index === 39 || index === 0; // the ring's seam too
    const silent = members.filter((_, index) => isSilent(index)).map(({ instance }) => instance);
    const living = members.filter((_, index) => !isSilent(index));
    await beatFor(6, ...living);
    const namedTo = new Map<string, number>();
    for (const member of living) {
      for (const name of await expiredFor(member)) namedTo.set(name, (namedTo.get(name) ?? 0) + 1);
    }
    assert.deepEqual([...namedTo.keys()].sort(), silent);
    for (const [name, times] of namedTo) assert.equal(times, 8, name);
  });

  test('a lease that is still valid cannot be declared lost, and an ended member declares nobody lost', async (t) => {
    t.after(closing);
    const witness = joined(await request('shop-1', 'agent-a'));
    const other = joined(await request('shop-2', 'agent-b'));
    await beatFor(6, witness, other);
    assert.equal(await declareLost(arbiter.query, witness, other), false);
    await leave(arbiter.query, witness);
    await pass(ttlMs + 1);
    assert.equal(await declareLost(arbiter.query, witness, other), false);
  });

  test('nobody is declared lost for one ttl after the arbiter was away', async (t) => {
    t.after(closing);
    const [one, two] = [
      joined(await request('shop-1', 'agent-a')),
      joined(await request('shop-2', 'agent-b')),
    ];
    await beatFor(6, one, two);
    await pass(60_000); // frozen, restarted or cut off: no heartbeat came through
    assert.deepEqual(await expiredFor(one), [], 'the first to come back must not end the others');
    assert.equal(await declareLost(arbiter.query, one, two), false);
    await beatFor(4, one);
    assert.deepEqual(await expiredFor(one), []);
    await beatFor(1, one);
    assert.deepEqual(await expiredFor(one), ['shop-2']);
    assert.equal(await declareLost(arbiter.query, one, two), true);
  });

  test('nobody is declared lost for one ttl after a failover, even if no time was lost', async (t) => {
    t.after(closing);
    const [one, two] = [
      joined(await request('shop-1', 'agent-a')),
      joined(await request('shop-2', 'agent-b')),
    ];
    await beatFor(6, one);
    await failOver();
    assert.equal(await declareLost(arbiter.query, one, two), false, 'its witness was of another timeline');
    assert.deepEqual(await expiredFor(one), []);
    await beatFor(5, one);
    assert.deepEqual(await expiredFor(one), ['shop-2']);
  });

  test('a step of the arbiter clock forward ends nobody, and a step back shortens no lease', async (t) => {
    t.after(closing);
    const [one, two] = [
      joined(await request('shop-1', 'agent-a')),
      joined(await request('shop-2', 'agent-b')),
    ];
    await beatFor(6, one, two);
    await pass(3_600_000);
    assert.deepEqual(await expiredFor(one), []);
    assert.equal((await beat(two)).outcome, 'renewed');
    await pass(-1_800_000);
    assert.equal((await beat(two)).outcome, 'renewed');
    const { remainingMs } = held(await request('shop-2', 'agent-c'));
    assert.equal(remainingMs, 1_800_000 + ttlMs);
  });

  test('P3: tokens only rise, across join, loss, takeover and a failover that lost its tail', async (t) => {
    t.after(closing);
    const tokens: bigint[] = [];
    const note = (member: Membership) => {
      tokens.push(member.token);
      return member;
    };
    const witness = note(joined(await request('shop-1', 'agent-a')));
    const silent = note(joined(await request('shop-2', 'agent-b')));
    await beatFor(6, witness);
    await declareLost(arbiter.query, witness, silent);
    note(joined(await request('shop-2', 'agent-c')));
    await arbiter.query(`select setval('holdfast.grant_sequence', 1)`); // the promoted standby is far behind
    await failOver();
    const after = note(joined(await request('shop-3', 'agent-d')));
    assert.equal(tokenParts(after.token).timeline, 2);
    assert.deepEqual(
      tokens,
      [...tokens].sort((one, other) => (one < other ? -1 : 1)),
    );
    assert.equal(new Set(tokens).size, tokens.length);
  });

  test('P1: for one ttl after a failover a new member is told to wait: its name may have been granted in the lost tail', async (t) => {
    t.after(closing);
    joined(await request('shop-1', 'agent-a'));
    await pass(60_000);
    await failOver();
    const graceOf = (result: JoinResult) => (result as { graceMs: number }).graceMs;
    assert.equal(graceOf(await request('shop-2', 'agent-b')), ttlMs);
    await pass(2_000);
    assert.equal(graceOf(await request('shop-3', 'agent-c')), ttlMs - 2_000);
    await pass(3_000);
    assert.equal(graceOf(await request('shop-4', 'agent-d')), 0);
  });

  test('a heartbeat and a declaration that meet take turns at the row: whoever has its lock first wins', async (t) => {
    t.after(closing);
    for (const first of ['heartbeat', 'declaration'] as const) {
      const witness = joined(await request(`witness-${first}`, `agent-w-${first}`));
      const late = joined(await request(`late-${first}`, `agent-l-${first}`));
      await beatFor(6, witness);
      const second = await arbiter.transaction(async (query) => {
        if (first === 'heartbeat') await heartbeat(query, late, ttlMs, nothingNew);
        else assert.equal(await declareLost(query, witness, late), true);
        const waiting = first === 'heartbeat' ? declareLost(arbiter.query, witness, late) : beat(late);
        for (;;) {
          const [row] = await query<{ blocked: boolean }>(
            'select exists (select from pg_locks where not granted) as blocked',
          );
          if (row?.blocked) return { waiting };
        }
      });
      const outcome = await second.waiting;
      if (first === 'heartbeat') assert.equal(outcome, false, 'the lease had been renewed');
      else assert.equal((outcome as { outcome: string }).outcome, 'fenced');
      assert.equal((await beat(late)).outcome, first === 'heartbeat' ? 'renewed' : 'fenced');
    }
  });

  test('a heartbeat brings maintenance and the newest revision, and tells listeners only what is news', async (t) => {
    const told: string[] = [];
    const connected = Promise.withResolvers<void>();
    const listener = arbiter.listen(['holdfast_members'], {
      onNotify: (_channel, payload) => told.push(payload),
      onConnect: () => connected.resolve(),
    });
    t.after(async () => {
      await listener.close();
      await arbiter.close();
    });
    await connected.promise;
    const member = joined(await request('shop-1', 'agent-a'));
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    told.length = 0; // it was told that somebody joined
    await arbiter.query(`update holdfast.member set maintenance = '{disk}'`);
    await arbiter.query(
      `insert into holdfast.revision (document, digest, author, message) values ('{}', '', '', '')`,
    );
    const answer = await heartbeat(arbiter.query, member, ttlMs, nothingNew);
    assert.equal(answer.outcome, 'renewed');
    const { events, ...news } = answer as Extract<HeartbeatResult, { outcome: 'renewed' }>;
    assert.deepEqual([events.runs, events.waitingMs, events.alarms], [[], null, false]);
    assert.deepEqual(news, {
      outcome: 'renewed',
      timeline: 1,
      maintenance: ['disk'],
      revision: 1,
      expired: [],
    });
    const marker = Promise.withResolvers<void>();
    const markers = arbiter.listen(['marker'], {
      onNotify: () => marker.resolve(),
      onConnect: () => undefined,
    });
    await heartbeat(arbiter.query, member, ttlMs, { state: 'draining', facts: factsOf('moved') });
    while (markers.lastHeardMs() < 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await arbiter.query(`notify marker`);
    await marker.promise;
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await markers.close();
    assert.deepEqual(told, ['shop-1']);
    assert.equal(held(await request('shop-1', 'agent-b')).facts.host, 'moved');
  });
});
