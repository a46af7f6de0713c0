import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunOrder } from './execution.ts';
import { environmentOf, headersOf, idempotencyKey } from './order-facts.ts';

const order: RunOrder = {
  event: 'nightly',
  place: '',
  occurrence: '7',
  dueMs: Date.UTC(2027, 2, 28, 1, 0, 0, 250),
  attempt: 2,
  token: (3n << 40n) + 42n,
  cause: 'schedule',
  payload: null,
  timeoutMs: 600_000,
};

test('the key is the same for every attempt and token, and another for each due moment and place', () => {
  assert.equal(idempotencyKey(order), 'nightly/-/2027-03-28T01:00:00.250Z');
  assert.equal(idempotencyKey({ ...order, attempt: 3, token: 99n }), idempotencyKey(order));
  assert.notEqual(idempotencyKey({ ...order, dueMs: order.dueMs + 1 }), idempotencyKey(order));
  assert.equal(idempotencyKey({ ...order, place: 'shop-1' }), 'nightly/shop-1/2027-03-28T01:00:00.250Z');
  const manual = idempotencyKey({ ...order, cause: 'manual' });
  assert.equal(manual, 'nightly/-/2027-03-28T01:00:00.250Z/manual', 'asked for at the very moment');
});

test('a request is told in headers', () => {
  assert.deepEqual(headersOf(order, 3_999.7), {
    'holdfast-event': 'nightly',
    'holdfast-due': '2027-03-28T01:00:00.250Z',
    'holdfast-attempt': '2',
    'holdfast-token': '3298534883370',
    'holdfast-cause': 'schedule',
    'holdfast-timeout-ms': '600000',
    'holdfast-lease-ms': '3999',
    'idempotency-key': 'nightly/-/2027-03-28T01:00:00.250Z',
  });
  const appointed = headersOf({ ...order, place: 'shop-1' }, 1, 'appointed');
  assert.deepEqual([appointed['holdfast-place'], appointed['holdfast-appointment']], ['shop-1', 'appointed']);
});

test('P4: a lease that is over is said to be over', () => {
  assert.equal(headersOf(order, -20)['holdfast-lease-ms'], '0');
});

test('a command is told in its environment', () => {
  assert.deepEqual(environmentOf(order), {
    HOLDFAST_EVENT: 'nightly',
    HOLDFAST_DUE: '2027-03-28T01:00:00.250Z',
    HOLDFAST_ATTEMPT: '2',
    HOLDFAST_TOKEN: '3298534883370',
    HOLDFAST_CAUSE: 'schedule',
    HOLDFAST_PLACE: '',
    HOLDFAST_TIMEOUT_MS: '600000',
    HOLDFAST_IDEMPOTENCY_KEY: 'nightly/-/2027-03-28T01:00:00.250Z',
  });
  const dismissed = environmentOf({ ...order, payload: { a: 'é' } }, 'dismissed');
  assert.equal(dismissed.HOLDFAST_PAYLOAD, '{"a":"é"}');
  assert.equal(dismissed.HOLDFAST_APPOINTMENT, 'dismissed');
});
