import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isProbeMark, probeSecret, readLook, readTry, settingDigest } from './probe.ts';

test('the secret of the probe is the same wherever the key is, and does not show the key', () => {
  const [one, other] = [1, 2].map((fill) => Buffer.alloc(32, fill).toString('base64url')) as [string, string];
  assert.equal(probeSecret(one), probeSecret(one));
  assert.notEqual(probeSecret(one), probeSecret(other));
  assert.match(probeSecret(one), /^[\w-]{43}$/);
  assert.ok(!probeSecret(one).includes(one.slice(0, 8)));
});

test('equal values have equal digests under one key, and others under another', () => {
  assert.equal(settingDigest('key', 'EUR'), settingDigest('key', 'EUR'));
  assert.notEqual(settingDigest('key', 'EUR'), settingDigest('key', 'USD'));
  assert.notEqual(settingDigest('key', 'EUR'), settingDigest('another', 'EUR'));
});

test('a mark is hexadecimal and neither short nor long', () => {
  assert.ok(isProbeMark('01234567'));
  assert.ok(isProbeMark('a'.repeat(64)));
  for (const wrong of [null, '', '0123456', 'a'.repeat(65), '0123456g', '../01234567', '01234567\n'])
    assert.ok(!isProbeMark(wrong), JSON.stringify(wrong));
});

const nothingTold = {
  ...{
    instance: null,
    rootUrl: null,
    client: null,
    claims: {},
    hasSessions: false,
    mark: null,
    settings: {},
  },
  ...{ ownWork: null, nowMs: null, openFiles: null, files: null },
};

test('a probe in another language may leave out what it does not know', () => {
  assert.deepEqual(readLook({}), nothingTold);
  assert.deepEqual(readLook({ instance: 'shop-1', settings: null, files: null, ownWork: [] }), {
    ...nothingTold,
    instance: 'shop-1',
    ownWork: [],
  });
  assert.deepEqual(readTry({}), { database: null, healthWithoutDatabase: null });
  assert.deepEqual(readTry({ database: { tookMs: 3 }, healthWithoutDatabase: { status: 503 } }), {
    database: { tookMs: 3, error: null },
    healthWithoutDatabase: { status: 503, why: null },
  });
});

test('P10: whatever JSON a probe answers, what is read of it has the shape that the checks rely on', () => {
  const keys = Object.keys(nothingTold);
  const told = fc.dictionary(fc.constantFrom(...keys, 'other'), fc.jsonValue());
  fc.assert(
    fc.property(told, (answer) => {
      const look = readLook(answer);
      assert.deepEqual(Object.keys(look).toSorted(), keys.toSorted());
      for (const value of [
        ...Object.values(look.settings),
        ...Object.values(look.claims),
        ...(look.ownWork ?? []),
      ])
        assert.equal(typeof value, 'string');
      for (const value of Object.values(look.openFiles ?? {})) assert.ok(Number.isFinite(value));
      readTry(answer);
    }),
  );
});
