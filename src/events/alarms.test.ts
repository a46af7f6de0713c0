import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, type TestContext, test } from 'node:test';
import { type Arbiter, openArbiter, type Query } from '../database/arbiter.ts';
import type { Log } from '../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { type AlarmMessage, type AlarmOptions, deliverAlarms } from './alarms.ts';

interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly message: AlarmMessage;
}

describe('alarms of a real ledger', () => {
  let postgres: TestPostgres;
  let directory = '';
  let arbiter: Arbiter;
  let query: Query;
  let logged: string[] = [];
  const note = (fields: object, message: string): void => {
    logged.push(`${message} ${JSON.stringify(fields)}`);
  };
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };

  before(async () => {
    postgres = await startTestPostgres();
    directory = await mkdtemp(join(tmpdir(), 'holdfast-alarm-'));
  });
  after(async () => {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    logged = [];
    arbiter = openArbiter({ url: await postgres.createDatabase() });
    query = arbiter.query;
    await query(`insert into holdfast.event (name, definition, revision, alarm)
      values ('nightly-invoices', '{}', 1, '{failed,missed,abandoned}')`);
  });
  afterEach(() => arbiter.close());

  /** An occurrence that has ended so, with the run that ended it. */
  async function ended(
    outcome: string,
    {
      reason = 'the answer was 500' as string | null,
      due = '2026-11-23T02:00:00Z',
      lastDue = undefined as string | undefined,
      dues = 1,
      ran = true,
    } = {},
  ): Promise<void> {
    const [row] = await query<{ id: string }>(
      `insert into holdfast.occurrence (event, place, due, last_due, dues, cause, state, outcome, reason, not_before,
         attempts, reruns_left, ended_at)
       values ('nightly-invoices', '', $1, $2, $3, 'schedule', 'done', $4, $5, now(), $6, 0, now()) returning id::text`,
      [due, lastDue ?? due, dues, outcome, reason, ran ? 3 : 0],
    );
    if (!ran) return;
    await query(
      `insert into holdfast.run (token, occurrence, attempt, instance, member_token, started_at, ended_at, outcome, result)
       select holdfast.next_token(), $1, n, 'shop-' || n, 1, now(), now(), 'failed', 'stack trace ' || n
       from generate_series(2, 3) as n`,
      [row?.id],
    );
  }

  /** A receiver that answers with these statuses in turn, and then always with the last of them; 0 is never. */
  async function receiver(
    t: TestContext,
    ...statuses: number[]
  ): Promise<{ url: string; received: Received[] }> {
    const received: Received[] = [];
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const part of request.setEncoding('utf8')) body += part;
      received.push({
        method: request.method,
        url: request.url,
        headers: request.headers,
        message: JSON.parse(body),
      });
      const status = statuses.length > 1 ? statuses.shift() : statuses[0];
      if (status === 0) return;
      if (status === 307) response.setHeader('Location', '/elsewhere');
      response.writeHead(status ?? 204).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=in-the-address`,
      received,
    };
  }

  const deliver = (options: Omit<AlarmOptions, 'query' | 'cluster' | 'log'> & Partial<AlarmOptions>) =>
    deliverAlarms({ query, cluster: 'shop', log, directory, ...options });
  const byPost = (url: string): AlarmOptions['alarm'] => ({ hook: { kind: 'post', url } });
  const byCommand = (command: string): AlarmOptions['alarm'] => ({ hook: { kind: 'command', command } });
  const waiting = () =>
    query<{ tries: number; error: string | null; later: boolean }>(
      'select tries, error, not_before > now() as later from holdfast.alarm order by id',
    );
  const dueNow = () => query('update holdfast.alarm set not_before = now()');

  test('a failed event is posted as JSON with a sentence that a person can read, once', async (t) => {
    const { url, received } = await receiver(t, 204);
    await ended('failed');
    await ended('succeeded', { due: '2026-11-22T02:00:00Z' });
    assert.equal(await deliver({ alarm: byPost(url), secret: 'pass-phrase' }), 1);
    assert.equal(received.length, 1);
    const [got] = received;
    assert.equal(`${got?.method} ${got?.url}`, 'POST /hook?key=in-the-address');
    assert.equal(got?.headers.authorization, 'Bearer pass-phrase');
    assert.equal(got?.headers['content-type'], 'application/json');
    assert.equal(got?.headers['idempotency-key'], got?.message.id);
    const { id, ended: endedAt, ...rest } = (got as Received).message;
    assert.match(id, /^\d+$/);
    assert.ok(Math.abs(Date.parse(endedAt) - Date.now()) < 60_000);
    assert.deepEqual(rest, {
      cluster: 'shop',
      event: 'nightly-invoices',
      place: '',
      outcome: 'failed',
      reason: 'the answer was 500',
      due: '2026-11-23T02:00:00.000Z',
      lastDue: '2026-11-23T02:00:00.000Z',
      dues: 1,
      attempts: 3,
      instance: 'shop-3',
      result: 'stack trace 3',
      text: 'nightly-invoices failed on shop-3: the answer was 500 (due 2026-11-23T02:00:00.000Z, 3 attempts, cluster shop)',
    });
    assert.deepEqual(await waiting(), []);
    assert.equal(await deliver({ alarm: byPost(url) }), 0);
    assert.equal(received.length, 1);
  });

  test('moments that were missed in a row are one alarm, of an event that ran nowhere', async (t) => {
    const { url, received } = await receiver(t, 200);
    await ended('missed', { reason: null, lastDue: '2026-11-25T02:00:00Z', dues: 3, ran: false });
    assert.equal(await deliver({ alarm: byPost(url) }), 1);
    assert.equal(received[0]?.headers.authorization, undefined);
    assert.equal(received[0]?.message.instance, null);
    assert.equal(
      received[0]?.message.text,
      'nightly-invoices was missed 3 times (due from 2026-11-23T02:00:00.000Z to 2026-11-25T02:00:00.000Z, cluster shop)',
    );
  });

  test('what the receiver refuses stays with the reason, is put off, and is the same alarm when it is taken', async (t) => {
    const { url, received } = await receiver(t, 503, 307, 200);
    await ended('failed');
    assert.equal(await deliver({ alarm: byPost(url) }), 0);
    assert.deepEqual(await waiting(), [{ tries: 1, error: 'the receiver answered 503', later: true }]);
    assert.equal(await deliver({ alarm: byPost(url) }), 0, 'it is not due yet');
    assert.equal(received.length, 1);
    await dueNow();
    assert.equal(await deliver({ alarm: byPost(url) }), 0);
    assert.deepEqual(await waiting(), [{ tries: 2, error: 'the receiver answered 307', later: true }]);
    await dueNow();
    assert.equal(await deliver({ alarm: byPost(url) }), 1);
    assert.deepEqual(await waiting(), []);
    assert.deepEqual(
      received.map(({ url: path }) => path),
      Array(3).fill('/hook?key=in-the-address'),
    );
    assert.equal(new Set(received.map(({ message }) => message.id)).size, 1);
  });

  test('of several, those that failed stay and the others go', async (t) => {
    const { url } = await receiver(t, 200, 500, 200);
    for (const day of [21, 22, 23]) await ended('failed', { due: `2026-11-${day}T02:00:00Z` });
    assert.equal(await deliver({ alarm: byPost(url) }), 2);
    assert.equal((await waiting()).length, 1);
  });

  test('an agent that dies after the delivery has it delivered again', async (t) => {
    const { url, received } = await receiver(t, 200);
    await ended('abandoned');
    const dies: Query = (text, values, options) =>
      text.startsWith('delete')
        ? Promise.reject(new Error('the agent is gone'))
        : query(text, values, options);
    await assert.rejects(deliver({ alarm: byPost(url), query: dies }));
    await dueNow();
    assert.equal(await deliver({ alarm: byPost(url) }), 1);
    assert.equal(received[0]?.message.id, received[1]?.message.id);
  });

  test('a receiver that never answers is waited for ten seconds, and one that is not there not at all', async (t) => {
    const { url } = await receiver(t, 0);
    await ended('failed');
    assert.equal(await deliver({ alarm: byPost(url) }), 0);
    assert.equal((await waiting())[0]?.error, 'the receiver did not answer within 10s');
    await dueNow();
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    assert.equal(await deliver({ alarm: byPost(`http://127.0.0.1:${port}/`) }), 0);
    assert.equal((await waiting())[0]?.error, 'the receiver cannot be reached (ECONNREFUSED)');
  });

  test('neither the secret nor the address is in a log or in the arbiter, not even when they are malformed', async (t) => {
    const { url } = await receiver(t, 401);
    await ended('failed');
    for (const [address, secret] of [
      [url, 'pass-phrase'],
      [url, 'pass-phrase\nof two lines'],
      [url.replace('://', '://user:pass-phrase@'), undefined],
    ] as const) {
      assert.equal(await deliver({ alarm: byPost(address), secret }), 0);
      logged.push(JSON.stringify(await waiting()));
      await dueNow();
    }
    assert.match(logged.join('\n'), /the secret is one line/);
    assert.doesNotMatch(logged.join('\n'), /pass-phrase|in-the-address/);
  });

  test('a command finds the alarm in its environment, whatever the words are', async () => {
    const reason = `"; touch pwned; $(touch pwned) 'é' \n`;
    await ended('failed', { reason });
    const command = `test ! -e pwned && printf '%s' "$HOLDFAST_ALARM" > alarm &&
      printf '%s|' "$HOLDFAST_ALARM_EVENT" "$HOLDFAST_ALARM_OUTCOME" "$HOLDFAST_ALARM_DUE" "$HOLDFAST_ALARM_REASON" > parts`;
    assert.equal(await deliver({ alarm: byCommand(command) }), 1);
    const message = JSON.parse(await readFile(join(directory, 'alarm'), 'utf8')) as AlarmMessage;
    assert.deepEqual(
      [message.event, message.reason, message.instance],
      ['nightly-invoices', reason, 'shop-3'],
    );
    const parts = await readFile(join(directory, 'parts'), 'utf8');
    assert.equal(parts, `nightly-invoices|failed|2026-11-23T02:00:00.000Z|${reason}|`);
    assert.deepEqual(await waiting(), []);
  });

  test('a reason that is longer than an environment takes is cut, and delivered', async () => {
    await ended('failed', { reason: '\u0001'.repeat(300_000) });
    assert.equal(await deliver({ alarm: byCommand('test -n "$HOLDFAST_ALARM_REASON"') }), 1);
  });

  test('a command that fails leaves the alarm with the reason', async () => {
    await ended('failed');
    assert.equal(await deliver({ alarm: byCommand('echo no mail today >&2; exit 1') }), 0);
    assert.match((await waiting())[0]?.error ?? '', /^the command exited with code 1: no mail today/);
  });

  test('twenty are taken at a time', async () => {
    for (let minute = 10; minute < 35; minute++)
      await ended('failed', { due: `2026-11-23T02:${minute}:00Z`, ran: false });
    assert.equal(await deliver({ alarm: byCommand('true') }), 20);
    assert.equal(await deliver({ alarm: byCommand('true') }), 5);
  });

  test('after a week of tries it is given up with an error; before, and after few tries, it is not', async () => {
    await ended('failed');
    const age = (tries: number, days: number) =>
      Promise.all([
        query('update holdfast.alarm set tries = $1, not_before = now()', [tries]),
        query(`update holdfast.occurrence set ended_at = now() - $1 * interval '1 day'`, [days]),
      ]);
    for (const [tries, days] of [
      [100, 6],
      [3, 30],
    ] as const) {
      await age(tries, days);
      assert.equal(await deliver({ alarm: byCommand('false') }), 0);
      assert.equal((await waiting()).length, 1);
    }
    await age(61, 8);
    logged = [];
    assert.equal(await deliver({ alarm: byCommand('false') }), 0);
    assert.deepEqual(await waiting(), []);
    assert.match(logged.join('\n'), /given up: nightly-invoices failed/);
  });
});
