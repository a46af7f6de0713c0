import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveOptions } from './session-options.ts';

const database = 'postgres://localhost/shop';

test('the agent’s environment is enough', () => {
  const resolved = resolveOptions(
    {},
    {
      HOLDFAST_DATABASE: database,
      HOLDFAST_INSTANCE: 'shop-1',
      HOLDFAST_SESSIONS: '{"idleMs":1000,"absoluteMs":2000,"away":"defer","encryptionKey":"k"}',
    },
  );
  assert.deepEqual(resolved, {
    database,
    instance: 'shop-1',
    idleMs: 1_000,
    absoluteMs: 2_000,
    away: 'defer',
    encryptionKeys: ['k'],
  });
});

test('what the application says wins', () => {
  const environment = { HOLDFAST_DATABASE: 'postgres://other/other', HOLDFAST_SESSIONS: '{"idleMs":1000}' };
  const resolved = resolveOptions({ database, idleMs: 5, encryptionKey: ['new', 'old'] }, environment);
  assert.deepEqual(
    [resolved.database, resolved.idleMs, resolved.encryptionKeys],
    [database, 5, ['new', 'old']],
  );
});

test('P10: every mistake names its place, and no message shows a key', () => {
  const mistakes: [Record<string, string>, RegExp][] = [
    [{ HOLDFAST_SESSIONS: '{"encryptionKey":"topsecret"' }, /HOLDFAST_SESSIONS/],
    [{ HOLDFAST_SESSIONS: '[]' }, /HOLDFAST_SESSIONS/],
    [{ HOLDFAST_SESSIONS: '{"idleMs":"30m"}' }, /idleMs/],
    [{ HOLDFAST_SESSIONS: '{"absoluteMs":0}' }, /absoluteMs/],
    [{ HOLDFAST_SESSIONS: '{"away":"hope"}' }, /fail, readonly, defer/],
    [{ HOLDFAST_SESSIONS: '{"encryptionKey":{"file":"topsecret"}}' }, /encryptionKey/],
  ];
  for (const [environment, message] of mistakes) {
    assert.throws(
      () => resolveOptions({ database }, environment),
      (error: Error) => message.test(error.message) && !error.message.includes('topsecret'),
    );
  }
  assert.throws(() => resolveOptions({}, {}), { code: 'CONFIGURATION_MISSING' });
});
