import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HoldfastError } from '../support/errors.ts';
import { parseDatabaseUrl, withoutPassword } from './url.ts';

test('a URL names several hosts, each with its port or the usual one', () => {
  const address = parseDatabaseUrl('postgres://holdfast:secret@db1:5433,db2,[::1]:5434/shop');
  assert.deepEqual(address.hosts, [
    { host: 'db1', port: 5433 },
    { host: 'db2', port: 5432 },
    { host: '::1', port: 5434 },
  ]);
  assert.deepEqual(
    [address.user, address.password, address.database, address.ssl],
    ['holdfast', 'secret', 'shop', false],
  );
});

test('what the URL leaves out comes from the environment, or is the usual', () => {
  const address = parseDatabaseUrl('postgresql:///shop', { PGUSER: 'someone', PGPASSWORD: 'p' });
  assert.deepEqual(address.hosts, [{ host: '127.0.0.1', port: 5432 }]);
  assert.deepEqual([address.user, address.password, address.database], ['someone', 'p', 'shop']);
  assert.equal(parseDatabaseUrl('postgres://me@db').database, 'me');
});

test('user, password and database may be percent-encoded', () => {
  const address = parseDatabaseUrl('postgres://a%40b:p%3Aw%2F%40@db/my%20shop');
  assert.deepEqual([address.user, address.password, address.database], ['a@b', 'p:w/@', 'my shop']);
});

test('TLS is verified in full where the URL asks for it or names a root certificate', () => {
  assert.deepEqual(parseDatabaseUrl('postgres://u@db/d?sslmode=verify-full').ssl, {
    rejectUnauthorized: true,
  });
  assert.deepEqual(parseDatabaseUrl('postgres://u@db/d?sslmode=require').ssl, { rejectUnauthorized: false });
  assert.throws(() => parseDatabaseUrl('postgres://u@db/d?sslrootcert=/no/such/file'), {
    code: 'DATABASE_URL_INVALID',
  });
});

const wrong = [
  'mysql://u:s3cret-hunter2@db/shop',
  's3cret-hunter2',
  'postgres://u:s3cret-hunter2@db:99999/shop',
  'postgres://u:s3cret-hunter2@db:port/shop',
  'postgres://u:s3cret-hunter2%zz@db/shop',
  'postgres://:s3cret-hunter2@db',
  'postgres://u:s3cret-hunter2@db/shop?sslmode=maybe',
  'postgres://u:s3cret-hunter2/with-slash@db/shop',
  'postgres://u:s3cret-hunter2@with-at@db/shop',
  'postgres://u:s3cret-hunter2#with-hash:x@db:y/shop',
  'postgres://u:s3cret-hunter2:12@with-at@db/shop?options=a',
];
for (const url of wrong) {
  test(`P10: ${url} is refused without a word of the password`, () => {
    assert.throws(
      () => parseDatabaseUrl(url),
      (error: HoldfastError) => {
        assert.equal(error.code, 'DATABASE_URL_INVALID');
        assert.doesNotMatch(`${error.message} ${error.remedy} ${error.stack}`, /s3cret|hunter|with-/);
        return true;
      },
    );
  });
}

test('P10: no text makes the parser throw anything but its own error', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `postgres://${text}`),
      ),
      (text) => {
        try {
          parseDatabaseUrl(text, { USER: 'u' });
        } catch (error) {
          assert.ok(error instanceof HoldfastError && error.code === 'DATABASE_URL_INVALID');
        }
      },
    ),
  );
});

test('a URL is shown without its password, even if that is not encoded', () => {
  assert.equal(withoutPassword('postgres://u:secret@db/shop'), 'postgres://u:***@db/shop');
  assert.equal(withoutPassword('postgres://u@db/shop'), 'postgres://u@db/shop');
  assert.doesNotMatch(withoutPassword('postgres://u:se@cret@db/shop'), /se@|cret/);
  assert.doesNotMatch(withoutPassword('postgres://u:se/cr?et@db/shop'), /se\/|et@/);
  assert.doesNotMatch(withoutPassword('postgres://u@db/shop?password=secret'), /secret/);
});
