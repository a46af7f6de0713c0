import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { connectRaw } from './raw-connection.ts';
import { setScene } from './scene.ts';
import type { Suite } from './suite.ts';

/** One path that must not be public, as servers of many kinds would understand it. */
const spellings: readonly string[] = [
  '/rest-doc/',
  '/rest-doc/shop/v1',
  '/rest-doc/?a=b',
  '/REST-DOC/',
  '/rest%2Ddoc/',
  '/%72est-doc/',
  '/rest-doc%2F',
  '/rest-doc%2fshop',
  '//rest-doc/',
  '///rest-doc/',
  '/./rest-doc/',
  '/a/../rest-doc/',
  '/a/b/../../rest-doc/',
  '/a/..%2Frest-doc/',
  '/%2e/rest-doc/',
  '/a/%2E%2e/rest-doc/',
  '/../rest-doc/',
  '/rest-doc//',
  '/rest-doc/.',
  '/rest-doc;a=b/',
  '/;a=b/rest-doc/',
  '/a/..;/rest-doc/',
  '/rest-doc\\shop',
  '/\\rest-doc/',
  '/rest-doc%5cshop',
  '/rest%252Ddoc/',
  'http://a/rest-doc/',
];

const allowed: readonly string[] = ['/echo?path=/rest-doc/', '/echo', '/echo?a=/../rest-doc/'];

/** Paths that must not be public are answered with 404, whatever spelling the client uses for them. */
export function denyTests({ start, test, sharedScene }: Suite): void {
  describe('paths that are denied', () => {
    const scene = sharedScene((t) => {
      return setScene(t, start, { instances: ['shop-1'], engine: { deny: ['^/\\w+-doc/'] } });
    });
    for (const target of spellings) {
      test(`P10: a denied path is 404 as ${target}`, async (t) => {
        const before = await scene().allRecords();
        const head = `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
        const connection = connectRaw(t, scene().port, head);
        await connection.untilClosed(2_000);
        assert.ok([400, 404].includes(connection.statuses[0] ?? 0), connection.received);
        assert.deepEqual(await scene().allRecords(), before);
      });
    }

    test('what only looks like a denied path is served', async () => {
      for (const path of allowed) assert.equal((await scene().ask(path)).status, 200, path);
      await scene().ask('/rest-docs/');
      assert.equal(await scene().arrivals('GET', '/rest-docs/'), 1);
    });
  });
}
