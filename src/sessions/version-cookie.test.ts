import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashSessionId } from './session-codec.ts';
import { cookieNamed, isNewer, versionCookieLine, versionSigner } from './version-cookie.ts';

const [one, other] = [hashSessionId('one'), hashSessionId('other')];
const nonce = 'AbCdEf-_012';

test('a signed version is read back, for its own session only', () => {
  const signer = versionSigner(['secret']);
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(999_999_999), (version, deferred) => {
      const cookie = signer.sign(one, { version, deferred, nonce });
      assert.deepEqual(signer.verify(one, cookie), { version, deferred, nonce });
      assert.equal(signer.verify(other, cookie), undefined);
      assert.equal(versionSigner(['another']).verify(one, cookie), undefined);
    }),
  );
});

test('P10: whatever else a client sends is no version and no error', () => {
  const signer = versionSigner(['secret']);
  const valid = signer.sign(one, { version: 12, deferred: 0, nonce });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `12.0.${nonce}.${text}`),
      ),
      (text) => {
        if (text !== valid) assert.equal(signer.verify(one, text), undefined);
      },
    ),
  );
  assert.equal(signer.verify(one, valid.replace('12.', '13.')), undefined);
});

test('after a change of secrets, cookies signed with the previous one are still read', () => {
  const cookie = versionSigner(['old']).sign(one, { version: 3, deferred: 0, nonce });
  assert.deepEqual(versionSigner(['new', Buffer.from('old')]).verify(one, cookie), {
    version: 3,
    deferred: 0,
    nonce,
  });
});

test('a copy with deferred saves is newer than its version and older than the next', () => {
  const deferred = { version: 3, deferred: 2 };
  assert.ok(isNewer(deferred, { version: 3, deferred: 0 }));
  assert.ok(isNewer({ version: 4, deferred: 0 }, deferred));
  assert.ok(!isNewer(deferred, deferred));
});

test('one cookie is found among others', () => {
  assert.equal(cookieNamed('a=1; connect.sid.v=2.0.x; connect.sid=s%3A', 'connect.sid.v'), '2.0.x');
  assert.equal(cookieNamed('xconnect.sid.v=1', 'connect.sid.v'), undefined);
  assert.equal(cookieNamed(undefined, 'a'), undefined);
  assert.equal(cookieNamed(';;=;a', 'a'), undefined);
});

test('the attributes are those of the session cookie', () => {
  const line = versionCookieLine('sid.v', 'x', {
    path: '/app',
    secure: true,
    sameSite: true,
    partitioned: true,
  });
  assert.equal(line, 'sid.v=x; Path=/app; HttpOnly; Secure; Partitioned; SameSite=Strict');
});
