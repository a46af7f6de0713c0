import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultUserOf, idleMsOf, sessionObject, textsOf } from './session-values.ts';

const stored = (texts: Record<string, string>) =>
  new Map(Object.entries(texts).map(([key, text]) => [key, { version: 1, text }]));

test('the moving expiry of a cookie is no change', () => {
  const cookie = { originalMaxAge: 60_000, expires: new Date(), path: '/' };
  const first = textsOf({ cookie }, undefined);
  const later = textsOf({ cookie: { ...cookie, expires: new Date(Date.now() + 5_000) } }, undefined);
  assert.deepEqual(first, later);
});

test('the milliseconds that express-session loses from maxAge are no change, a new maxAge is', () => {
  const read = stored({ cookie: '{"originalMaxAge":60000,"path":"/"}' });
  const textWith = (originalMaxAge: number) =>
    textsOf({ cookie: { originalMaxAge, path: '/' } }, read).get('cookie');
  assert.equal(textWith(59_998), read.get('cookie')?.text);
  assert.match(textWith(30_000) ?? '', /30000/);
  assert.match(textWith(60_001) ?? '', /60001/);
});

test('the idle time is what the cookie says, else the default', () => {
  const idleOf = (cookie: object) => idleMsOf(textsOf({ cookie }, undefined), 1_000, 10_000);
  assert.equal(idleOf({ originalMaxAge: 250 }), 250);
  assert.equal(idleOf({ maxAge: 250 }), 250);
  assert.equal(idleOf({ originalMaxAge: null, expires: null }), 1_000);
  assert.equal(idleOf({ originalMaxAge: null, expires: new Date(10_400) }), 400);
  assert.equal(idleOf({ originalMaxAge: -5 }), 0);
});

test('P10: a value that is no JSON, or a key that is no text, is an error that names it', () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  assert.throws(() => textsOf({ circle }, undefined), { code: 'SESSION_INVALID', message: /"circle"/ });
  assert.throws(() => textsOf({ amount: 1n }, undefined), { code: 'SESSION_INVALID', message: /"amount"/ });
  assert.throws(() => textsOf({ 'a\u0000b': 1 }, undefined), {
    code: 'SESSION_INVALID',
    message: /a\\u0000b/,
  });
});

test('what JSON leaves out is absent, and an own key named __proto__ is a key', () => {
  const session = JSON.parse('{"__proto__": {"admin": true}}') as object;
  Object.assign(session, { nothing: undefined, method: () => 1 });
  const texts = textsOf(session, undefined);
  assert.deepEqual([...texts.keys()], ['__proto__']);
  const back = sessionObject(stored({ ['__proto__']: texts.get('__proto__') ?? '' }), 0);
  assert.equal(Object.getPrototypeOf(back), Object.prototype);
});

test('every request gets an object of its own, with an expiry of now', () => {
  const values = stored({ list: '[1]', cookie: '{"originalMaxAge":1000}' });
  const first = sessionObject(values, 5_000);
  (first.list as number[]).push(2);
  const second = sessionObject(values, 5_000);
  assert.deepEqual(second.list, [1]);
  assert.deepEqual(second.cookie, { originalMaxAge: 1_000, expires: new Date(5_000).toISOString() });
});

test('the user is found where applications usually keep it', () => {
  assert.equal(defaultUserOf({ user: 'ada' }), 'ada');
  assert.equal(defaultUserOf({ user: { id: 7 } }), '7');
  assert.equal(defaultUserOf({ userId: 7 }), '7');
  assert.equal(defaultUserOf({ passport: { user: 'ada' } }), 'ada');
  assert.equal(defaultUserOf({ user: { name: 'ada' }, basket: [] }), undefined);
});
