import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { applyDelta, conflictingKeys, type SessionValues, sessionDelta } from '../protocol/session-merge.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { eventually } from './fixtures/eventually.ts';
import { openSessions } from './index.ts';
import { openSessionCodec } from './session-codec.ts';
import {
  destroySessions,
  findSessions,
  listSessions,
  loadSession,
  pruneSessions,
  revokeUserSessions,
  type SaveRequest,
  saveSession,
  sessionsPerInstance,
  touchSessions,
} from './session-statements.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
  arbiter = openArbiter({ url: await postgres.createDatabase(), max: 8 });
});
after(async () => {
  await arbiter.close();
  await postgres.stop();
});

const codec = openSessionCodec([]);
const newId = () => randomBytes(32).toString('hex');

function saveOf(
  texts: Record<string, string>,
  rest: Partial<SaveRequest> = {},
  read: SessionValues = new Map(),
): SaveRequest {
  const delta = codec.encode('', sessionDelta(read, new Map(Object.entries(texts))));
  return {
    ...{ idHash: newId(), isNew: true, delta, seenVersion: undefined, saveId: randomUUID(), user: undefined },
    ...{ idleMs: 60_000, absoluteMs: 600_000, instance: undefined, notify: false, ...rest },
  };
}

async function saved(rest: Partial<SaveRequest> = {}): Promise<string> {
  const save = saveOf({ a: '1' }, rest);
  await saveSession(arbiter, save);
  return save.idHash;
}

test('the arbiter applies the same rules as the protocol: what conflicts, and what a save leaves behind', async () => {
  const key = fc.constantFrom('a', 'b', '__proto__', 'c"\\');
  const texts = fc.dictionary(key, fc.constantFrom('1', '"\\u0000"', 'null'), { maxKeys: 3 });
  await fc.assert(
    fc.asyncProperty(
      texts,
      fc.array(texts, { maxLength: 4 }),
      fc.array(fc.boolean()),
      async (start, steps, lag) => {
        const idHash = newId();
        const first = await saveSession(arbiter, saveOf(start, { idHash }));
        let model = applyDelta(
          new Map(),
          sessionDelta(new Map(), new Map(Object.entries(start))),
          first.version,
        );
        let read = model; // what a slow request still has in its hands
        for (const [index, step] of steps.entries()) {
          if (!lag[index]) read = model;
          const delta = sessionDelta(read, new Map(Object.entries(step)));
          const row = await saveSession(arbiter, saveOf(step, { idHash, isNew: false }, read));
          const conflicts = conflictingKeys(model, delta).length > 0;
          assert.equal(row.outcome, conflicts ? 'conflict' : 'saved');
          if (!conflicts) model = applyDelta(model, delta, row.version);
          assert.deepEqual(new Map(codec.decode(idHash, row.data ?? {})), new Map(model));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('P6: a session that was read is updated or not at all, never inserted', async () => {
  const row = await saveSession(arbiter, saveOf({ a: '1' }, { isNew: false }));
  assert.equal(row.outcome, 'gone');
  const idHash = await saved();
  assert.equal(await destroySessions(arbiter, [idHash]), 1);
  for (const isNew of [true, false]) {
    assert.equal((await saveSession(arbiter, saveOf({ b: '2' }, { idHash, isNew }))).outcome, 'destroyed');
  }
  assert.equal(await loadSession(arbiter, idHash), undefined);
  assert.equal((await touchSessions(arbiter, [touchOf(idHash)], 'x')).size, 0);
});

test('the same save sent twice is applied once', async () => {
  const save = saveOf({ n: '1' });
  const once = await saveSession(arbiter, save);
  const twice = await saveSession(arbiter, save);
  assert.deepEqual([twice.outcome, twice.version], ['saved', once.version]);
});

test('data comes back only when somebody else wrote in between', async () => {
  const idHash = newId();
  const { version } = await saveSession(arbiter, saveOf({ a: '1' }, { idHash }));
  const mine = saveOf({ b: '2' }, { idHash, isNew: false, seenVersion: version });
  assert.equal((await saveSession(arbiter, mine)).data, null);
  const stale = saveOf({ c: '3' }, { idHash, isNew: false, seenVersion: version });
  assert.deepEqual(Object.keys((await saveSession(arbiter, stale)).data ?? {}).sort(), ['a', 'b', 'c']);
});

test('versions start above every version of an earlier timeline', async () => {
  const { version } = await saveSession(arbiter, saveOf({ a: '1' }));
  assert.ok(version >= 2 ** 32 && Number.isSafeInteger(version));
});

test('the absolute limit ends a session that is in use', async () => {
  const idHash = await saved({ absoluteMs: 40 });
  await eventually('it ends', async () => (await loadSession(arbiter, idHash)) === undefined);
  assert.equal((await saveSession(arbiter, saveOf({ b: '1' }, { idHash, isNew: false }))).outcome, 'expired');
});

const touchOf = (idHash: string, rest: { firstAgeMs?: number; ageMs?: number; idleMs?: number } = {}) => ({
  ...{ idHash, firstAgeMs: 0, ageMs: 0, idleMs: 60_000, ...rest },
});

async function ageBy(ms: number, ...ids: string[]): Promise<void> {
  await arbiter.query(
    `update holdfast.session_seen
     set seen_at = seen_at - holdfast.session_interval($1),
         expire_bucket = holdfast.session_bucket(seen_at - holdfast.session_interval($1) + holdfast.session_interval(idle_ms))
     where encode(id_hash, 'hex') = any ($2)`,
    [ms, ids],
  );
}

test('a late batch of touches counts from when they happened, and only for who was alive then', async () => {
  const [active, idle] = [await saved(), await saved()];
  await ageBy(90_000, active, idle); // both ran out 30 s ago, for all the arbiter knows
  const touched = await touchSessions(
    arbiter,
    [
      touchOf(active, { firstAgeMs: 45_000, ageMs: 10_000 }),
      touchOf(idle, { firstAgeMs: 10_000, ageMs: 10_000 }),
    ],
    'shop-1',
  );
  assert.deepEqual([...touched.keys()], [active]);
  const row = await loadSession(arbiter, active);
  assert.ok(row && row.idleRemainingMs > 45_000 && row.idleRemainingMs <= 50_000);
  assert.equal(await loadSession(arbiter, idle), undefined);
});

test('a touch never moves last-seen back, nor takes a user away from where they are', async () => {
  const idHash = await saved({ instance: 'here' });
  await touchSessions(arbiter, [touchOf(idHash, { firstAgeMs: 30_000, ageMs: 20_000 })], 'elsewhere');
  const row = await loadSession(arbiter, idHash);
  assert.ok(row && row.idleRemainingMs > 55_000);
  assert.equal((await sessionsPerInstance(arbiter)).get('elsewhere'), undefined);
  assert.equal((await sessionsPerInstance(arbiter)).get('here'), 1);
});

test('two instances that touch the same users at once do not block each other for good', async () => {
  const ids = await Promise.all(Array.from({ length: 50 }, () => saved()));
  const batches = Array.from({ length: 8 }, (_, number) => {
    const order = number % 2 ? ids : [...ids].reverse();
    return touchSessions(
      arbiter,
      order.map((idHash) => touchOf(idHash)),
      `i${number}`,
    );
  });
  for (const batch of await Promise.all(batches)) assert.equal(batch.size, ids.length);
});

test('a copy that is no longer current is found out by the next batch of touches', async () => {
  const url = await postgres.createDatabase();
  const [one, other] = [openSessions({ database: url }), openSessions({ database: url })];
  const get = (store: typeof one.store, id: string) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      store.get(id, (error, session) => (error || !session ? reject(error) : resolve(session)));
    });
  const set = (store: typeof one.store, id: string, session: object) =>
    new Promise<void>((resolve, reject) =>
      store.set(id, session, (error) => (error ? reject(error) : resolve())),
    );
  try {
    await set(one.store, 'shared', { cookie: { originalMaxAge: 900 }, step: 1 });
    await eventually('the listener is heard', () => one.status().listenerHeardMsAgo !== undefined);
    const mine = await get(one.store, 'shared');
    const theirs = await get(other.store, 'shared');
    assert.equal(one.status().cached, 1);
    await set(other.store, 'shared', Object.assign(theirs, { step: 2 }));
    one.store.touch('shared', mine);
    await eventually('the old copy is dropped', () => one.status().cached === 0);
  } finally {
    await one.close();
    await other.close();
  }
});

test('sessions are counted and listed while they live, and found by the beginning of their hash', async () => {
  const user = randomUUID();
  const idHash = await saved({ instance: 'counted', user: { id: user } });
  const ended = await saved({ instance: 'counted', user: { id: user } });
  await destroySessions(arbiter, [ended]);
  assert.equal((await sessionsPerInstance(arbiter)).get('counted'), 1);
  const [listed, ...more] = await listSessions(arbiter, { user });
  assert.deepEqual([listed?.id, listed?.instance, more], [idHash, 'counted', []]);
  assert.deepEqual(await findSessions(arbiter, idHash.slice(0, 10)), [idHash]);
  assert.deepEqual(await findSessions(arbiter, 'not hex'), []);
  assert.equal(await revokeUserSessions(arbiter, user), 1);
  assert.equal(await revokeUserSessions(arbiter, user), 0);
});

test('pruning takes what ran out and old tombstones, a few at a time, and leaves the rest', async () => {
  const own = openArbiter({ url: await postgres.createDatabase() });
  const keep = saveOf({ a: '1' });
  const recent = saveOf({ a: '1' });
  const old = Array.from({ length: 7 }, () => saveOf({ a: '1' }));
  for (const save of [keep, recent, ...old]) await saveSession(own, save);
  await own.query(
    `update holdfast.session_seen set seen_at = seen_at - interval '1 day', expire_bucket = expire_bucket - 144
     where encode(id_hash, 'hex') = any ($1)`,
    [old.slice(0, 5).map(({ idHash }) => idHash)],
  );
  await destroySessions(own, [recent.idHash, ...old.slice(5).map(({ idHash }) => idHash)]);
  await own.query(
    `update holdfast.session set destroyed_at = destroyed_at - interval '2 hours' where encode(id_hash, 'hex') = any ($1)`,
    [old.slice(5).map(({ idHash }) => idHash)],
  );
  const busy = own.transaction(async (query) => {
    await query(`select 1 from holdfast.session where encode(id_hash, 'hex') = $1 for update`, [
      old[0]?.idHash,
    ]);
    assert.equal(await pruneSessions(own, 3), 3);
    assert.equal(await pruneSessions(own, 100), 3); // not the one that somebody works on
  });
  await busy;
  assert.equal(await pruneSessions(own, 100), 1);
  assert.equal(await pruneSessions(own, 100), 0);
  assert.ok(await loadSession(own, keep.idHash));
  assert.equal((await saveSession(own, { ...recent, isNew: true })).outcome, 'destroyed');
  await own.close();
});
