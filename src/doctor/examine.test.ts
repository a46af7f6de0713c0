import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../database/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Check, type Finding, green, yellow } from './check.ts';
import { type DoctorContext, observed } from './context.ts';
import { countVerdicts, examine } from './examine.ts';

const context = {} as DoctorContext;

const check = (id: Check['id'], run: (context: DoctorContext) => Promise<Finding>): Check => ({
  id,
  claim: `The claim of ${id}`,
  run,
});

const run = (checks: readonly Check[], deadlineMs = 20_000) =>
  examine(checks, context, { clock: systemClock, deadlineMs });

test('each result is told as soon as it is there, in the order of the checks', async () => {
  const told: string[] = [];
  const checks = [
    check('arbiter.one', async () => green(['fine'])),
    check('hosts.two', async () => yellow(['tight'], 'Make room.', { free: 1 })),
  ];
  const results = await examine(checks, context, {
    clock: systemClock,
    deadlineMs: 20_000,
    onBegin: ({ id }) => told.push(`begin ${id}`),
    onResult: ({ id, verdict }) => told.push(`${id} ${verdict}`),
  });
  assert.deepEqual(told, ['begin arbiter.one', 'arbiter.one green', 'begin hosts.two', 'hosts.two yellow']);
  const { tookMs, ...second } = results[1] as (typeof results)[number];
  assert.ok(tookMs >= 0);
  assert.deepEqual(second, {
    id: 'hosts.two',
    group: 'hosts',
    claim: 'The claim of hosts.two',
    verdict: 'yellow',
    evidence: ['tight'],
    remedy: 'Make room.',
    figures: { free: 1 },
  });
});

test('a check that throws is red, says what it threw, and the next one runs', async () => {
  const results = await run([
    check('arbiter.broken', async () => {
      throw new TypeError('x is not a function');
    }),
    check('arbiter.fine', async () => green(['fine'])),
  ]);
  assert.deepEqual(
    results.map(({ verdict }) => verdict),
    ['red', 'green'],
  );
  assert.match(results[0]?.evidence[0] ?? '', /x is not a function/);
  assert.ok(results[0]?.remedy);
});

test('a check that never ends is red after its deadline, and the next one runs', async () => {
  const results = await run(
    [
      check('arbiter.endless', () => new Promise(() => undefined)),
      check('arbiter.fine', async () => green(['fine'])),
    ],
    30,
  );
  assert.deepEqual(
    results.map(({ verdict }) => verdict),
    ['red', 'green'],
  );
  assert.match(results[0]?.evidence[0] ?? '', /no result within 30ms/);
});

test('an arbiter that is away makes a check "not checked": one cause is one red, that of arbiter.primary', async () => {
  const [result] = await run([
    check('events.preview', async () => {
      throw new HoldfastError('ARBITER_UNAVAILABLE', 'The arbiter cannot be reached.');
    }),
  ]);
  assert.equal(result?.verdict, 'not checked');
  assert.match(result?.remedy ?? '', /arbiter\.primary/);
});

test('what fails for a table that is missing is not checked: arbiter.tables names it', async () => {
  const [result] = await run([
    check('instances.up', async () => {
      throw Object.assign(new Error('relation "holdfast.balancer" does not exist'), { code: '42P01' });
    }),
  ]);
  assert.equal(result?.verdict, 'not checked');
  assert.match(result?.remedy ?? '', /arbiter\.tables/);
});

test('an observation is made once for each examination, also when it fails', async () => {
  let looked = 0;
  const look = observed(async () => {
    looked++;
    throw new Error(`look ${looked}`);
  });
  const [one, other] = [{} as DoctorContext, {} as DoctorContext];
  await assert.rejects(look(one), /look 1/);
  await assert.rejects(look(one), /look 1/);
  await assert.rejects(look(other), /look 2/);
});

test('verdicts are counted, those that do not occur too', () => {
  const counts = countVerdicts([{ verdict: 'red' }, { verdict: 'green' }, { verdict: 'red' }]);
  assert.deepEqual(counts, { green: 1, yellow: 0, red: 2, 'not checked': 0 });
});
