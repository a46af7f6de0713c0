import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { openIdempotencyLedger } from '../idempotency/idempotency-ledger.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { builtinEvents } from './builtin-events.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
before(async () => {
  postgres = await startTestPostgres();
  arbiter = openArbiter({ url: await postgres.createDatabase(), max: 4 });
});
after(async () => {
  await arbiter?.close();
  await postgres?.stop();
});

test('the built-in event removes idempotency keys that ran out, and says how many', async () => {
  const events = builtinEvents(arbiter, { ledgerKeepMs: 60_000 });
  const event = events.find(({ settings }) => settings.name === 'holdfast-prune-idempotency');
  const ledger = openIdempotencyLedger(arbiter.query, { keepMs: 60_000, leaseMs: 1_000, balancer: 'b1' });
  const fingerprint = '00'.repeat(32);
  for (const key of ['a', 'b', 'c']) await ledger.claim({ key, fingerprint });
  const { signal } = new AbortController();
  assert.equal(await event?.task(signal), null);
  await arbiter.query(`update holdfast.idempotency set expires_at = now() where balancer = 'b1'`);
  await ledger.claim({ key: 'd', fingerprint });
  assert.equal(await event?.task(signal), 'removed 3 idempotency keys');
  assert.equal((await ledger.claim({ key: 'd', fingerprint })).kind, 'running');
});
