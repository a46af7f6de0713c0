/**
 * The shop's scheduled events: two instances, a database whose ledger knows the runs, and an agent that is played by
 * the test.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Arbiter, openArbiter } from '../../src/database/arbiter.ts';
import {
  type FakeAgent,
  type Ledger,
  openLedger,
  runHeaders,
  secret,
  startFakeAgent,
} from '../../src/events/application/claimed-run.fixture.ts';
import { loadConfiguration } from '../../src/settings/load.ts';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import {
  endProcesses,
  errorOf,
  type Instance,
  startInstance,
  tinyPng,
  Visitor,
} from './shop-in-processes.ts';

let postgres: TestPostgres;
let databaseUrl: string;
let arbiter: Arbiter;
let ledger: Ledger;
let agent: FakeAgent;
let files: string;
let one: Instance;
let two: Instance;

before(async () => {
  postgres = await startTestPostgres();
  files = await mkdtemp(join(tmpdir(), 'holdfast-shop-'));
  databaseUrl = await postgres.createDatabase();
  arbiter = openArbiter({ url: databaseUrl });
  ledger = await openLedger(arbiter);
  agent = await startFakeAgent();
  const environment = (name: string) => ({
    HOLDFAST_AGENT_URL: agent.url,
    HOLDFAST_AGENT_SECRET: secret,
    TMPDIR: join(files, name),
  });
  [one, two] = await Promise.all([
    startInstance('shop-1', databaseUrl, files, environment('shop-1')),
    startInstance('shop-2', databaseUrl, files, environment('shop-2')),
  ]);
});

after(async () => {
  endProcesses();
  await agent.close();
  await arbiter.close();
  await postgres.stop();
  await rm(files, { recursive: true, force: true });
});

async function callEvent(
  instance: Instance,
  name: string,
  options: { token: bigint; payload?: unknown },
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${instance.url}/holdfast/events/${name}`, {
    method: 'POST',
    headers: runHeaders(options.token, { 'holdfast-event': name, 'holdfast-due': new Date().toISOString() }),
    body: JSON.stringify(options.payload ?? null),
  });
  return { status: response.status, text: await response.text() };
}

async function order(visitor: Visitor, ...items: string[]): Promise<string> {
  for (const item of items) await visitor.post(one, '/basket', { item });
  const placed = await visitor.post(two, '/orders', {});
  assert.equal(placed.status, 201);
  return ((await placed.json()) as { number: string }).number;
}

interface ShownOrder {
  readonly number: string;
  readonly pieces: number;
  readonly totalCents: number;
  readonly invoice: string | null;
}

async function ordersOf(visitor: Visitor): Promise<ShownOrder[]> {
  return ((await visitor.get(one, '/orders')) as { orders: ShownOrder[] }).orders;
}

test('the configuration names the events that the shop handles', async () => {
  const { configuration } = await loadConfiguration(fileURLToPath(new URL('holdfast.yaml', import.meta.url)));
  const events = configuration.events.map(({ name, on, run }) => [name, on.kind, run]);
  assert.deepEqual(events, [
    ['nightly-invoices', 'one', { kind: 'post', path: '/holdfast/events/nightly-invoices' }],
    ['picture-clean-up', 'each', { kind: 'post', path: '/holdfast/events/picture-clean-up' }],
    ['stock-report', 'one', { kind: 'command', command: 'node stock-report.ts' }],
  ]);
  const unknown = await callEvent(one, 'nothing', { token: 1n });
  assert.deepEqual(
    [unknown.status, /Handlers: (.*)\.$/.exec(unknown.text)?.[1]],
    [404, 'nightly-invoices, picture-clean-up'],
  );
  assert.equal((await fetch(`${one.url}/holdfast/events/nightly-invoices`, { method: 'POST' })).status, 403);
});

suite('Orders and invoices', () => {
  test('an order takes what can be ordered out of the basket, and the rest stays', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    await order(ada, 'anchor', 'rope', 'anchor', 'a parrot');
    assert.deepEqual(await ada.get(two, '/basket'), { user: 'Ada', items: ['a parrot'] });
    const [placed] = await ordersOf(ada);
    assert.deepEqual([placed?.pieces, placed?.totalCents, placed?.invoice], [3, 16_790, null]);
    const nothing = await ada.post(one, '/orders', {});
    assert.equal(nothing.status, 409);
    assert.match(await errorOf(nothing), /nothing in the basket that can be ordered/);
    assert.equal((await new Visitor().post(one, '/orders', {})).status, 401);
    assert.match(await (await ada.page(one, '/orders')).text(), /tonight.*€167\.90/s);
    await callEvent(one, 'nightly-invoices', { token: await ledger.grant() });
  });

  test('P1: every order gets one invoice, by whichever instance, and the outcome with it', async () => {
    const grace = await Visitor.loggedIn(two, 'Grace');
    await order(grace, 'bell');
    await order(grace, 'lantern', 'lantern');
    const token = await ledger.grant();
    assert.equal((await callEvent(two, 'nightly-invoices', { token })).status, 200);
    assert.deepEqual(await ledger.runOf(token), { outcome: 'succeeded', result: '2 invoices' });
    const invoiced = await ordersOf(grace);
    assert.equal(new Set(invoiced.map(({ invoice }) => invoice)).size, 2);
    assert.ok(invoiced.every(({ invoice }) => invoice !== null));
    assert.match(await (await grace.page(two, '/orders')).text(), /No\. \d+/);

    const again = await ledger.grant();
    assert.equal((await callEvent(one, 'nightly-invoices', { token: again })).status, 200);
    assert.equal((await ledger.runOf(again))?.result, '0 invoices');
    assert.deepEqual(await ordersOf(grace), invoiced);
  });

  test('P3: an instance whose run was taken over writes nothing', async () => {
    const edith = await Visitor.loggedIn(one, 'Edith');
    await order(edith, 'compass');
    const token = await ledger.grant();
    await ledger.end(token);
    const stale = await callEvent(one, 'nightly-invoices', { token });
    assert.deepEqual(stale, { status: 409, text: `Run ${token} counts no more: shop-1 was declared lost.` });
    assert.equal((await ordersOf(edith))[0]?.invoice, null);
  });
});

suite('The stock report', () => {
  async function report(
    environment: Record<string, string>,
  ): Promise<{ code: number; output: string; errors: string }> {
    const command = spawn(process.execPath, [fileURLToPath(new URL('stock-report.ts', import.meta.url))], {
      env: { PATH: process.env.PATH, HOLDFAST_DATABASE: databaseUrl, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, errors, [code]] = await Promise.all([
      command.stdout.toArray(),
      command.stderr.toArray(),
      once(command, 'exit'),
    ]);
    return { code, output: Buffer.concat(output).toString(), errors: Buffer.concat(errors).toString() };
  }

  test('says what is left and what was sold, and the shop shows it', async () => {
    const alan = await Visitor.loggedIn(one, 'Alan');
    await order(alan, ...Array<string>(35).fill('flag'));
    const run = {
      HOLDFAST_DUE: '2027-01-01T10:15:00.000Z',
      HOLDFAST_TOKEN: '20',
      HOLDFAST_INSTANCE: 'shop-2',
    };
    const { code, output } = await report(run);
    assert.equal(code, 0);
    assert.match(output, /^Signal flag +5 left +35 sold {3}order more$/m);
    assert.match(output, /^Telescope +40 left +0 sold$/m);
    const shown = (await alan.get(two, '/stock')) as { report: { text: string; madeBy: string } };
    assert.deepEqual([`${shown.report.text}\n`, shown.report.madeBy], [output, 'shop-2']);
    assert.match(
      await (await new Visitor().page(one, '/stock')).text(),
      /As of 2027-01-01 10:15 UTC, counted by shop-2/,
    );
  });

  test('P3: a later attempt replaces it, an earlier one that comes late does not', async () => {
    const due = { HOLDFAST_DUE: '2027-01-01T10:30:00.000Z' };
    assert.equal((await report({ ...due, HOLDFAST_TOKEN: '31', HOLDFAST_INSTANCE: 'shop-3' })).code, 0);
    const late = await report({ ...due, HOLDFAST_TOKEN: '30', HOLDFAST_INSTANCE: 'shop-1' });
    assert.equal(late.code, 1);
    assert.equal(late.errors, 'Run 30 is out of date: a later one has made this report.\n');
    const { report: shown } = (await new Visitor().get(one, '/stock')) as { report: { madeBy: string } };
    assert.equal(shown.madeBy, 'shop-3');
  });

  test('P10: without a database it says what is missing in one line', async () => {
    const { code, errors } = await report({ HOLDFAST_DATABASE: '' });
    assert.equal(code, 1);
    assert.match(errors, /^HOLDFAST_DATABASE is not set.*\n$/);
  });
});

suite('The picture clean-up', () => {
  const copiesOf = (name: string) => readdir(join(files, name, 'holdfast-shop', name));

  test('each instance removes its own copies that nobody looked at; the pictures stay', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const options = { method: 'POST', body: tinyPng, headers: { 'content-type': 'image/png' } };
    const sent = await ada.ask(one, '/pictures', options);
    const { id, url } = (await sent.json()) as { id: string; url: string };
    const look = async (instance: Instance) => {
      const picture = await fetch(instance.url + url);
      assert.deepEqual(Buffer.from(await picture.arrayBuffer()), tinyPng);
    };
    for (const instance of [one, two, one, two]) await look(instance);
    assert.deepEqual([await copiesOf('shop-1'), await copiesOf('shop-2')], [[id], [id]]);

    const recent = await callEvent(one, 'picture-clean-up', { token: 5n, payload: { unusedHours: 1 } });
    assert.deepEqual(recent, { status: 200, text: '0 copies removed' });
    const unused = await callEvent(one, 'picture-clean-up', { token: 6n, payload: { unusedHours: 0 } });
    assert.deepEqual(unused, { status: 200, text: '1 copy removed' });
    assert.deepEqual([await copiesOf('shop-1'), await copiesOf('shop-2')], [[], [id]]);
    await look(one);
    assert.deepEqual(await copiesOf('shop-1'), [id]);
  });
});
