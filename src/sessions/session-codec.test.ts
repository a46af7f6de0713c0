import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { sessionDelta } from '../protocol/session-merge.ts';
import { HoldfastError } from '../support/errors.ts';
import { hashSessionId, openSessionCodec, type StoredData } from './session-codec.ts';

const one = hashSessionId('one');
const key = () => randomBytes(32).toString('base64');

function storedBy(encryptionKeys: string[], texts: Map<string, string>): StoredData {
  return JSON.parse(
    openSessionCodec(encryptionKeys).encode(one, sessionDelta(new Map(), texts)),
  ) as StoredData;
}

test('values come back as they were, in clear and encrypted', () => {
  const secret = key();
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.json()), fc.boolean(), (values, encrypted) => {
      const keys = encrypted ? [secret] : [];
      const texts = new Map(Object.entries(values));
      const decoded = openSessionCodec(keys).decode(one, storedBy(keys, texts));
      assert.deepEqual([...decoded].map(([name, { text }]) => [name, text]).sort(), [...texts].sort());
    }),
  );
});

test('an encrypted value shows nothing of itself', () => {
  const [, text] = storedBy([key()], new Map([['user', '"ada lovelace"']])).user ?? [];
  assert.ok(text && !text.includes('ada') && !Buffer.from(text.slice(3), 'base64').includes('ada'));
});

test('an encrypted value fits neither another session nor another key', () => {
  const secret = key();
  const { user } = storedBy([secret], new Map([['user', '"ada"']]));
  assert.ok(user);
  const codec = openSessionCodec([secret]);
  assert.equal(codec.decode(one, { user }).get('user')?.text, '"ada"');
  assert.throws(() => codec.decode(hashSessionId('other'), { user }), { code: 'SESSION_UNAVAILABLE' });
  assert.throws(() => codec.decode(one, { admin: user }), { code: 'SESSION_UNAVAILABLE' });
});

test('an older key still opens what it sealed, and a foreign one is a clear error', () => {
  const [old, recent] = [key(), key()];
  const sealed = storedBy([old], new Map([['user', '"ada"']]));
  assert.equal(openSessionCodec([recent, old]).decode(one, sealed).get('user')?.text, '"ada"');
  assert.throws(() => openSessionCodec([recent]).decode(one, sealed), { code: 'SESSION_UNAVAILABLE' });
});

test('P10: a key of the wrong size is refused without being shown', () => {
  assert.throws(
    () => openSessionCodec(['too short']),
    (error) =>
      error instanceof HoldfastError &&
      error.code === 'CONFIGURATION_INVALID' &&
      !error.message.includes('too short'),
  );
  openSessionCodec([randomBytes(32).toString('hex')]);
});
