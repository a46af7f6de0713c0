import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { defaultLimits, resolveOptions } from './options.ts';

const listen = { host: '127.0.0.1', port: 0 };

test('every option but the address has a default, and a given one wins', () => {
  const settings = resolveOptions({ listen, limits: { holdMs: 7 } });
  assert.deepEqual(settings.sticky, { kind: 'cookie', cookie: 'holdfast' });
  assert.equal(settings.responseTimeoutMs, 60_000);
  assert.deepEqual(settings.limits, { ...defaultLimits, holdMs: 7 });
});

test('P10: what no engine could work with is refused, naming the place and the value', () => {
  const refusals: [options: object, message: RegExp][] = [
    [{ trustedProxies: ['10.0.0.0/99'] }, /balancer\.trustedProxies: "10\.0\.0\.0\/99"/],
    [{ sticky: { kind: 'cookie', cookie: 'a b' } }, /balancer\.sticky\.cookie: "a b"/],
    [{ sticky: { kind: 'cookie', cookie: '' } }, /balancer\.sticky\.cookie/],
  ];
  for (const [options, message] of refusals) {
    assert.throws(
      () => resolveOptions({ listen, ...options }),
      (error) => error instanceof HoldfastError && error.remedy !== undefined && message.test(error.message),
    );
  }
});
