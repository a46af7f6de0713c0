import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stickyValue } from '../../protocol/affinity.ts';
import { instanceStates } from '../../protocol/instance-state.ts';
import type { RoutedInstance, RoutingTable } from '../../protocol/routing-table.ts';
import { actualState } from './actual-state.ts';
import { backends, kindsIn, serverName } from './config-names.ts';
import {
  commandsBetween,
  emptyState,
  heldSlots,
  mapNames,
  type RuntimeState,
  type Wishes,
  wantedState,
} from './wanted-state.ts';

const stickyKey = Buffer.alloc(32, 'k').toString('base64url');

const routed = (instance: string, more: Partial<RoutedInstance> = {}): RoutedInstance => ({
  instance,
  host: '10.0.0.7',
  port: 3000,
  state: 'up',
  ...more,
});

function wishes(instances: readonly RoutedInstance[], more: Partial<Wishes> = {}): Wishes {
  const table: RoutingTable = { cluster: 'test', stickyKey, instances };
  return {
    table,
    slots: new Map(instances.map(({ instance }, index) => [instance, index + 1])),
    addressOf: (host) => host,
    weights: {},
    byBuckets: false,
    drained: new Set(),
    leaving: new Map(),
    ...more,
  };
}

test('an instance that is up gets new users, one that drains only its own, the others none', () => {
  const instances = instanceStates.map((state) => routed(state, { state }));
  const { servers, maps } = wantedState(wishes(instances));
  const slotOf = (state: string) => instances.findIndex(({ instance }) => instance === state) + 1;
  assert.deepEqual([...servers.keys()], [slotOf('up'), slotOf('draining')]);
  assert.equal(servers.get(slotOf('up'))?.weight, 64);
  assert.equal(servers.get(slotOf('draining'))?.weight, 0);
  assert.equal(servers.get(slotOf('draining'))?.reserveWeight, 64);
  assert.deepEqual([...maps.flags], [[String(slotOf('draining')), 'drain']]);
});

test('the cookie of an instance is what every balancer makes of its name, and leads there while users may come', () => {
  const { maps } = wantedState(wishes([routed('shop-1'), routed('shop-2', { state: 'lost' })]));
  const [one, two] = ['shop-1', 'shop-2'].map((name) => stickyValue(stickyKey, name));
  assert.deepEqual([...maps.owners], [[one, '1']]);
  assert.deepEqual(
    [...maps.cookies],
    [
      ['1', one],
      ['2', two],
    ],
  );
});

test('whose time to drain is over belongs nowhere, while what is under way there goes on', () => {
  const instance = routed('shop-1', { state: 'draining' });
  const { servers, maps } = wantedState(wishes([instance], { drained: new Set(['shop-1']) }));
  assert.equal(servers.get(1)?.weight, 0);
  assert.deepEqual([...maps.owners], []);
});

test('to an instance that leaves nobody comes any more, while it is still open for what is on its way', () => {
  const before = wantedState(wishes([routed('shop-1')]));
  const wish = wishes([routed('shop-1', { state: 'down' })], { leaving: before.servers });
  const after = wantedState(wish);
  const commands = commandsBetween(before, after, mapNames, (name) => name);
  assert.ok(commands.includes('set server app/a1 weight 0'));
  assert.ok(commands.includes('set server app/b1 weight 0'));
  assert.ok(commands.includes('set server any/c1 state maint'));
  assert.ok(!commands.some((command) => command.includes('app/a1 state')));
});

test('weights keep their proportion within what HAProxy takes, and none is a weight as well', () => {
  const instances = ['a', 'b', 'c', 'd'].map((name) => routed(name));
  const weights = { a: 3, b: 1, c: 0, d: 1_000 };
  const of = (state: RuntimeState) => [1, 2, 3, 4].map((slot) => state.servers.get(slot)?.weight);
  assert.deepEqual(of(wantedState(wishes(instances.slice(0, 3), { weights }))), [192, 64, 0, undefined]);
  assert.deepEqual(of(wantedState(wishes(instances, { weights }))), [1, 1, 0, 256]);
});

test('an application is under maintenance when all of its instances are, and then only', () => {
  const both = (...states: ('up' | 'maintenance' | 'down')[]) =>
    wantedState(wishes(states.map((state, index) => routed(`shop-${index}`, { state })))).maps.flags;
  assert.equal(both('maintenance', 'maintenance').get('maintenance'), 'yes');
  assert.equal(both('maintenance', 'down').get('maintenance'), undefined);
  assert.equal(wantedState(wishes([])).maps.flags.get('maintenance'), undefined);
});

test('by buckets: the order of the table and the slots do not matter, and who is not there gets no bucket', () => {
  const instances = ['a', 'b', 'c'].map((name) => routed(name));
  const owners = (state: RuntimeState, slots: ReadonlyMap<string, number>) => {
    const names = new Map([...slots].map(([name, slot]) => [String(slot), name]));
    return [...state.maps.buckets].map(([bucket, order]) => [
      bucket,
      order.split(':').map((slot) => names.get(slot)),
    ]);
  };
  const one = wishes(instances, { byBuckets: true });
  const other = wishes(instances.toReversed(), {
    byBuckets: true,
    slots: new Map([
      ['a', 7],
      ['b', 2],
      ['c', 4],
    ]),
  });
  assert.deepEqual(owners(wantedState(one), one.slots), owners(wantedState(other), other.slots));
  const gone = wishes([...instances.slice(1), routed('a', { state: 'down' })], { byBuckets: true });
  assert.ok(owners(wantedState(gone), gone.slots).every(([, order]) => !order?.includes('a')));
});

test('an instance whose host has no address yet is left out', () => {
  const { servers } = wantedState(
    wishes([routed('a', { host: 'a.example' })], { addressOf: () => undefined }),
  );
  assert.equal(servers.size, 0);
});

test('whoever takes over a HAProxy leaves the instances in their slots, by cookie or by place', () => {
  const instances = [routed('a', { port: 1 }), routed('b', { port: 2 }), routed('c', { port: 3 })];
  const slots = new Map([
    ['a', 3],
    ['b', 1],
    ['c', 2],
  ]);
  const held = wantedState(wishes(instances, { slots }));
  const withoutCookies = { ...held, maps: emptyState.maps };
  for (const state of [held, withoutCookies]) {
    assert.deepEqual(
      heldSlots(wishes(instances.toReversed()).table, state, (host) => host),
      slots,
    );
  }
  const moved = [routed('a', { port: 9 }), routed('new', { port: 8 })];
  assert.deepEqual([...heldSlots(wishes(moved).table, held, (host) => host)], [['a', 3]]);
  assert.equal(heldSlots(wishes(moved).table, undefined, (host) => host).size, 0);
});

/** What HAProxy makes of the commands, as far as we use them; its answers to `show` are made of it. */
class Model {
  readonly servers = new Map<string, { host: string; port: number; weight: number; ready: boolean }>();
  readonly maps = new Map<string, Map<string, string>>(mapNames.map((name) => [name, new Map()]));

  constructor(slots: number) {
    for (let slot = 1; slot <= slots; slot++) {
      for (const backend of backends) {
        for (const kind of kindsIn[backend]) {
          const server = { host: '127.0.0.1', port: 1, weight: 64, ready: false };
          this.servers.set(`${backend}/${serverName(kind, slot)}`, server);
        }
      }
    }
  }

  run(command: string): void {
    const [first = '', ...payload] = command.split('\n');
    const words = first.split(' ');
    const [verb, what, name = ''] = words;
    if (verb === 'set' && what === 'server') this.#setServer(name, words.slice(3));
    else if (verb === 'shutdown') assert.ok(this.servers.has(words[3] ?? ''), command);
    else if (what === 'map') this.#changeMap(verb as string, name, words.slice(3), payload);
    else assert.fail(command);
  }

  #setServer(name: string, [what, value = '', , port]: string[]): void {
    const server = this.servers.get(name);
    assert.ok(server, name);
    if (what === 'addr') Object.assign(server, { host: value, port: Number(port) });
    else if (what === 'weight') server.weight = Number(value);
    else if (what === 'state') server.ready = value === 'ready';
    else assert.equal(what, 'health');
  }

  #changeMap(verb: string, name: string, [key = '', value = '']: string[], payload: readonly string[]): void {
    const map = this.maps.get(name) as Map<string, string>;
    if (key === '<<') {
      for (const line of payload.filter((text) => text !== ''))
        this.#changeMap(verb, name, line.split(' '), []);
      return;
    }
    assert.equal(map.has(key), verb !== 'add', `${verb} ${name} ${key}`);
    if (verb === 'del') map.delete(key);
    else map.set(key, value);
  }

  state(): RuntimeState {
    const names = '# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_uweight srv_port';
    const rows = [...this.servers].map(([name, { host, port, weight, ready }]) => {
      const [backend, server] = name.split('/');
      const isTracking = !name.startsWith('app/a') && backend !== 'any';
      return `1 ${backend} 1 ${server} ${host} ${ready || isTracking ? 4 : 5} ${weight} ${port}`;
    });
    const maps = new Map(
      mapNames.map((name) => [
        name,
        [...(this.maps.get(name) ?? [])].map(([k, v]) => `0x1 ${k} ${v}`).join('\n'),
      ]),
    );
    return actualState(`1\n${names}\n${rows.join('\n')}`, maps);
  }
}

const anyTable = fc.uniqueArray(
  fc.record({
    instance: fc.constantFrom('a', 'b', 'c', 'd'),
    host: fc.constantFrom('10.0.0.1', '10.0.0.2', '::1'),
    port: fc.integer({ min: 1, max: 3 }),
    state: fc.constantFrom(...instanceStates),
  }),
  { selector: ({ instance }) => instance },
);
const slots = new Map(['a', 'b', 'c', 'd'].map((name, index) => [name, index + 1]));

test('after the commands HAProxy holds what is wanted, and reading it back tells the same', () => {
  fc.assert(
    fc.property(fc.array(anyTable, { minLength: 1, maxLength: 5 }), fc.boolean(), (tables, byBuckets) => {
      const model = new Model(4);
      let held = emptyState;
      for (const instances of tables) {
        const wanted = wantedState(wishes(instances, { slots, byBuckets }));
        for (const command of commandsBetween(held, wanted, mapNames, (name) => name)) model.run(command);
        assert.deepEqual(model.state(), wanted);
        held = wanted;
      }
      assert.deepEqual(
        commandsBetween(model.state(), held, mapNames, (name) => name),
        [],
      );
    }),
    { numRuns: 40 },
  );
});

test('a change that was cut off in the middle is finished by the next look, whatever was done already', () => {
  fc.assert(
    fc.property(anyTable, anyTable, fc.nat(), (before, after, cut) => {
      const model = new Model(4);
      const [from, to] = [before, after].map((instances) => wantedState(wishes(instances, { slots })));
      assert.ok(from && to);
      for (const command of commandsBetween(emptyState, from, mapNames, (name) => name)) model.run(command);
      const commands = commandsBetween(from, to, mapNames, (name) => name);
      for (const command of commands.slice(0, cut % (commands.length + 1))) model.run(command);
      for (const command of commandsBetween(model.state(), to, mapNames, (name) => name)) model.run(command);
      assert.deepEqual(model.state(), to);
    }),
    { numRuns: 60 },
  );
});

test('an instance is taken out before its cookie is, and comes in after its cookie', () => {
  const state = wantedState(wishes([routed('shop-1')]));
  const comes = commandsBetween(emptyState, state, mapNames, (name) => name);
  const goes = commandsBetween(state, emptyState, mapNames, (name) => name);
  const at = (commands: readonly string[], start: string) =>
    commands.findIndex((command) => command.startsWith(start));
  assert.ok(at(comes, 'add map owners') < at(comes, 'set server app/a1 state ready'));
  assert.ok(at(goes, 'set server app/a1 state maint') < at(goes, 'del map owners'));
});
