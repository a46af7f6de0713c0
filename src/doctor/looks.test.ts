/** How instances are reached: on the way that there is, and never another one in their place. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Arbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { stickyValue } from '../protocol/affinity.ts';
import type { DoctorContext } from './context.ts';
import type { Ask, HttpAnswer } from './http-client.ts';
import { looks } from './looks.ts';

const stickyKey = Buffer.alloc(32, 1).toString('base64url');

const memberOn = (instance: string, host: string, address: string) => ({
  ...{ instance, state: 'up', left: false, maintenance: [] },
  facts: { host, address: { host: address, port: 5_000 }, agentPid: 1, pid: 2, revision: 1 },
});

/** An arbiter that knows two instances, on their own loopback addresses, and a balancer. */
function contextWith(ask: Ask, { address = '127.0.0.1', balancerHost = 'lb' } = {}): DoctorContext {
  const view = {
    ...{ cluster: 'shop', revision: 1 },
    members: [memberOn('shop-1', 'a', address), memberOn('shop-2', 'b', address)],
    balancers: [{ name: 'lb', seenAgoMs: 100, facts: { host: balancerHost, listen: '0.0.0.0:8080' } }],
  };
  const document = { cluster: 'shop', app: { command: 'true', url: 'https://shop.example.com' } };
  const query = async (text: string): Promise<unknown[]> => {
    if (text.includes('as view')) return [{ view }];
    if (text.includes('sticky_key as key')) return [{ key: stickyKey }];
    return [{ number: '1', document }];
  };
  return {
    ...{
      arbiter: { query } as unknown as Arbiter,
      arbiterAddress: '',
      arbiterHosts: 1,
      clock: systemClock,
      ask,
    },
    ...{ host: 'desk', version: '1', probePath: '/holdfast/probe', newMark: () => 'abcdef0123456789' },
  };
}

const answer = (body: object): HttpAnswer => ({
  ...{
    status: 200,
    headers: {},
    setCookies: [],
    body: JSON.stringify(body),
    tookMs: 1,
    localAddress: '10.0.0.9',
  },
});

test('instances that only their own host reaches are asked through a balancer, each by the cookie that names it', async () => {
  const asked: string[] = [];
  const byCookie: Ask = async ({ url, headers = {} }) => {
    asked.push(new URL(url).host);
    const owner = ['shop-1', 'shop-2'].find((name) => headers.cookie?.includes(stickyValue(stickyKey, name)));
    assert.equal(headers.host, 'shop.example.com');
    return answer({ instance: owner, settings: {} });
  };
  const { told, silent } = await looks(contextWith(byCookie));
  assert.deepEqual(
    told.map(({ name, look }) => [name, look.instance]),
    [
      ['shop-1', 'shop-1'],
      ['shop-2', 'shop-2'],
    ],
  );
  assert.deepEqual(silent, []);
  assert.deepEqual([...new Set(asked)], ['lb:8080'], 'nobody else was asked');
});

test('an instance that answers in the place of another is not taken for it', async () => {
  const { told, silent } = await looks(contextWith(async () => answer({ instance: 'shop-1', settings: {} })));
  assert.deepEqual(
    told.map(({ name }) => name),
    ['shop-1'],
  );
  assert.match(silent[0] ?? '', /^shop-2: .*through the balancer shop-1 answered in its place\.$/);
});

test('an instance that can be reached is asked itself; when it does not answer, through a balancer', async () => {
  const asked: string[] = [];
  const ask: Ask = async ({ url, headers = {} }) => {
    const { host } = new URL(url);
    asked.push(host);
    if (host === '10.0.0.1:5000') return { noAnswer: 'connect ECONNREFUSED' };
    const isSecond = headers.cookie?.includes(stickyValue(stickyKey, 'shop-2'));
    return answer({ instance: isSecond ? 'shop-2' : 'shop-1', settings: {} });
  };
  const { told } = await looks(contextWith(ask, { address: '10.0.0.1' }));
  assert.equal(told.length, 2);
  assert.deepEqual(asked.toSorted(), ['10.0.0.1:5000', '10.0.0.1:5000', 'lb:8080', 'lb:8080']);
});

test('without any way the sentence says why, for each instance', async () => {
  const { told, silent } = await looks(contextWith(async () => ({ noAnswer: 'getaddrinfo ENOTFOUND lb' })));
  assert.deepEqual(told, []);
  assert.deepEqual(silent, [
    'shop-1: it is reached on its own host only: run the doctor on a; through the balancer getaddrinfo ENOTFOUND lb.',
    'shop-2: it is reached on its own host only: run the doctor on b; through the balancer getaddrinfo ENOTFOUND lb.',
  ]);
});

test('an application without a probe is asked once', async () => {
  let asked = 0;
  const page: Ask = async () => {
    asked++;
    return { ...answer({}), status: 404, body: '<h1>Not here</h1>' };
  };
  const { silent } = await looks(contextWith(page, { address: '10.0.0.1' }));
  assert.equal(asked, 2, 'for each of two instances');
  assert.match(silent[0] ?? '', /shop-1: the answer was 404, and not of a probe/);
});
