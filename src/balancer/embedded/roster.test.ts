import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cookieValue, type Desk, factsOf, openDesk, viewOf } from './routing.fixture.ts';

const names = ['shop-1', 'shop-2', 'shop-3', 'shop-4'] as const;
const byHeader = { sticky: { kind: 'header', header: 'X-Tenant' } } as const;
const byAddress = { sticky: { kind: 'address' } } as const;
const keys = Array.from({ length: 400 }, (_, index) => `10.0.${index >> 4}.${index & 15}`);
const tenant = (key: string) => ({ lines: [`X-Tenant: ${key}`] });

const places = (desk: Desk): (string | undefined)[] => keys.map((key) => desk.chosen(tenant(key)));

test('the cookie names the instance, with its user or without, and nothing else does', () => {
  const desk = openDesk({}, ...names);
  const value = cookieValue('shop-3');
  for (const sticky of [value, `${value}.`, `${value}.abc123`, `${value}.${'u'.repeat(32)}`]) {
    const facts = factsOf({ sticky });
    assert.equal(desk.roster.ownerOf(facts)?.view.instance, 'shop-3', sticky);
    assert.equal(facts.user, sticky.slice(23));
  }
  const strange = [
    '',
    'shop-3',
    value.slice(1),
    `${value}x`,
    `${value}x.u`,
    `${value}.${'u'.repeat(33)}`,
    `.${value}`,
  ];
  for (const sticky of strange) assert.equal(desk.roster.ownerOf(factsOf({ sticky })), undefined, sticky);
});

test('a user stays with the instance that the cookie names, and goes elsewhere when it is sick or gone', () => {
  const desk = openDesk({}, ...names);
  const request = { sticky: `${cookieValue('shop-3')}.ada` };
  for (let visit = 0; visit < 20; visit++) assert.equal(desk.chosen(request), 'shop-3');
  assert.notEqual(desk.chosen(request, 'shop-3'), 'shop-3');
  desk.apply(viewOf('shop-1'), viewOf('shop-3', { healthy: false }));
  assert.equal(desk.chosen(request), 'shop-1');
  desk.apply(viewOf('shop-1'));
  assert.equal(desk.chosen(request), 'shop-1');
  desk.apply(viewOf('shop-1'), viewOf('shop-3'));
  assert.equal(desk.chosen(request), 'shop-3');
});

test('whom a cookie names is looked up anew when it or the instances change', () => {
  const desk = openDesk({}, ...names);
  const facts = factsOf({ sticky: cookieValue('shop-1') });
  assert.equal(desk.roster.ownerOf(facts)?.view.instance, 'shop-1');
  facts.sticky = cookieValue('shop-2');
  assert.equal(desk.roster.ownerOf(facts)?.view.instance, 'shop-2', 'the next request of the connection');
  facts.sticky = cookieValue('shop-1');
  desk.apply(viewOf('shop-2'));
  assert.equal(desk.roster.ownerOf(facts), undefined);
  desk.apply(viewOf('shop-1'), viewOf('shop-2'));
  const owner = desk.roster.ownerOf(facts);
  assert.ok(owner !== undefined && desk.roster.has(owner));
});

test('an instance at another address is another one, and nothing is left of what was counted of it', () => {
  const desk = openDesk({}, ...names);
  const before = desk.roster.routable()[0];
  before?.began();
  desk.apply(viewOf('shop-1', { lifeSigns: 1 }));
  assert.equal(desk.roster.traffic()[0]?.requests, 1, 'news of the same one changes nothing');
  desk.apply(viewOf('shop-1', { port: 2 }));
  assert.equal(desk.roster.traffic()[0]?.requests, 0);
  assert.equal(before?.isRetired, true);
});

test('what is remembered of a key is not who was there before', () => {
  const desk = openDesk(byAddress, 'shop-1');
  const chosen = () => desk.roster.choose(factsOf({ address: '10.0.0.1' }), () => false);
  assert.ok(chosen());
  desk.apply(viewOf('shop-1', { port: 2 }));
  assert.equal(chosen()?.isRetired, false);
});

test('the same value of the header, or the same address, always comes to the same instance, and all are used', () => {
  for (const [options, request] of [
    [byHeader, tenant],
    [byAddress, (address: string) => ({ address })],
  ] as const) {
    const [desk, other] = [openDesk(options, ...names), openDesk(options, ...names.toReversed())];
    const chosen = keys.map((key) => desk.chosen(request(key)));
    assert.deepEqual(
      keys.map((key) => desk.chosen(request(key))),
      chosen,
    );
    assert.deepEqual(
      keys.map((key) => other.chosen(request(key))),
      chosen,
      'on every balancer',
    );
    for (const name of names) assert.ok(chosen.filter((one) => one === name).length > 60, name);
  }
});

test('when an instance is lost only its keys move, and they come back with it', () => {
  const desk = openDesk(byHeader, ...names);
  const before = places(desk);
  for (const lost of names) {
    const others = names.filter((name) => name !== lost).map((name) => viewOf(name));
    for (const remains of [[], [viewOf(lost, { state: 'down' })], [viewOf(lost, { healthy: false })]]) {
      desk.apply(...remains, ...others);
      const meanwhile = places(desk);
      for (const [index, place] of before.entries()) {
        if (place === lost) assert.notEqual(meanwhile[index], lost);
        else assert.equal(meanwhile[index], place);
      }
      assert.ok(
        new Set(meanwhile.filter((_, index) => before[index] === lost)).size === 3,
        'they are spread',
      );
    }
    desk.apply(...names.map((name) => viewOf(name)));
    assert.deepEqual(places(desk), before);
  }
});

test('an instance that failed this very request is passed over for this request alone', () => {
  const desk = openDesk(byAddress, ...names);
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const first = desk.chosen({ address }) ?? '';
      assert.notEqual(desk.chosen({ address }, first), first);
      assert.equal(desk.chosen({ address }), first);
    }),
  );
});

test('without the header a request goes to whoever has least to do', () => {
  const desk = openDesk(byHeader, 'shop-1', 'shop-2');
  desk.roster.routable()[0]?.began();
  for (let visit = 0; visit < 20; visit++) assert.equal(desk.chosen(), 'shop-2');
});

test('an instance that has as much to do as it may is passed over, but its own users wait for it', () => {
  const desk = openDesk({ limits: { requestsPerInstance: 2 } }, 'shop-1', 'shop-2');
  const [quick, slow] = desk.roster.routable();
  assert.ok(quick && slow);
  slow.latencyMs = 1_000;
  slow.began();
  quick.began();
  for (let visit = 0; visit < 20; visit++) assert.equal(desk.chosen(), 'shop-1');
  quick.began();
  for (let visit = 0; visit < 20; visit++) assert.equal(desk.chosen(), 'shop-2');
  assert.equal(desk.chosen({ sticky: cookieValue('shop-1') }), 'shop-1');
  slow.began();
  assert.equal(desk.chosen(), 'shop-1', 'where all are busy it waits for one of them');
});

test('while an instance drains its users stay until they are idle or the deadline comes; others do not come', () => {
  const desk = openDesk({ drain: { idleMs: 1_000, deadlineMs: 5_000 } }, 'shop-1', 'shop-2');
  const [first] = desk.roster.routable();
  const user = (name: string) => ({ sticky: `${cookieValue('shop-1')}.${name}` });
  for (const name of ['ada', 'bob']) first?.census.note(name, 0);
  desk.apply(viewOf('shop-1', { state: 'draining' }), viewOf('shop-2'));
  assert.equal(desk.chosen(user('ada')), 'shop-1');
  assert.equal(desk.chosen(user('stranger')), 'shop-2');
  for (let visit = 0; visit < 20; visit++) assert.equal(desk.chosen(), 'shop-2');
  for (let passedMs = 0; passedMs < 4_500; passedMs += 500) {
    first?.census.note('ada', desk.clock.nowMs);
    desk.pass(500);
  }
  assert.equal(desk.chosen(user('ada')), 'shop-1');
  assert.equal(desk.chosen(user('bob')), 'shop-2', 'idle');
  desk.pass(500);
  assert.equal(desk.chosen(user('ada')), 'shop-2', 'the deadline');
  desk.apply(viewOf('shop-1', { state: 'down' }), viewOf('shop-2'));
  desk.apply(viewOf('shop-1', { births: 1 }), viewOf('shop-2'));
  assert.equal(desk.chosen(user('stranger')), 'shop-1', 'no longer draining');
});

test('the first instances are warm, one that comes later or back warms up', () => {
  const desk = openDesk({ slowStartMs: 1_000 }, 'shop-1');
  const warmth = () => desk.roster.traffic().map((seen) => seen.warmth);
  assert.deepEqual(warmth(), [1]);
  desk.apply(viewOf('shop-1'), viewOf('shop-2'));
  assert.deepEqual(warmth(), [1, 0.1]);
  desk.pass(500);
  assert.deepEqual(warmth(), [1, 0.5]);
  desk.apply(viewOf('shop-1', { births: 1 }), viewOf('shop-2'));
  desk.pass(600);
  assert.deepEqual(warmth(), [0.6, 1]);
});

test('it is maintenance when every instance is under maintenance, and not when there is none', () => {
  const desk = openDesk({});
  assert.deepEqual([desk.roster.isUnderMaintenance, desk.roster.isAnyRoutable], [false, false]);
  desk.apply(viewOf('shop-1', { state: 'maintenance' }), viewOf('shop-2', { state: 'down' }));
  assert.deepEqual([desk.roster.isUnderMaintenance, desk.roster.isAnyRoutable], [false, false]);
  desk.apply(viewOf('shop-1', { state: 'maintenance' }), viewOf('shop-2', { state: 'maintenance' }));
  assert.deepEqual([desk.roster.isUnderMaintenance, desk.roster.isAnyRoutable], [true, false]);
  desk.apply(
    viewOf('shop-1', { state: 'maintenance' }),
    viewOf('shop-2', { state: 'draining', healthy: false }),
  );
  assert.deepEqual([desk.roster.isUnderMaintenance, desk.roster.isAnyRoutable], [false, true]);
});

test('somebody healthy beside an instance is another one, routable, and not the one that left the table', () => {
  const desk = openDesk({}, 'shop-1', 'shop-2');
  const [first, second] = desk.roster.routable();
  assert.ok(first && second);
  assert.equal(desk.roster.hasHealthyBeside(first), true);
  desk.apply(viewOf('shop-1'), viewOf('shop-2', { state: 'maintenance' }));
  assert.equal(desk.roster.hasHealthyBeside(first), false);
  desk.apply(viewOf('shop-1'));
  assert.equal(desk.roster.hasHealthyBeside(first), false);
  assert.equal(desk.roster.hasHealthyBeside(second), true);
});
