import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import type { IdempotencyAnswer, StoredResponse } from '../balancer/idempotency.ts';
import { type Arbiter, openArbiter, type Query } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import {
  type IdempotencyLedgerOptions,
  openIdempotencyLedger,
  pruneIdempotency,
} from './idempotency-ledger.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
  arbiter = openArbiter({ url: await postgres.createDatabase(), max: 8 });
});
beforeEach(() => arbiter.query('truncate holdfast.idempotency'));
after(async () => {
  await arbiter?.close();
  await postgres?.stop();
});

const hour = 3_600_000;
const open = (options: Partial<IdempotencyLedgerOptions> = {}, query: Query = arbiter.query) =>
  openIdempotencyLedger(query, { keepMs: 24 * hour, leaseMs: 60_000, balancer: 'b1', ...options });

const fingerprintOf = (text: string) => createHash('sha256').update(text).digest('hex');
const order = { key: 'order-1', fingerprint: fingerprintOf('POST /orders {"chair":1}') };
const created: StoredResponse = {
  status: 201,
  headers: [
    'Location',
    '/orders/1',
    'Set-Cookie',
    'a=1',
    'Set-Cookie',
    'b="2\\, {null}"',
    'X-Empty',
    '',
    'X-Name',
    'caf\u00e9',
  ],
  body: Buffer.from([0, 1, 254, 255]),
};

function granted(answer: IdempotencyAnswer): string {
  assert.equal(answer.kind, 'granted');
  return (answer as { token: string }).token;
}

/** As if so much time had passed on the arbiter's clock. */
const age = (ms: number) =>
  arbiter.query(
    `update holdfast.idempotency set claimed_at = claimed_at - $1 * interval '1 ms',
       lease_until = lease_until - $1 * interval '1 ms', expires_at = expires_at - $1 * interval '1 ms'`,
    [ms],
  );

test('a request that was carried out gets the same response whenever it comes again, on any balancer', async () => {
  const [one, two] = [open(), open({ balancer: 'b2' })];
  await one.finish(granted(await one.claim(order)), created);
  for (const ledger of [one, two, one]) {
    const answer = await ledger.claim(order);
    assert.deepEqual(answer, { kind: 'done', response: created });
  }
});

test('a repetition that comes while the first one is under way is told so', async () => {
  const token = granted(await open().claim(order));
  assert.deepEqual(await open({ balancer: 'b2' }).claim(order), { kind: 'running' });
  await open().finish(token, created);
  assert.equal((await open().claim(order)).kind, 'done');
});

test('P7: of many that claim a key at once exactly one is granted, in every round', async () => {
  const ledgers = Array.from({ length: 12 }, (_, index) => open({ balancer: `b${index}` }));
  for (let round = 0; round < 10; round++) {
    const request = { ...order, key: `race-${round}` };
    const answers = await Promise.all(ledgers.map((ledger) => ledger.claim(request)));
    assert.equal(answers.filter(({ kind }) => kind === 'granted').length, 1);
    assert.equal(answers.filter(({ kind }) => kind === 'running').length, ledgers.length - 1);
  }
});

test('P7: a key that is released and claimed by many at once has one holder at every moment', async () => {
  const ledger = open();
  let holders = 0;
  let grants = 0;
  const client = async () => {
    for (let tries = 0; tries < 15; tries++) {
      const answer = await ledger.claim(order);
      if (answer.kind !== 'granted') {
        assert.equal(answer.kind, 'running');
        continue;
      }
      grants++;
      assert.equal(++holders, 1);
      await arbiter.query('select'); // others ask meanwhile
      holders--;
      await ledger.release(answer.token);
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  assert.ok(grants > 1, `only ${grants} grants: nothing was contended`);
});

test('the same key for another request is a mismatch, and reveals nothing of the first one', async () => {
  const other = { key: order.key, fingerprint: fingerprintOf('POST /orders {"chair":2}') };
  const ledger = open();
  const token = granted(await ledger.claim(order));
  assert.deepEqual(await ledger.claim(other), { kind: 'mismatch' });
  await ledger.finish(token, created);
  assert.deepEqual(await ledger.claim(other), { kind: 'mismatch' });
  assert.equal((await ledger.claim(order)).kind, 'done', 'the first one is as it was');
});

test('a key that was released is as if it had never been used, by whatever request', async () => {
  const ledger = open();
  await ledger.release(granted(await ledger.claim(order)));
  granted(await ledger.claim({ ...order, fingerprint: fingerprintOf('another one') }));
});

test('P7: a request whose instance was lost is never carried out again: nobody knows', async () => {
  const ledger = open();
  const token = granted(await ledger.claim(order));
  await ledger.forget(token);
  assert.deepEqual(await ledger.claim(order), { kind: 'unknown' });
  await ledger.release(token);
  await ledger.finish(token, created);
  assert.deepEqual(await ledger.claim(order), { kind: 'unknown' }, 'what was forgotten stays so');
});

test('P7: the claim of a balancer that died is unknown after its lease, and is not granted again', async () => {
  const ledger = open({ leaseMs: 60_000 });
  const token = granted(await ledger.claim(order));
  await age(59_000);
  assert.deepEqual(await ledger.claim(order), { kind: 'running' });
  await age(2_000);
  assert.deepEqual(await ledger.claim(order), { kind: 'unknown' });
  await ledger.finish(token, created);
  assert.equal((await ledger.claim(order)).kind, 'done', 'it was slow, not dead: its response counts');
});

test('a key is free again when its time is over, pruned or not', async () => {
  const ledger = open({ keepMs: hour, leaseMs: 60_000 });
  const first = granted(await ledger.claim(order));
  await ledger.finish(first, created);
  await age(hour);
  assert.equal((await ledger.claim(order)).kind, 'done', 'kept for an hour after the longest request');
  await age(61_000);
  const second = granted(await ledger.claim({ ...order, fingerprint: fingerprintOf('another one') }));
  assert.deepEqual(await ledger.claim(order), { kind: 'mismatch' });
  await ledger.finish(first, created);
  await ledger.release(first);
  const [row] = await arbiter.query<{ state: string; status: number | null }>(
    'select state, status from holdfast.idempotency',
  );
  assert.deepEqual(row, { state: 'running', status: null }, 'the token of the first claim changes nothing');
  await ledger.finish(second, created);
});

test('P7: of many that claim a key that ran out exactly one is granted, also while it is pruned', async () => {
  const ledger = open({ keepMs: hour });
  for (let round = 0; round < 10; round++) {
    await arbiter.query('truncate holdfast.idempotency');
    await ledger.finish(granted(await ledger.claim(order)), created);
    await age(2 * hour);
    const asked = Array.from({ length: 7 }, () => ledger.claim(order));
    const [answers] = await Promise.all([Promise.all(asked), pruneIdempotency(arbiter.query, 10)]);
    assert.equal(answers.filter(({ kind }) => kind === 'granted').length, 1);
    assert.equal(answers.filter(({ kind }) => kind === 'running').length, 6);
  }
});

test('only keys that ran out are pruned, the oldest first, and so many at most', async () => {
  const ledger = open({ keepMs: hour });
  for (const key of ['old-1', 'old-2', 'old-3']) granted(await ledger.claim({ ...order, key }));
  await age(2 * hour);
  granted(await ledger.claim({ ...order, key: 'new' }));
  assert.equal(await pruneIdempotency(arbiter.query, 2), 2);
  assert.equal(await pruneIdempotency(arbiter.query, 2), 1);
  assert.equal(await pruneIdempotency(arbiter.query, 2), 0);
  assert.equal((await ledger.claim({ ...order, key: 'new' })).kind, 'running');
});

test('P7: a response that is too large is not kept, but that the request was carried out is', async () => {
  const ledger = open();
  const limit = 64 * 1024;
  const fits = { ...created, headers: ['A', 'b'], body: Buffer.alloc(limit - 2, 'x') };
  await ledger.finish(granted(await ledger.claim({ ...order, key: 'fits' })), fits);
  assert.deepEqual(await ledger.claim({ ...order, key: 'fits' }), { kind: 'done', response: fits });

  const larger = { ...fits, body: Buffer.alloc(limit - 1, 'x') };
  await ledger.finish(granted(await ledger.claim(order)), larger);
  const answer = await ledger.claim(order);
  assert.ok(answer.kind === 'done');
  assert.equal(answer.response.status, 201);
  assert.match(Buffer.from(answer.response.body).toString(), /was carried out\. .* too large to be kept/);
});

test('a token cannot be guessed from the key or from another token, and must be whole', async () => {
  const ledger = open();
  const one = granted(await ledger.claim(order));
  const two = granted(await ledger.claim({ ...order, key: 'order-2' }));
  const bytes = Buffer.from(one, 'base64url');
  const forged = Buffer.concat([bytes.subarray(0, 32), Buffer.from(two, 'base64url').subarray(32)]);
  for (const token of ['', 'order-1', one.slice(0, -4), forged.toString('base64url')]) {
    await ledger.finish(token, created);
    await ledger.release(token);
    await ledger.forget(token);
    assert.deepEqual(await ledger.claim(order), { kind: 'running' }, token);
  }
});

test('the arbiter holds neither the key nor the request in the clear', async () => {
  await open({ balancer: 'edge-7' }).claim({ ...order, key: 'jane@example.com' });
  const [row] = await arbiter.query<{ text: string; key_hash: Buffer; balancer: string }>(
    'select i::text as text, key_hash, balancer from holdfast.idempotency i',
  );
  assert.ok(!row?.text.includes('jane') && !row?.text.includes(Buffer.from('jane').toString('hex')));
  assert.equal(row?.key_hash.toString('hex'), fingerprintOf('jane@example.com'));
  assert.equal(row?.balancer, 'edge-7');
});

test('a claim whose answer was lost is given back: nothing was sent under it', async () => {
  let statements = 0;
  const lossy: Query = async (text, values, options) => {
    statements++;
    const rows = await arbiter.query(text, values, options);
    if (text.includes('idempotency_claim')) throw new Error('the answer was lost');
    return rows as never;
  };
  await assert.rejects(open({}, lossy).claim(order), /the answer was lost/);
  const isFree = async () => {
    const [row] = await arbiter.query('select from holdfast.idempotency');
    return row === undefined;
  };
  const limitMs = performance.now() + 5_000;
  while (!(await isFree())) assert.ok(performance.now() < limitMs, 'the key is still taken');
  granted(await open().claim(order));
  assert.equal(statements, 2);
});

test('while the arbiter does not answer a claim is refused within its deadline', async () => {
  const own = openArbiter({ url: await postgres.createDatabase(), max: 2 });
  try {
    const ledger = open({}, own.query);
    await ledger.claim(order);
    postgres.freeze();
    const startMs = performance.now();
    await assert.rejects(ledger.claim({ ...order, key: 'order-2' }), { code: 'ARBITER_UNAVAILABLE' });
    assert.ok(performance.now() - startMs < 4_000);
  } finally {
    postgres.thaw();
    await own.close();
  }
});
