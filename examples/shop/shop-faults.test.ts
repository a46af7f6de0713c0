/** The shop while its database is away or silent, and when an instance is told to stop. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import pg from 'pg';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import {
  endProcesses,
  errorOf,
  eventually,
  type Instance,
  spawnServer,
  startInstance,
  tinyPng,
  Visitor,
} from './shop-in-processes.ts';

let postgres: TestPostgres;
let databaseUrl: string;
let files: string;
let one: Instance;
let two: Instance;

before(async () => {
  postgres = await startTestPostgres();
  files = await mkdtemp(join(tmpdir(), 'holdfast-shop-'));
  databaseUrl = await postgres.createDatabase();
  [one, two] = await Promise.all([
    startInstance('shop-1', databaseUrl, files),
    startInstance('shop-2', databaseUrl, files),
  ]);
});

after(async () => {
  endProcesses();
  await postgres.stop();
  await rm(files, { recursive: true, force: true });
});

/**
 * An instance that has just found the database (again) forgets its copies of sessions, because it may have missed
 * that one was revoked. Once its listener has asked a first question, that is over.
 */
async function listening({ name }: Instance): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on('error', () => undefined); // ends with the database
  await client.connect();
  await eventually(async () => {
    const { rowCount } = await client.query(
      `select from pg_stat_activity where application_name = $1 and query = 'select 1'`,
      [`holdfast sessions ${name} listener`],
    );
    return rowCount === 1;
  });
  await client.end();
}

/** The status, or undefined where the connection was refused or closed. */
function outcomeOf(answer: Promise<Response>): Promise<number | undefined> {
  return answer.then(
    ({ status }) => status,
    () => undefined,
  );
}

suite('When something stops', () => {
  test('P9: while the database is away the shop goes on, and what was done meanwhile is there afterwards', async () => {
    await listening(one);
    const ada = await Visitor.loggedIn(one, 'Ada');
    await ada.post(one, '/basket', { item: 'anchor' });
    await ada.get(one, '/whoami');
    await postgres.halt();
    try {
      assert.equal((await fetch(`${one.url}/health`)).status, 200);
      const shop = (await ada.get(one, '/')) as { user: string; products: unknown[] };
      assert.deepEqual([shop.user, shop.products.length], ['Ada', 8]);
      assert.deepEqual(await ada.get(one, '/basket'), { user: 'Ada', items: ['anchor'] });
      assert.deepEqual(await ada.get(one, '/whoami'), { user: 'Ada', instance: 'shop-1', visits: 2 });
      assert.equal((await ada.post(one, '/basket', { item: 'rope' })).status, 200);

      const unread = await ada.ask(two, '/whoami');
      assert.equal(unread.status, 503);
      assert.match(await errorOf(unread), /try again/);
      const options = { method: 'POST', body: tinyPng, headers: { 'content-type': 'image/png' } };
      const picture = await ada.ask(one, '/pictures', options);
      assert.equal(picture.status, 503);
      assert.match(await errorOf(picture), /database cannot be reached/);
    } finally {
      await postgres.start();
    }
    await eventually(async () => {
      const response = await ada.copy().ask(two, '/basket');
      return response.ok && ((await response.json()) as { items: string[] }).items.length === 2;
    });
    assert.deepEqual(await ada.get(two, '/whoami'), { user: 'Ada', instance: 'shop-2', visits: 3 });
  });

  test('P9: a database that accepts connections and never answers holds nobody up for long', async () => {
    await listening(one);
    const ada = await Visitor.loggedIn(one, 'Ada');
    await ada.get(one, '/whoami');
    postgres.freeze();
    try {
      const slowestMs = await Promise.all(
        ['/', '/whoami', '/basket', '/', '/health'].map(async (path) => {
          const startedMs = performance.now();
          await ada.get(one, path);
          return performance.now() - startedMs;
        }),
      );
      assert.ok(Math.max(...slowestMs) < 3_000, `${slowestMs.map(Math.round)} ms`);
    } finally {
      postgres.thaw();
    }
    await eventually(async () => {
      const response = await ada.copy().ask(two, '/');
      return response.ok && ((await response.json()) as { visits: number }).visits === 2;
    });
  });

  test('an instance that is told to stop finishes what is under way, ends with 0, and the other goes on', async () => {
    const three = await startInstance('shop-3', databaseUrl, files);
    const ada = await Visitor.loggedIn(three, 'Ada');
    const keys = Array.from({ length: 20 }, (_, index) => `n${index}`);
    const answers = keys.map((key) => ada.copy().post(three, '/notes', { key, value: key }));
    await Promise.race(answers);
    three.process.kill('SIGTERM');
    const [[exitCode], ...settled] = await Promise.all([
      once(three.process, 'exit'),
      ...answers.map(outcomeOf),
    ]);
    assert.equal(exitCode, 0);
    const kept = keys.filter((_, index) => settled[index] === 200);
    assert.ok(kept.length > 0);
    const { notes } = (await ada.copy().get(two, '/notes')) as { notes: Record<string, string> };
    for (const key of kept) assert.equal(notes[key], key);
  });

  test('P10: a mistake in the environment is named in one line', async () => {
    const mistakes: [Record<string, string>, RegExp][] = [
      [{}, /^HOLDFAST_DATABASE is not set.*\n$/],
      [{ PORT: 'http' }, /^PORT must be a number.*\n$/],
      [{ HOLDFAST_DATABASE: 'postgres://x/y', SHOP_SECRET: 'short' }, /^SHOP_SECRET must have.*\n$/],
    ];
    for (const [environment, message] of mistakes) {
      const server = spawnServer(environment);
      const errors = server.stderr?.toArray() ?? Promise.resolve([]);
      const [exitCode] = await once(server, 'exit');
      assert.equal(exitCode, 1);
      assert.match(Buffer.concat((await errors) as Buffer[]).toString(), message);
    }
  });
});
