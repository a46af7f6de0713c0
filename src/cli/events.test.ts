import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { defineEvent, eventRow } from '../events/definition.ts';
import { claim, defineEvents, finish, waiting } from '../events/ledger.ts';
import { plainFacts } from '../members/member-facts.fixture.ts';
import { join, type Membership } from '../members/membership.ts';
import { parseConfiguration } from '../settings/index.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';

const file = `
cluster: shop
app: { command: node server.js, instances: [shop-1] }
events:
  nightly-invoices: { schedule: "30 2 * * *", timezone: Europe/Amsterdam, run: { post: /invoices } }
  stock: { every: 15m, run: { command: ./stock } }
  leader: { on: designated, appointed: { command: ./on } }
`;

let postgres: TestPostgres;
let arbiter: Arbiter;
let url: string;
let folder: string;
let member: Membership;

before(async () => {
  folder = await mkdtemp(joinPath(tmpdir(), 'holdfast-events-'));
  await writeFile(joinPath(folder, 'holdfast.yaml'), file);
  postgres = await startTestPostgres();
  url = await postgres.createDatabase();
  arbiter = openArbiter({ url });
  const joined = await join(arbiter.query, {
    instance: 'shop-1',
    agentId: 'a',
    provedDead: [],
    watched: null,
    ttlMs: 600_000,
    state: 'up',
    facts: plainFacts,
  });
  assert.equal(joined.outcome, 'joined');
  member = joined.membership;
  const { events } = parseConfiguration(file, 'holdfast.yaml').configuration;
  const [stock] = events.filter(({ name }) => name === 'stock');
  assert.ok(stock);
  const all = [...events, { ...stock, name: 'holdfast-ledger' }];
  await defineEvents(
    arbiter.query,
    1,
    all.map((settings) => eventRow(defineEvent(settings, 'shop-1'), [])),
  );
});
after(async () => {
  await arbiter.close();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function holdfast(args: readonly string[], database = url): Promise<Said> {
  const main = joinPath(import.meta.dirname, 'main.ts');
  const { HOLDFAST_DATABASE: _, ...rest } = process.env;
  const env = { ...rest, NO_COLOR: '1', ...(database === '' ? {} : { HOLDFAST_DATABASE: database }) };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'events', ...args], { cwd: folder, env }, (failure, out, error) =>
      resolve({ code: failure ? Number(failure.code) : 0, out, error }),
    );
  });
}

const json = async (...args: string[]) => JSON.parse((await holdfast([...args, '--json'])).out);

/** Does what an agent would: claims what waits and ends it so. */
async function work(
  event: string,
  outcome: 'succeeded' | 'failed',
  reason: string | null = null,
): Promise<void> {
  const wanted = async () =>
    (await waiting(arbiter.query, 'shop-1')).find((one) => one.event === event)?.occurrence;
  let occurrence = await wanted();
  for (let tries = 0; occurrence === undefined && tries < 400; tries++) {
    await delay(25);
    occurrence = await wanted();
  }
  assert.ok(occurrence, `${event} waits`);
  const answer = await claim(arbiter.query, member, [{ event, place: '', occurrence }]);
  const granted = answer.outcome === 'answered' ? answer.answers[0] : undefined;
  assert.equal(granted?.outcome, 'granted');
  const { token } = granted;
  await finish(arbiter.query, [{ token, outcome, reason, result: 'done', retryMs: null, prefer: null }]);
}

test('list shows the events of the configuration; built-in ones with --all', async () => {
  const { code, out } = await holdfast(['list']);
  assert.equal(code, 0);
  assert.match(out, /^nightly-invoices {2}daily at 02:30 Europe\/Amsterdam {2}one {3,}– .*idle$/m);
  assert.doesNotMatch(out, /holdfast-ledger/);
  assert.match((await holdfast(['list', '--all'])).out, /holdfast-ledger/);
  const listed = (await json('list')) as { event: string; next: string | null }[];
  assert.deepEqual(
    listed.map(({ event, next }) => [event, next !== null]),
    [
      ['leader', false],
      ['nightly-invoices', true],
      ['stock', true],
    ],
  );
});

test('an event with a misspelt name is an error with exit code 1 that gives the nearest name', async () => {
  for (const command of [['preview'], ['runs'], ['trigger'], ['pause', '--reason', 'x'], ['resume']]) {
    const { code, error } = await holdfast([...command, 'nightly-invoice']);
    assert.equal(code, 1, command.join(' '));
    assert.match(error, /has no event "nightly-invoice"\.\n.*Did you mean nightly-invoices\?/);
  }
});

test('wrong usage is exit code 2, and says what was expected', async () => {
  const wrong: readonly [string[], RegExp][] = [
    [['pause', 'stock'], /--reason/],
    [['pause', 'stock', '--reason', ' '], /expected words/],
    [['trigger', 'stock', '--payload', '{month: 1}'], /Expected JSON/],
    [['trigger', 'stock', '--timeout', '5m'], /--timeout says how long --wait waits/],
    [['trigger', 'stock', '--wait', '--timeout', '5'], /Expected a span/],
    [['trigger', 'leader'], /leader has nothing to run/],
    [['runs', '--outcome', 'broken'], /Allowed choices are succeeded, failed/],
    [['runs', '--limit', '0'], /Expected a number from 1/],
    [['runs', '--since', 'yesterday'], /--since: expected a span such as 6h/],
    [['preview', 'stock', '--from', 'soon'], /--from: expected a date/],
  ];
  for (const [args, text] of wrong) {
    const { code, error } = await holdfast(args);
    assert.deepEqual([args, code], [args, 2]);
    assert.match(error, text);
  }
});

test('trigger asks for a run; --wait follows it to its end, which is the exit code', async () => {
  const succeeding = holdfast(['trigger', 'stock', '--wait', '--timeout', '30s', '--by', 'alice']);
  await work('stock', 'succeeded');
  const { code, out } = await succeeding;
  assert.equal(code, 0, out);
  assert.match(out, /^stock: asked for\.\n(.*\n)*.*succeeded on shop-1 after .*\n {2}answer: done\n$/);

  const failing = holdfast(['trigger', 'stock', '--wait', '--payload', '{"month":1}', '--json']);
  await work('stock', 'failed', 'HTTP 500');
  const failed = await failing;
  assert.equal(failed.code, 1);
  const { outcome, occurrences } = JSON.parse(failed.out);
  assert.deepEqual(
    [outcome, occurrences[0].outcome, occurrences[0].reason],
    ['failed', 'failed', 'HTTP 500'],
  );

  const { out: runs } = await holdfast(['runs', 'stock', '--outcome', 'failed', '--since', '1h']);
  assert.match(runs, /Z {2}stock {2}failed {3}shop-1 {2}.*; HTTP 500$/m);
  assert.equal((await json('runs', 'stock', '--since', '1h')).length, 2);
  assert.deepEqual(await json('runs', 'stock', '--outcome', 'missed'), []);
});

test('waiting for a run ends at its time-out with exit code 1, and leaves the run as it is', async () => {
  const { code, out } = await holdfast(['trigger', 'stock', '--wait', '--timeout', '200ms']);
  assert.equal(code, 1);
  assert.match(out, /waits to be begun\nNot waiting any longer\. It goes on by itself\.\n$/);
  await work('stock', 'succeeded');
});

test('pause and resume say what they did, and change nothing the second time', async () => {
  const reason = 'wrong prices';
  const first = await holdfast(['pause', 'stock', '--reason', reason, '--by', 'alice']);
  assert.match(first.out, /^stock is paused: what is due is recorded as skipped/);
  const second = await holdfast(['pause', 'stock', '--reason', 'mine', '--by', 'bob']);
  assert.equal(second.code, 0);
  assert.match(second.out, /^stock was paused already, by alice, .*: wrong prices$/m);
  const [listed] = (await json('list')).filter(({ event }: { event: string }) => event === 'stock');
  assert.deepEqual([listed.state, listed.paused.by, listed.paused.reason], ['paused', 'alice', reason]);
  assert.match((await holdfast(['resume', 'stock'])).out, /^stock goes on; it is due next at .*Z\.$/m);
  assert.equal((await json('resume', 'stock')).outcome, 'unchanged');
});

test('preview shows what is in force, and without an arbiter what the file says', async () => {
  const inForce = await holdfast(['preview', 'nightly-invoices', '--from', '2027-03-28', '--count', '1']);
  assert.match(inForce.out, /Sun 2027-03-28 03:00\+02:00 {2}2027-03-28 01:00Z .*DST: moved past gap/);
  const away = await holdfast(['preview', 'stock', '--count', '2', '--json'], '');
  assert.deepEqual(
    [away.code, JSON.parse(away.out).source, JSON.parse(away.out).due.length],
    [0, 'holdfast.yaml', 2],
  );
  assert.match(away.error, /No arbiter answers; this is what holdfast\.yaml says/);
  const offline = await holdfast(['preview', 'stok', '--offline']);
  assert.equal(offline.code, 1);
  assert.match(offline.error, /holdfast\.yaml has no event "stok"\.\n.*Did you mean stock\?/);
});

test('a database without a cluster is an error in words', async () => {
  const { code, error } = await holdfast(['list'], postgres.url);
  assert.equal(code, 1);
  assert.match(error, /holds no Holdfast cluster yet/);
});

test('the help of every command has an example', async () => {
  for (const command of ['list', 'runs', 'preview', 'trigger', 'pause', 'resume']) {
    const { code, out } = await holdfast([command, '--help']);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`\n  holdfast events ${command} `), command);
  }
});
