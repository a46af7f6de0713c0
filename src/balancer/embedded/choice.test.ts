import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type InstanceState, instanceStates, keepsItsUsers } from '../../protocol/instance-state.ts';
import { seededRandom } from '../../testing/simulation/random.ts';
import { type Candidate, chooseInstance } from './choice.ts';

interface Place extends Candidate {
  readonly name: string;
  inFlight: number;
  assigned: number;
}

const place = (name: string, facts: Partial<Candidate> = {}): Place => ({
  name,
  state: 'up',
  healthy: true,
  inFlight: 0,
  latencyMs: 0,
  assigned: 0,
  weight: 1,
  warmth: 1,
  ...facts,
});

interface Question {
  readonly owner?: Place;
  readonly excluded?: readonly Place[];
  readonly random?: () => number;
}

const choose = (places: readonly Place[], { owner, excluded = [], random }: Question = {}) =>
  chooseInstance(places, {
    owner,
    excluded: (candidate) => excluded.includes(candidate),
    random: random ?? seededRandom(1).next,
  });

const draws = 20_000;

/** New users come one after the other; the share of them that each place got. `stay`: and each keeps a request going. */
function sharesOf(places: readonly Place[], stay = false): Record<string, number> {
  const random = seededRandom(7).next;
  const got = new Map(places.map(({ name }) => [name, 0]));
  for (let user = 0; user < draws; user++) {
    const chosen = choose(places, { random });
    assert.ok(chosen);
    chosen.assigned++;
    if (stay) chosen.inFlight++;
    got.set(chosen.name, (got.get(chosen.name) ?? 0) + 1);
  }
  return Object.fromEntries([...got].map(([name, count]) => [name, count / draws]));
}

function assertShares(
  shares: Readonly<Record<string, number>>,
  expected: Readonly<Record<string, number>>,
): void {
  for (const [name, share] of Object.entries(expected))
    assert.ok(Math.abs((shares[name] ?? 0) - share) < 0.02, `${name}: ${JSON.stringify(shares)}`);
}

test('a user stays with the own instance, however busy, cold or drained it is', () => {
  for (const facts of [
    { inFlight: 99, latencyMs: 999 },
    { warmth: 0.1 },
    { weight: 0 },
    { state: 'draining' },
  ] as const) {
    const owner = place('own', facts);
    assert.equal(choose([place('a'), owner, place('b')], { owner }), owner);
  }
});

test('a user whose instance is sick, gone or has just failed this request goes elsewhere', () => {
  const other = place('other');
  for (const facts of [
    { healthy: false },
    { state: 'down' },
    { state: 'maintenance' },
    { state: 'lost' },
  ] as const) {
    const owner = place('own', facts);
    assert.equal(choose([owner, other], { owner }), other);
  }
  const owner = place('own');
  assert.equal(choose([owner, other], { owner, excluded: [owner] }), other);
  assert.equal(choose([other], { owner }), other, 'it is no longer in the table');
});

test('when every instance looks sick the word of the agents counts, for owners as well', () => {
  const [sick, owner, down] = [
    place('sick', { healthy: false }),
    place('own', { healthy: false }),
    place('down', { state: 'down' }),
  ];
  assert.equal(choose([sick, owner, down], { owner }), owner);
  assert.equal(choose([sick, owner, down], { owner, excluded: [owner] }), sick);
  assert.equal(choose([down]), undefined);
});

test('one healthy instance is enough for no panic, even where this request failed there', () => {
  const [healthy, sick] = [place('healthy'), place('sick', { healthy: false })];
  assert.equal(choose([healthy, sick], { excluded: [healthy] }), undefined);
});

test('a draining instance, and one of weight 0, get new users only where there is nobody else', () => {
  for (const facts of [{ state: 'draining' }, { weight: 0 }] as const) {
    const leaving = place('leaving', facts);
    assertShares(sharesOf([leaving, place('busy', { inFlight: 99 })]), { leaving: 0 });
    assert.equal(choose([leaving, place('sick', { healthy: false })]), leaving);
  }
});

test('equal instances get equal shares', () => {
  assertShares(sharesOf([place('a'), place('b'), place('c')]), { a: 1 / 3, b: 1 / 3, c: 1 / 3 });
  assertShares(sharesOf([place('a'), place('b'), place('c')], true), { a: 1 / 3, b: 1 / 3, c: 1 / 3 });
});

test('over many users the shares are as the weights say, whether they stay or go', () => {
  for (const stay of [false, true]) {
    assertShares(sharesOf([place('a', { weight: 3 }), place('b')], stay), { a: 0.75, b: 0.25 });
    const four = [place('a', { weight: 0.5 }), place('b', { weight: 2 }), place('c'), place('d')];
    assertShares(sharesOf(four, stay), { a: 0.5 / 4.5, b: 2 / 4.5, c: 1 / 4.5, d: 1 / 4.5 });
  }
});

test('one instance may have a weight that outdoes all the others together', () => {
  const four = [place('a', { weight: 9 }), place('b'), place('c'), place('d')];
  assertShares(sharesOf(four), { a: 0.75, b: 1 / 12, c: 1 / 12, d: 1 / 12 });
});

test('an instance that warms up gets about so much of what comes, and all of it where everybody is cold', () => {
  assertShares(sharesOf([place('cold', { warmth: 0.1 }), place('a')]), { cold: 0.1, a: 0.9 });
  const halfWarm = sharesOf([place('cold', { warmth: 0.2 }), place('a'), place('b'), place('c')]);
  assert.ok((halfWarm.cold ?? 0) > 0.05 && (halfWarm.cold ?? 0) < 0.2, JSON.stringify(halfWarm));
  assertShares(sharesOf([place('cold', { warmth: 0.01 }), place('other', { warmth: 0.01 })]), {
    cold: 0.5,
    other: 0.5,
  });
});

test('of two the one with less to do is taken, and what takes longer counts as more', () => {
  const [busy, idle] = [place('busy', { inFlight: 2 }), place('idle', { inFlight: 1 })];
  assert.equal(choose([busy, idle]), idle);
  const [slow, quick] = [
    place('slow', { inFlight: 1, latencyMs: 200 }),
    place('quick', { inFlight: 5, latencyMs: 5 }),
  ];
  assert.equal(choose([slow, quick]), quick);
  const [one, other] = [
    place('one', { inFlight: 2, latencyMs: 1 }),
    place('other', { inFlight: 3, latencyMs: 0.1 }),
  ];
  assert.equal(choose([one, other]), one, 'a few milliseconds are not remarkable');
});

test('any two may meet, so that the busy ones are spared and still used', () => {
  const [a, b, c, d] = [place('a'), place('b', { inFlight: 9 }), place('c'), place('d', { inFlight: 9 })];
  assertShares(sharesOf([a, b, c, d]), { a: 5 / 12, b: 1 / 12, c: 5 / 12, d: 1 / 12 });
});

test('in quiet times a slow instance gets fewer users', () => {
  assertShares(sharesOf([place('slow', { latencyMs: 20 }), place('quick')]), { slow: 0.25, quick: 0.75 });
});

test('the busiest of several never gets a new user', () => {
  const many = [
    place('busiest', { inFlight: 5 }),
    place('a', { inFlight: 4 }),
    place('b', { inFlight: 4 }),
    place('c'),
  ];
  assertShares(sharesOf(many), { busiest: 0 });
});

const anyPlace = fc
  .record({
    state: fc.constantFrom<InstanceState>(...instanceStates),
    healthy: fc.boolean(),
    inFlight: fc.nat(5),
    latencyMs: fc.nat(100),
    assigned: fc.nat(5),
    weight: fc.constantFrom(0, 0.5, 1, 3),
    warmth: fc.constantFrom(0.1, 0.5, 1),
    isExcluded: fc.boolean(),
  })
  .map(({ isExcluded, ...facts }) => ({ isExcluded, candidate: place('any', facts) }));

test('whoever is chosen may be, and somebody is chosen whenever anybody may be', () => {
  fc.assert(
    fc.property(fc.array(anyPlace, { maxLength: 6 }), fc.nat(7), fc.integer(), (entries, ownerAt, seed) => {
      const places = entries.map(({ candidate }) => candidate);
      const excluded = places.filter((_, index) => entries[index]?.isExcluded);
      const owner = places[ownerAt];
      const chosen = choose(places, { ...(owner && { owner }), excluded, random: seededRandom(seed).next });
      const routable = places.filter(({ state }) => keepsItsUsers(state));
      const healthy = routable.filter((candidate) => candidate.healthy);
      const usable = (healthy.length > 0 ? healthy : routable).filter(
        (candidate) => !excluded.includes(candidate),
      );
      assert.equal(chosen === undefined, usable.length === 0);
      if (chosen !== undefined) assert.ok(usable.includes(chosen));
      if (owner !== undefined && usable.includes(owner)) assert.equal(chosen, owner);
    }),
    { numRuns: 2_000 },
  );
});
