/** The stand-in keeps what is documented of a runtime: otherwise what is tested with it would prove nothing. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openArbiter } from '../../database/arbiter.ts';
import {
  databaseSettings,
  dutiesOfCluster,
  type Life,
  Lives,
  ownDuties,
} from '../../platform/mendix/life.fixture.ts';
import { password, type RunningStandIn, startStandIn } from '../../platform/mendix/stand-in.fixture.ts';
import { startTestPostgres, type TestPostgres } from '../postgres.ts';

let postgres: TestPostgres;
let bare: RunningStandIn;
const lives = new Lives();
before(async () => {
  postgres = await startTestPostgres();
  bare = await startStandIn();
});
after(async () => {
  await lives.dispose();
  await bare.dispose();
  await postgres.stop();
});

async function resultOf(
  body: string,
  headers: Record<string, string> = {},
  method = 'POST',
): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${bare.adminPort}/`, {
    method,
    headers: {
      'content-type': 'application/json',
      'x-m2ee-authentication': Buffer.from(password).toString('base64'),
      ...headers,
    },
    body,
  });
  assert.equal(response.status, 200);
  return ((await response.json()) as { result: number }).result;
}

test('every refusal of the API comes as status 200 with a result', async () => {
  assert.equal(await resultOf('null'), -1);
  assert.equal(await resultOf('{}', { 'content-type': 'text/plain' }), -2);
  assert.equal(await resultOf('{}', {}, 'PUT'), -3);
  assert.equal(await resultOf('{}', { 'x-m2ee-authentication': 'xx' }), -4);
  assert.equal(await resultOf('{"action":"no_such_action"}'), -5);
  assert.equal(await resultOf('{'), -6);
});

test('a plain GET on the admin port is answered with 200 whenever the process lives', async () => {
  assert.equal((await fetch(`http://127.0.0.1:${bare.adminPort}/`)).status, 200);
});

test('a new process knows nothing of an earlier configuration', async () => {
  await assert.rejects(bare.client.call('start', {}), { result: 7 });
});

const pageOf = (life: Life): string => `http://127.0.0.1:${life.instance.address.port}`;

async function login(life: Life, headers: Record<string, string> = {}): Promise<string[]> {
  const body = JSON.stringify({ action: 'login', params: { username: 'ann' } });
  const response = await fetch(`${pageOf(life)}/xas/`, { method: 'POST', headers, body });
  return response.headers.getSetCookie();
}

const statusWith = async (life: Life, cookies: readonly string[]): Promise<number> => {
  const cookie = cookies.map((line) => line.split(';')[0]).join('; ');
  return (await fetch(`${pageOf(life)}/xas/`, { headers: { cookie } })).status;
};

for (const [persistent, elsewhere] of [
  [true, 200],
  [false, 401],
] as const) {
  test(`with PersistentSessions ${persistent} another runtime answers a session with ${elsewhere}`, async () => {
    const databaseUrl = await postgres.createDatabase();
    const duties = dutiesOfCluster();
    const settings = { ...databaseSettings(databaseUrl), PersistentSessions: persistent };
    const start = () => lives.start({ databaseUrl, duties: duties(), platform: { settings } });
    const [one, other] = [await start(), await start()];
    await Promise.all([one.untilHealthy(), other.untilHealthy()]);
    assert.equal(await statusWith(one, []), 401);
    const cookies = await login(one);
    assert.equal(await statusWith(one, cookies), 200);
    assert.equal(await statusWith(other, cookies), elsewhere);
  });
}

test('its cookies are secure where the proxy in front says that users come by https', async () => {
  const life = await lives.start({ databaseUrl: await postgres.createDatabase(), duties: ownDuties() });
  await life.untilHealthy();
  const [session = '', node = ''] = await login(life, { 'x-forwarded-scheme': 'https' });
  assert.match(session, /^XASSESSIONID=[\w-]+; .*; Secure$/);
  assert.match(node, /^XASID=0\.[\w-]+; /);
  assert.doesNotMatch((await login(life))[0] ?? '', /Secure/);
});

/** Two runtimes of one version with a model of two events, for three seconds. */
async function ranBy(
  version: string,
  setting: Record<string, unknown>,
): Promise<{ name: string; due: Date }[]> {
  const databaseUrl = await postgres.createDatabase();
  const duties = dutiesOfCluster();
  const start = () =>
    lives.start({
      databaseUrl,
      duties: duties(),
      model: { RuntimeVersion: version, ScheduledEvents: [{ Name: 'A.One' }, { Name: 'A.Two' }] },
      behaviour: { everyMs: { 'A.One': 500, 'A.Two': 500 } },
      platform: {
        settings: { ...databaseSettings(databaseUrl), ...setting },
        scheduledEvents: version === '9.6.0' ? 'gate' : 'runtime',
      },
    });
  const both = await Promise.all([start(), start()]);
  await Promise.all(both.map((life) => life.untilHealthy()));
  await delay(3_000);
  await Promise.all(both.map(({ instance }) => instance.stop({ killAfterMs: 20_000 })));
  const database = openArbiter({ url: databaseUrl });
  const rows = await database.query<{ name: string; due: Date }>(
    'select name, due from "system$scheduledeventinformation"',
  );
  await database.close();
  return rows;
}

const momentsOf = (rows: readonly { name: string; due: Date }[]): number =>
  new Set(rows.map(({ name, due }) => `${name} ${Number(due)}`)).size;

test('before 9.12 two runtimes that may run events both do, and only those that are specified', async () => {
  const rows = await ranBy('9.6.0', { ScheduledEventExecution: 'SPECIFIED', MyScheduledEvents: ['A.One'] });
  assert.ok(rows.every(({ name }) => name === 'A.One'));
  assert.ok(rows.length > momentsOf(rows), 'no moment was run twice');
});

test('from 9.12 the runtimes share a queue: each moment is run once', async () => {
  const rows = await ranBy('9.24.0', {});
  assert.ok(rows.length >= 4);
  assert.equal(rows.length, momentsOf(rows));
});
