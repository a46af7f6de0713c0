import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, beforeEach, test } from 'node:test';
import { PGlite } from '@electric-sql/pglite';
import type { Arbiter } from '../database/arbiter.ts';
import { documentFrom } from './document.ts';
import { currentRevision, storeRevision } from './revisions.ts';

let database: PGlite;
const arbiter: Pick<Arbiter, 'query'> = {
  query: async <Row>(text: string, values?: readonly unknown[]) =>
    (await database.query<Row>(text, [...(values ?? [])])).rows,
};

before(async () => {
  database = await PGlite.create();
  await database.exec('create schema if not exists holdfast');
  await database.exec(
    await readFile(new URL('../database/migrations/0001-members.sql', import.meta.url), 'utf8'),
  );
});
after(() => database.close());
beforeEach(() => database.exec('truncate holdfast.revision restart identity'));

const first = {
  ...documentFrom({ cluster: 'shop', b: 1, a: [2, null, 'ü'] }),
  author: 'ann',
  message: 'first',
};
const second = { ...documentFrom({ cluster: 'shop', b: 2 }), author: 'bob', message: 'second' };

test('there is no current revision in an empty arbiter', async () => {
  assert.equal(await currentRevision(arbiter), undefined);
});

test('a stored revision is the current one, with everything that was stored', async () => {
  assert.deepEqual(await storeRevision(arbiter, first), { number: 1, stored: true });
  const current = await currentRevision(arbiter);
  assert.ok(current?.createdAt instanceof Date);
  const { createdAt: _, ...rest } = current;
  assert.deepEqual(rest, { number: 1, ...first });
});

test('the digest of what is read back is the one that was stored', async () => {
  await storeRevision(arbiter, first);
  const current = await currentRevision(arbiter);
  assert.equal(documentFrom(current?.document ?? null).digest, first.digest);
});

test('what is already current is not stored again', async () => {
  await storeRevision(arbiter, first);
  assert.deepEqual(await storeRevision(arbiter, { ...first, author: 'bob' }), { number: 1, stored: false });
  assert.equal((await currentRevision(arbiter))?.author, 'ann');
});

test('going back to an older document is a new revision', async () => {
  await storeRevision(arbiter, first);
  assert.deepEqual(await storeRevision(arbiter, second), { number: 2, stored: true });
  assert.deepEqual(await storeRevision(arbiter, first), { number: 3, stored: true });
});
