import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveOptions } from '../balancer/options.ts';
import { type Configuration, parseConfiguration } from '../settings/index.ts';
import { type EngineHost, engineOptionsOf, idempotencyOf } from './engine-options.ts';

const configured = (balancer: string, app = 'command: x'): Configuration =>
  parseConfiguration(`cluster: shop\napp: { ${app} }\nbalancer: ${balancer}\n`, '/srv/shop/holdfast.yaml')
    .configuration;

const host: EngineHost = { hostName: 'host-1', cores: 8, folder: '/var/lib/holdfast' };
const optionsOf = (balancer: string, app?: string, over: Partial<EngineHost> = {}) =>
  engineOptionsOf(configured(balancer, app), { ...host, ...over });

test('a configuration that says nothing of its balancer gives options in which nothing is left to chance', () => {
  const options = optionsOf('{}');
  const { health, limits, drain, slowStartMs, sticky } = resolveOptions(options);
  assert.deepEqual([health, limits, sticky], [options.health, options.limits, options.sticky]);
  assert.deepEqual(drain, { deadlineMs: 30_000, idleMs: 10_000, jitterMs: 5_000 });
  assert.equal(slowStartMs, 30_000);
  for (const absent of ['tls', 'proxyProtocol', 'accessLog', 'idempotency'])
    assert.equal(absent in options, false, absent);
});

test('every option that a configuration can give reaches the engine', () => {
  const options = optionsOf(
    `
  listen: 0.0.0.0:443
  workers: 3
  tls: { certificates: [{ certificate: a.pem, key: a.key }], redirectFrom: "0.0.0.0:80", hsts: 1d }
  sticky: address
  trustedProxies: [10.0.0.1]
  proxyProtocol: { to: v1 }
  timeout: 20s
  hold: 1s
  routes: [{ path: /a, repeatable: true }]
  deny: [^/x]
  limits: { body: 1MB }
  slowStart: 5s
  drain: { idle: 1s, jitter: 2s }
  weights: { shop-2: 3 }
  pages: { maintenance: m.html }
  accessLog: { file: "-" }`,
    'command: x, stop: { drain: 1m }, health: { path: /h, timeout: 2s, expect: { status: 200, body: ok } }',
  );
  const { limits, ...others } = options;
  assert.equal(limits?.bodyBytes, 1_048_576);
  assert.equal(limits?.holdMs, 1_000);
  assert.deepEqual(others, {
    listen: { host: '0.0.0.0', port: 443 },
    workers: 3,
    tls: {
      certificates: [{ certificate: '/srv/shop/a.pem', key: '/srv/shop/a.key' }],
      minVersion: 'TLSv1.2',
      http2: true,
      redirectFrom: { host: '0.0.0.0', port: 80 },
      hstsMs: 86_400_000,
    },
    sticky: { kind: 'address' },
    trustedProxies: ['10.0.0.1'],
    proxyProtocol: { to: 'v1' },
    health: {
      path: '/h',
      everyMs: 1_000,
      timeoutMs: 2_000,
      unhealthyAfter: 2,
      healthyAfter: 2,
      status: [200, 200],
      body: 'ok',
    },
    responseTimeoutMs: 20_000,
    routes: [{ path: '/a', repeatable: true }],
    deny: ['^/x'],
    slowStartMs: 5_000,
    drain: { deadlineMs: 60_000, idleMs: 1_000, jitterMs: 2_000 },
    weights: { 'shop-2': 3 },
    pages: { maintenance: '/srv/shop/m.html' },
    accessLog: { file: '-', sample: 1 },
  });
});

test('what is only this host’s: its cores, and the address that was asked for', () => {
  assert.equal(optionsOf('{ workers: auto }').workers, 8);
  assert.equal(optionsOf('{ workers: 2 }').workers, 2);
  const listen = { host: '127.0.0.1', port: 0 };
  assert.deepEqual(optionsOf('{ listen: ":443" }', undefined, { listen }).listen, listen);
});

test('the spread of closed WebSockets fits into the drain, however short that is', () => {
  const { drain } = optionsOf('{}', 'command: x, stop: { drain: 2s }');
  assert.deepEqual(drain, { deadlineMs: 2_000, idleMs: 10_000, jitterMs: 2_000 });
});

test('a self-signed certificate is for this host and for the address that users open', () => {
  const app = 'command: x, url: "https://Shop.example.com:8443/start"';
  assert.deepEqual(optionsOf('{ tls: { selfSigned: true, http2: false } }', app).tls, {
    certificates: [],
    selfSigned: { names: ['host-1', 'shop.example.com'], folder: '/var/lib/holdfast' },
    minVersion: 'TLSv1.2',
    http2: false,
  });
  const bracketed = optionsOf('{}', 'command: x, url: "https://[::1]:8443"', { selfSigned: true });
  assert.deepEqual(bracketed.tls?.selfSigned?.names, ['host-1', '::1']);
});

test('a self-signed certificate that was asked for stands in for the files, and promises browsers nothing', () => {
  const files = '{ tls: { certificates: [{ certificate: a, key: b }], minVersion: TLSv1.3, hsts: 1d } }';
  assert.deepEqual(optionsOf(files, undefined, { selfSigned: true }).tls, {
    certificates: [],
    selfSigned: { names: ['host-1'], folder: '/var/lib/holdfast' },
    minVersion: 'TLSv1.3',
    http2: true,
  });
});

test('a claim of an idempotency key lasts longer than the slowest request', () => {
  assert.equal(idempotencyOf(configured('{}')), undefined);
  const quick = '{ idempotency: { keep: 1h }, timeout: 10s, hold: 5s, limits: { requestTimeout: 30s } }';
  assert.deepEqual(idempotencyOf(configured(quick)), {
    keepMs: 3_600_000,
    leaseMs: 30_000 + 5_000 + 10_000 + 60_000,
  });
  const routes = '[{ path: /slow, timeout: 15m }, { path: /fast, timeout: 1s }]';
  const slow = `{ idempotency: {}, hold: 0s, routes: ${routes}, limits: { requestTimeout: 10s } }`;
  assert.equal(idempotencyOf(configured(slow))?.leaseMs, 10_000 + 900_000 + 60_000);
});
