/** run.transaction on a real PostgreSQL and the real ledger: effects and outcome together, or neither. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';
import { type Arbiter, openArbiter } from '../../database/arbiter.ts';
import { sqlState } from '../../database/primary.ts';
import { HoldfastError } from '../../support/errors.ts';
import { startTestPostgres, type TestPostgres } from '../../testing/postgres.ts';
import { eventually, type Ledger, openLedger } from './claimed-run.fixture.ts';
import { StaleRunError } from './run-errors.ts';
import { commitWithRun, type TransactionClient } from './run-transaction.ts';

let postgres: TestPostgres;
let arbiter: Arbiter;
let other: Arbiter;
let ledger: Ledger;

before(async () => {
  postgres = await startTestPostgres();
  const url = await postgres.createDatabase();
  arbiter = openArbiter({ url, applicationName: 'application' });
  other = openArbiter({ url });
  await other.query('create table invoice (number int primary key, text text)');
  ledger = await openLedger(other);
});

after(async () => {
  await arbiter.close();
  await other.close();
  await postgres.stop();
});

beforeEach(async () => {
  await other.query('truncate invoice');
});

const runOf = (token: bigint, signal = new AbortController().signal, limitMs = 20_000) => ({
  token,
  signal,
  remainingMs: () => limitMs,
});

const invoice = (client: TransactionClient, number = 1) =>
  client.query('insert into invoice values ($1, $2)', [number, 'rope']);

async function invoices(): Promise<number> {
  const [row] = await other.query<{ count: number }>('select count(*)::int as count from invoice');
  return row?.count ?? -1;
}

/** Connections of the application that are in a transaction. */
async function openTransactions(): Promise<number> {
  const rows = await other.query(
    `select from pg_stat_activity where application_name = 'application' and (xact_start is not null and state <> 'idle')`,
  );
  return rows.length;
}

suite('A transaction of a run', () => {
  test('P1: commits the effects and the outcome of the run together, with what it returned as result', async () => {
    const token = await ledger.grant();
    const value = await commitWithRun(arbiter, runOf(token), async (client) => {
      await invoice(client);
      const { rows } = await client.query<{ number: number }>('select number from invoice');
      assert.equal(await invoices(), 0, 'nobody else sees it yet');
      return { invoiced: rows.length };
    });
    assert.deepEqual(value, { invoiced: 1 });
    assert.equal(await invoices(), 1);
    assert.deepEqual(await ledger.runOf(token), { outcome: 'succeeded', result: '{"invoiced":1}' });
    assert.equal(await openTransactions(), 0);
  });

  test('any text can be a result: quotes, backslashes, NUL, and no more of it than the limit', async () => {
    for (const [text, kept] of [
      [`it's \\' "fine"; drop table invoice; --`, `it's \\' "fine"; drop table invoice; --`],
      ['a\0b\\', 'a\u{fffd}b\\'],
      ['é'.repeat(3_000), 'é'.repeat(2_048)],
      [`x${'é'.repeat(3_000)}`, `x${'é'.repeat(2_047)}`],
      ['', ''],
    ]) {
      const token = await ledger.grant();
      await commitWithRun(arbiter, runOf(token), async () => text);
      assert.equal((await ledger.runOf(token))?.result, kept);
    }
  });

  test('P3: a token that counts no more is refused before anything is done', async () => {
    const token = await ledger.grant();
    await ledger.end(token);
    let begun = false;
    const refused = commitWithRun(arbiter, runOf(token), async () => {
      begun = true;
    });
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof StaleRunError);
      assert.equal(error.message, `Run ${token} counts no more: shop-1 was declared lost.`);
      return true;
    });
    assert.equal(begun, false);
    await assert.rejects(
      commitWithRun(arbiter, runOf(42n), async () => 1),
      /Run 42 counts no more: unknown to the arbiter/,
    );
  });

  test('P3: a run that is taken over during the work commits nothing', async () => {
    const token = await ledger.grant();
    const refused = commitWithRun(arbiter, runOf(token), async (client) => {
      await invoice(client);
      await ledger.end(token);
    });
    await assert.rejects(refused, StaleRunError);
    assert.equal(await invoices(), 0);
    assert.equal((await ledger.runOf(token))?.outcome, 'lost');
    assert.equal(await openTransactions(), 0);
  });

  test('P1: of two executors of one run exactly one commits', async () => {
    for (let round = 0; round < 5; round++) {
      await other.query('truncate invoice');
      const token = await ledger.grant();
      let both = 0;
      const met = Promise.withResolvers<void>();
      const executor = (number: number) =>
        commitWithRun(arbiter, runOf(token), async (client) => {
          await invoice(client, number);
          if (++both === 2) met.resolve();
          await met.promise;
        });
      const results = await Promise.allSettled([executor(1), executor(2)]);
      assert.deepEqual(results.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
      assert.ok(results.some((it) => it.status === 'rejected' && it.reason instanceof StaleRunError));
      assert.equal(await invoices(), 1);
    }
  });

  test('what the work throws rolls back and comes out as it is, whatever properties it has', async () => {
    const token = await ledger.grant();
    const thrown = Object.assign(new Error('no such file'), { code: 'ENOENT' });
    const refused = commitWithRun(arbiter, runOf(token), async (client) => {
      await invoice(client);
      throw thrown;
    });
    await assert.rejects(refused, (error) => error === thrown);
    assert.equal(await invoices(), 0);
    assert.equal((await ledger.runOf(token))?.outcome, null);

    const twice = commitWithRun(arbiter, runOf(token), async (client) => {
      await invoice(client);
      await invoice(client);
    });
    await assert.rejects(twice, (error) => sqlState(error) === '23505');
    // A run whose transaction was rolled back may try again.
    await commitWithRun(arbiter, runOf(token), (client) => invoice(client));
    assert.equal(await invoices(), 1);
  });

  test('a failed statement whose error was swallowed does not commit the rest', async () => {
    const token = await ledger.grant();
    const refused = commitWithRun(arbiter, runOf(token), async (client) => {
      await invoice(client);
      await invoice(client).catch(() => undefined);
    });
    await assert.rejects(refused, (error) => sqlState(error) === '25P02');
    assert.equal(await invoices(), 0);
    assert.equal((await ledger.runOf(token))?.outcome, null);
  });

  test('a constraint that is checked at the commit leaves neither effects nor outcome', async () => {
    await other.query('create table late (number int unique deferrable initially deferred)');
    const token = await ledger.grant();
    const refused = commitWithRun(arbiter, runOf(token), async (client) => {
      await client.query('insert into late values (1), (1)');
    });
    await assert.rejects(refused, (error) => sqlState(error) === '23505');
    assert.equal((await ledger.runOf(token))?.outcome, null);
    assert.equal(await openTransactions(), 0);
  });

  test('an isolation level may be chosen, savepoints may be used, and the transaction cannot be ended by hand', async () => {
    const token = await ledger.grant();
    await commitWithRun(arbiter, runOf(token), async (client) => {
      await client.query('set transaction isolation level serializable');
      await client.query('savepoint before');
      await invoice(client);
      await client.query('rollback to savepoint before');
      for (const text of ['commit', ' COMMIT;', 'rollback', 'begin', 'end', 'start transaction']) {
        await assert.rejects(client.query(text), /run.transaction begins and ends the transaction/);
      }
    });
    assert.equal(await invoices(), 0);
    assert.equal((await ledger.runOf(token))?.outcome, 'succeeded');
  });

  test('its client is worth nothing afterwards, because the connection serves others', async () => {
    const token = await ledger.grant();
    let kept: TransactionClient | undefined;
    await commitWithRun(arbiter, runOf(token), async (client) => {
      kept = client;
    });
    assert.ok(kept);
    await assert.rejects(invoice(kept), /This transaction is over/);
  });

  test('P4: an aborted run rolls back at once, whatever its statement is doing', async () => {
    const token = await ledger.grant();
    const stop = new AbortController();
    const reason = new Error('the lease is over');
    const refused = commitWithRun(arbiter, runOf(token, stop.signal), async (client) => {
      await invoice(client);
      setTimeout(() => stop.abort(reason), 20);
      await client.query('select pg_sleep(2)');
    });
    const startedMs = performance.now();
    await assert.rejects(refused, (error) => error === reason);
    assert.ok(performance.now() - startedMs < 1_000);
    await eventually(async () => (await openTransactions()) === 0);
    assert.equal(await invoices(), 0);
    assert.equal((await ledger.runOf(token))?.outcome, null);
    await assert.rejects(
      commitWithRun(arbiter, runOf(token, stop.signal), async () => 1),
      (error) => error === reason,
    );
  });

  test('the server itself ends a transaction whose process stands still for longer than the run may take', async () => {
    const token = await ledger.grant();
    const refused = commitWithRun(arbiter, runOf(token, undefined, 300), async (client) => {
      await invoice(client);
      await eventually(async () => (await openTransactions()) === 0);
      await client.query('select 1');
    });
    await assert.rejects(refused);
    assert.equal(await invoices(), 0);
  });

  test('while the outcome is being committed no other message is needed: the lock is never held across one', async () => {
    const token = await ledger.grant();
    const sent: string[] = [];
    const watching: Arbiter = {
      ...arbiter,
      transaction: (work, options) =>
        arbiter.transaction(
          (query) =>
            work((text, values) => {
              sent.push(text);
              return query(text, values);
            }),
          options,
        ),
    };
    await commitWithRun(watching, runOf(token), (client) => invoice(client));
    const committing = sent.filter((text) => text.includes('run_commit'));
    assert.equal(committing.length, 1);
    assert.match(committing[0] ?? '', /^select holdfast\.run_commit\(\d+, .*\); commit; begin$/s);
    assert.equal(sent.at(-1), committing[0]);
  });

  test('a commit whose answer was lost is looked up, and not reported as a failure', async () => {
    const token = await ledger.grant();
    const losing: Arbiter = {
      ...arbiter,
      transaction: (work, options) =>
        arbiter.transaction(
          (query) =>
            work(async (text, values) => {
              const rows = await query(text, values);
              if (text.includes('run_commit')) throw new Error('Connection terminated unexpectedly');
              return rows as never;
            }),
          options,
        ),
    };
    const value = await commitWithRun(losing, runOf(token), async (client) => {
      await invoice(client);
      return 'done';
    });
    assert.equal(value, 'done');
    assert.equal(await invoices(), 1);

    const unsent = await ledger.grant();
    const dropping: Arbiter = {
      ...arbiter,
      transaction: (work, options) =>
        arbiter.transaction(
          (query) =>
            work((text, values) => {
              if (text.includes('run_commit')) throw new Error('Connection terminated unexpectedly');
              return query(text, values);
            }),
          options,
        ),
    };
    const unknown = commitWithRun(dropping, runOf(unsent), (client) => invoice(client, 2));
    await assert.rejects(unknown, (error) => {
      assert.ok(error instanceof HoldfastError);
      assert.match(error.message, /gave no answer to the commit/);
      return true;
    });
    assert.equal(await invoices(), 1);
  });

  test('P9: a database that accepts connections and never answers fails the transaction in time', async () => {
    const token = await ledger.grant();
    postgres.freeze();
    try {
      const startedMs = performance.now();
      await assert.rejects(
        commitWithRun(arbiter, runOf(token), async () => 1),
        (error) => error instanceof HoldfastError && error.code === 'ARBITER_UNAVAILABLE',
      );
      assert.ok(performance.now() - startedMs < 4_000);
    } finally {
      postgres.thaw();
    }
    assert.equal(await commitWithRun(arbiter, runOf(token), async () => 1), 1);
  });
});
