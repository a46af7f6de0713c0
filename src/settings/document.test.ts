import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalJson, configurationFromDocument, digestOf, type JsonValue } from './document.ts';
import { parseConfiguration } from './load.ts';

const text = `
cluster: shop
database: "postgres://holdfast:hunter2@db1,db2/shop?sslmode=require&password=hunter2"
app: { command: node server.js, environment: { DB: { file: /run/secrets/db } } }
`;

test('the document is the input, with secrets still references and without the password of the database', () => {
  const { document, configuration } = parseConfiguration(text, '/srv/holdfast.yaml');
  assert.deepEqual(document, {
    cluster: 'shop',
    database: 'postgres://holdfast@db1,db2/shop?sslmode=require',
    app: { command: 'node server.js', environment: { DB: { file: '/run/secrets/db' } } },
  });
  assert.match(configuration.database?.url ?? '', /hunter2@db1/);
});

test('the digest does not depend on the order of keys, on comments or on the password of the database', () => {
  const { digest } = parseConfiguration(text, 'holdfast.yaml');
  const reordered = `
app: # the same
  environment:
    DB: { file: "/run/secrets/db" }
  command: 'node server.js'
database: "postgres://holdfast:other@db1,db2/shop?sslmode=require"
cluster: shop
`;
  assert.equal(parseConfiguration(reordered, 'holdfast.yaml').digest, digest);
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.notEqual(parseConfiguration(`${text}lease: { ttl: 6s }`, 'holdfast.yaml').digest, digest);
});

test('canonical JSON sorts keys at every level and is JSON', () => {
  const value: JsonValue = { b: [{ d: 1, c: null }], a: 'ü"', '1': -0 };
  assert.equal(canonicalJson(value), '{"1":0,"a":"ü\\"","b":[{"c":null,"d":1}]}');
  assert.equal(digestOf(value), digestOf(JSON.parse(canonicalJson(value))));
});

test('a document gives the same configuration as the file, apart from the password', () => {
  const { document, configuration } = parseConfiguration(text, '/srv/holdfast.yaml');
  const again = configurationFromDocument(JSON.parse(JSON.stringify(document)), { directory: '/srv' });
  assert.deepEqual({ ...again, database: undefined }, { ...configuration, database: undefined });
});

test('P10: a document that this version does not understand is refused with the path', () => {
  assert.throws(() => configurationFromDocument({ cluster: 'shop', app: { command: 'x', colour: 'red' } }), {
    code: 'CONFIGURATION_INVALID',
    message: /app.colour: unknown key/,
    remedy: /same version/,
  });
  assert.throws(() => configurationFromDocument(null), { code: 'CONFIGURATION_INVALID' });
});
