/**
 * Runs the simulation over many seeds. A failing seed prints what happened last and how to replay exactly that run.
 * More seeds: `npm run simulate -- --seeds 5000`.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  openSimulatedDatabase,
  type RunResult,
  type SimulatedDatabase,
  simulate,
  simulateMonth,
} from '../../src/testing/index.ts';
import { messageFaults } from '../../src/testing/simulation/arbiter.ts';
import { faultKinds } from '../../src/testing/simulation/faults.ts';

const seeds = 200;

let database: SimulatedDatabase;
before(async () => {
  database = await openSimulatedDatabase();
});
after(() => database.close());

function explain({ seed, violation, trace }: RunResult): string {
  return `seed ${seed}: ${violation?.message}\n${trace.join('\n')}\nReplay: npm run simulate -- --seed ${seed}`;
}

/** Every fault, every way in which something can end, and the rare turns of the protocol. */
const sometimes = [
  ...faultKinds,
  ...messageFaults.map((fault) => `message ${fault}`),
  ...['declared lost', 'fenced', 'expired', 'taken over after watching', 'rejoined after a seen death'],
  ...['refused: held by a live agent', 'named lease granted'],
  ...['another revision', 'instance that never comes back'],
  ...['run asked for by a person', 'event paused', 'hand-over failed'],
  ...['outcome succeeded', 'outcome failed', 'outcome skipped', 'outcome missed', 'outcome abandoned'],
  ...['run succeeded', 'run failed', 'run lost', 'run handed over', 'run returned'],
  ...[
    'claim granted',
    'claim recorded',
    'claim skipped',
    'claim moved',
    'claim early',
    'claim changed',
    'claim taken',
  ],
  ...['claims fenced', 'claims grace', 'result done', 'result ended', 'result unknown'],
  ...['work completed', 'work failed', 'work aborted', 'work died'],
  ...['command killed by its watchdog', 'work stopped when it woke without a lease'],
  ...['work repeated', 'work forgotten by a failover'],
];

test(`P1, P2, P3, P4, P5, P9: hold in ${seeds} simulated runs, and every fault really happens`, async (context) => {
  const happened = new Map<string, number>();
  const failed: RunResult[] = [];
  const startedMs = performance.now();
  for (let seed = 1; seed <= seeds && failed.length < 3; seed++) {
    const result = await simulate(seed, database);
    for (const [kind, count] of result.happened) happened.set(kind, (happened.get(kind) ?? 0) + count);
    if (result.violation) failed.push(result);
  }
  context.diagnostic(`${seeds} seeds in ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);
  assert.equal(failed.length, 0, failed.map(explain).join('\n\n'));
  assert.deepEqual(
    sometimes.filter((kind) => !happened.has(kind)),
    [],
    'these never happened: the simulation proves nothing about them',
  );
});

test('a seed replays exactly', async () => {
  const [first, second, other] = [
    await simulate(17, database),
    await simulate(17, database),
    await simulate(18, database),
  ];
  assert.equal(first.digest, second.digest);
  assert.notEqual(first.digest, other.digest);
});

for (const season of ['spring', 'autumn'] as const) {
  test(`P2: in the days around a change of the clocks in ${season} every moment has one outcome`, async (context) => {
    const result = await simulateMonth(1, database, { days: 3, events: 40, season });
    assert.equal(result.violation, undefined, explain(result));
    context.diagnostic(JSON.stringify(result.verdict?.counts));
  });
}
