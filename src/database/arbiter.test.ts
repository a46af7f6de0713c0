import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError } from '../support/errors.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { type Arbiter, openArbiter } from './arbiter.ts';

const unavailable = { code: 'ARBITER_UNAVAILABLE' };

async function eventually<T>(question: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    await delay(20);
  }
}

describe('the connection to the arbiter', { timeout: 120_000 }, () => {
  let postgres: TestPostgres;
  let url: string;
  before(async () => {
    postgres = await startTestPostgres();
    url = await postgres.createDatabase();
  });
  after(() => postgres.stop());

  async function withArbiter(
    work: (arbiter: Arbiter) => Promise<void>,
    options: Partial<Parameters<typeof openArbiter>[0]> = {},
  ): Promise<void> {
    const arbiter = openArbiter({ url, ...options });
    try {
      await work(arbiter);
    } finally {
      await arbiter.close();
    }
  }

  test('a statement is answered, and an error of the statement itself costs no connection', () =>
    withArbiter(
      async (arbiter) => {
        const pid = async () =>
          (await arbiter.query<{ pid: number }>('select pg_backend_pid() as pid'))[0]?.pid;
        const first = await pid();
        await assert.rejects(arbiter.query('select 1/0'), { code: '22012' });
        await assert.rejects(arbiter.query('select nonsense'), { code: '42703' });
        assert.equal(await pid(), first);
      },
      { max: 1 },
    ));

  test('a transaction is all or nothing', () =>
    withArbiter(async (arbiter) => {
      await arbiter.query('create table one (x int)');
      await assert.rejects(
        arbiter.transaction(async (query) => {
          await query('insert into one values (1)');
          throw new HoldfastError('USAGE', 'changed my mind');
        }),
        { code: 'USAGE' },
      );
      assert.deepEqual(await arbiter.query('select * from one'), []);
      await arbiter.transaction((query) => query('insert into one values (2)'));
      assert.deepEqual(await arbiter.query('select * from one'), [{ x: 2 }]);
    }));

  test('more operations than connections take turns', () =>
    withArbiter(
      async (arbiter) => {
        const answers = await Promise.all(
          Array.from({ length: 40 }, (_, n) => arbiter.query<{ n: number }>('select $1::int as n', [n])),
        );
        assert.deepEqual(
          answers.map(([row]) => row?.n),
          Array.from({ length: 40 }, (_, n) => n),
        );
      },
      { max: 2 },
    ));

  test('a deadline that passes destroys the socket, and the next statement is answered on another', () =>
    withArbiter(
      async (arbiter) => {
        const startedMs = performance.now();
        await assert.rejects(arbiter.query('select pg_sleep(60)', [], { deadlineMs: 200 }), unavailable);
        assert.ok(performance.now() - startedMs < 1_500);
        assert.equal((await arbiter.query('select 1 as x')).length, 1);
      },
      { max: 1 },
    ));

  test('a frozen arbiter costs each caller its deadline, never more, and is used again when it thaws', () =>
    withArbiter(async (arbiter) => {
      await arbiter.query('select 1');
      postgres.freeze();
      try {
        const startedMs = performance.now();
        const answers = await Promise.allSettled(
          Array.from({ length: 6 }, () => arbiter.query('select 1', [], { deadlineMs: 300 })),
        );
        assert.ok(performance.now() - startedMs < 2_000);
        for (const answer of answers) {
          assert.equal(answer.status, 'rejected');
          assert.equal((answer as PromiseRejectedResult).reason.code, 'ARBITER_UNAVAILABLE');
        }
      } finally {
        postgres.thaw();
      }
      await eventually(() => arbiter.query('select 1').catch(() => undefined));
    }));

  test('a transaction whose deadline passes leaves nothing behind', () =>
    withArbiter(async (arbiter) => {
      await arbiter.query('create table two (x int)');
      await assert.rejects(
        arbiter.transaction(
          async (query) => {
            await query('insert into two values (1)');
            await query('select pg_sleep(60)');
          },
          { deadlineMs: 300 },
        ),
        unavailable,
      );
      assert.deepEqual(await arbiter.query('select * from two'), []);
    }));

  test('the pool recovers after the server was away', () =>
    withArbiter(async (arbiter) => {
      await Promise.all([arbiter.query('select 1'), arbiter.query('select 2')]);
      await postgres.halt();
      await assert.rejects(arbiter.query('select 1'), unavailable);
      await postgres.start();
      await eventually(() => arbiter.query('select 1').catch(() => undefined));
    }));

  test('a wrong password is refused for good, and the message does not repeat it', () =>
    withArbiter(
      async (arbiter) => {
        await assert.rejects(arbiter.query('select 1'), (error: HoldfastError) => {
          assert.equal(error.code, 'ARBITER_REFUSED');
          assert.doesNotMatch(`${error.message} ${error.remedy}`, /not-the-password/);
          return true;
        });
      },
      { url: url.replace(/:[^:@]*@/, ':not-the-password@') },
    ));

  test('a connection that was closed answers nothing more', async () => {
    const arbiter = openArbiter({ url });
    await arbiter.query('select 1');
    await arbiter.close();
    await assert.rejects(arbiter.query('select 1'), unavailable);
  });

  describe('with several hosts in the URL', () => {
    let silent: Server;
    const accepted = new Set<Socket>();
    let silentPort: number;
    before(async () => {
      silent = createServer((socket) => accepted.add(socket)); // accepts, and never says a word
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      silentPort = (silent.address() as { port: number }).port;
    });
    after(() => {
      for (const socket of accepted) socket.destroy();
      silent.close();
    });
    const withHosts = (...ports: number[]) =>
      url.replace(/127\.0\.0\.1:\d+/, ports.map((port) => `127.0.0.1:${port}`).join(','));

    test('dead hosts that come first cost nothing', () =>
      withArbiter(
        async (arbiter) => {
          const startedMs = performance.now();
          await arbiter.query('select 1');
          assert.ok(performance.now() - startedMs < 1_500, 'nobody waited for the silent host');
        },
        { url: withHosts(silentPort, 1, postgres.port) },
      ));

    test('when none answers, the error names each host and what was wrong with it', () =>
      withArbiter(
        async (arbiter) => {
          await assert.rejects(arbiter.query('select 1'), (error: HoldfastError) => {
            assert.equal(error.code, 'ARBITER_UNAVAILABLE');
            assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${silentPort} `));
            assert.match(error.message, /127\.0\.0\.1:1 .*ECONNREFUSED/);
            return true;
          });
        },
        { url: withHosts(silentPort, 1), connectTimeoutMs: 300 },
      ));

    test('a host that is read-only is not the arbiter', async () => {
      await withArbiter(async (arbiter) => {
        const database = new URL(url).pathname.slice(1);
        await arbiter.query(`alter database ${database} set default_transaction_read_only = on`);
      });
      try {
        await withArbiter(
          (arbiter) => assert.rejects(arbiter.query('select 1'), { ...unavailable, message: /read-only/ }),
          { url: withHosts(1, postgres.port) },
        );
      } finally {
        await withArbiter(
          async (arbiter) => {
            await arbiter.query(
              `alter database ${new URL(url).pathname.slice(1)} reset default_transaction_read_only`,
            );
          },
          { url: url.replace(/[^/]*$/, 'postgres') },
        );
      }
    });
  });
});
