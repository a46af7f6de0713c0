import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openArbiter } from '../../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../../testing/postgres.ts';
import { until } from '../fixtures/until.ts';
import { findFreePort } from '../free-port.ts';
import { AdminClient } from './admin-client.ts';
import { databaseSettings, dutiesOfCluster, Lives, ownDuties, type TestDuties } from './life.fixture.ts';

let postgres: TestPostgres;
const lives = new Lives();
before(async () => {
  postgres = await startTestPostgres();
});
after(async () => {
  await lives.dispose();
  await postgres.stop();
});

test('a runtime is started, configured and healthy, and leaves nothing of its password behind when it stops', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({ databaseUrl, duties: ownDuties() });
  await life.untilHealthy();
  const adminFile = join(life.installation.appBase, '..', 'state', 'admin.json');
  assert.equal((await stat(adminFile)).mode & 0o077, 0);
  const admin = JSON.parse(await readFile(adminFile, 'utf8')) as { password: string };
  assert.ok(admin.password.length >= 32);
  const commandLine = await readFile(`/proc/${life.instance.pid}/cmdline`, 'utf8').catch(() => '');
  assert.ok(!commandLine.includes(admin.password));
  assert.ok(!JSON.stringify([life.lines, life.said]).includes(admin.password));

  const exit = await life.instance.stop({ killAfterMs: 30_000 });
  assert.equal(exit.code, 0);
  await assert.rejects(stat(adminFile), { code: 'ENOENT' });
});

test('its environment is empty but for what it is given, and has neither the arbiter nor session keys in it', {
  skip: process.platform !== 'linux' && 'only Linux shows it',
}, async () => {
  const life = await lives.start({
    databaseUrl: await postgres.createDatabase(),
    duties: ownDuties(),
    platform: { keepEnvironment: ['HOME'] },
    environment: {
      HOLDFAST_AGENT_URL: 'http://127.0.0.1:1',
      HOLDFAST_DATABASE: 'postgres://secret',
      HOLDFAST_SESSIONS: '{}',
      API_TOKEN: 'abc',
    },
  });
  await life.untilHealthy();
  const names = (await readFile(`/proc/${life.instance.pid}/environ`, 'utf8'))
    .split('\0')
    .flatMap((entry) => entry.split('=')[0] || []);
  assert.deepEqual(
    names
      .filter((name) => !name.startsWith('M2EE_') && !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name))
      .sort(),
    ['API_TOKEN', 'HOLDFAST_AGENT_URL', 'HOME', 'MX_INSTALL_PATH'],
  );
});

test('a runtime that listens on one address only is looked for there', {
  skip: process.platform !== 'linux' && 'only Linux has all of 127.0.0.0/8',
}, async () => {
  const life = await lives.start({
    databaseUrl: await postgres.createDatabase(),
    duties: ownDuties(),
    platform: { listenAddresses: '127.0.0.2' },
  });
  await life.untilHealthy();
  assert.equal(life.instance.address.host, '127.0.0.2');
});

test('its log comes as structured lines', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({ databaseUrl, duties: ownDuties() });
  await life.untilHealthy();
  const started = () => life.lines.find(({ fields }) => /successfully started/.test(String(fields?.message)));
  await until(() => started() !== undefined);
  assert.deepEqual([started()?.fields?.node, started()?.fields?.level], ['Core', 'INFO']);
});

for (const [version, how] of [
  ['6.10.12', 'by the framework that reads a written file'],
  ['7.4.0', 'by the launcher, with a log that is only printed'],
  ['7.23.0', 'by the launcher'],
  ['10.0.0', 'by the launcher'],
] as const) {
  test(`a runtime of version ${version} is started ${how}`, async () => {
    const databaseUrl = await postgres.createDatabase();
    const model = { RuntimeVersion: version };
    const life = await lives.start({ databaseUrl, model, duties: ownDuties() });
    await life.untilHealthy();
    await life.instance.stop({ killAfterMs: 30_000 });
  });
}

test('three runtimes find the database empty at once, and later out of sync: DDL ran exactly once each time', async () => {
  const databaseUrl = await postgres.createDatabase();
  const duties = dutiesOfCluster();
  const behaviour = {
    ddl: ['create table orders (id int)', 'insert into orders values (1)'],
    ddlPauseMs: 100,
  };
  const start = (model: object, more: object) =>
    Promise.all(
      [1, 2, 3].map(() =>
        lives.start({ databaseUrl, model, behaviour: { ...behaviour, ...more }, duties: duties() }),
      ),
    );
  const database = openArbiter({ url: databaseUrl });
  const executions = async () =>
    database.query<{ pid: number; times: number }>(
      `select pid, count(*)::int as times from "mendixsystem$ddl" where command like '%orders%' group by pid`,
    );
  const first = await start({ ModelVersion: '1' }, {});
  await Promise.all(first.map((life) => life.untilHealthy()));
  assert.deepEqual(
    (await executions()).map(({ times }) => times),
    [2],
  );
  await Promise.all(first.map(({ instance }) => instance.stop({ killAfterMs: 30_000 })));

  const next = await start({ ModelVersion: '2' }, { ddl: ['alter table orders add column paid boolean'] });
  await Promise.all(next.map((life) => life.untilHealthy()));
  assert.deepEqual((await executions()).map(({ times }) => times).sort(), [1, 2]);
  assert.equal(
    next.flatMap(({ said }) => said).filter((line) => /changing it with 2 commands/.test(line)).length,
    1,
  );
  await database.close();
});

test('whoever changes the database loses the right to: it stops at once, and another one finishes', async () => {
  const databaseUrl = await postgres.createDatabase();
  const duties = dutiesOfCluster();
  const [one, other] = [duties(), duties()];
  const slow = await lives.start({
    databaseUrl,
    behaviour: { ddl: ['create table slow (id int)'], ddlPauseMs: 60_000 },
    duties: one,
  });
  await until(() => slow.said.some((line) => /is empty: changing it/.test(line)), 60_000);
  const waiting = await lives.start({ databaseUrl, duties: other });
  one.lose();
  assert.match((await slow.instance.exited).description, /another instance may change the database now/);
  await waiting.untilHealthy();
});

test('while the leader runs the older model, the first instance with the newer one changes the database', async () => {
  const databaseUrl = await postgres.createDatabase();
  const duties = dutiesOfCluster();
  const leader = await lives.start({ databaseUrl, duties: duties() });
  await leader.untilHealthy();
  const updated = await lives.start({ databaseUrl, model: { ModelVersion: '2' }, duties: duties() });
  await updated.untilHealthy();
  assert.ok(updated.said.some((line) => /does not fit the model: changing it/.test(line)));
  assert.equal((await leader.check()).ok, true);
});

const refusals: readonly [result: 5 | 10 | 11 | 12 | 13, says: RegExp, remedy: RegExp | undefined][] = [
  [5, /An administrator of the application has the password 1: MxAdmin/, /another password/],
  [10, /The licence is not valid/, /License\.LicenseId/],
  [11, /security level .* is not set to production/, /Set it in the model/],
  [12, /after-startup microflow .* failed .*The microflow returned false/, undefined],
  [13, /does not allow mobile use/, /Get a licence/],
];
for (const [startResult, says, remedy] of refusals) {
  test(`start result ${startResult} ends the runtime with words that a person can act on`, async () => {
    const databaseUrl = await postgres.createDatabase();
    const life = await lives.start({
      databaseUrl,
      behaviour: { startResult },
      duties: ownDuties(),
    });
    const exit = await life.instance.exited;
    assert.match(exit.description, says);
    assert.match(exit.description, new RegExp(`start answered ${startResult}`));
    if (remedy) assert.match(exit.remedy ?? '', remedy);
    else assert.equal(exit.remedy, undefined, 'it may pass, so it is tried again');
  });
}

test('a change of the database that fails is not repeated before somebody has looked', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({
    databaseUrl,
    behaviour: { ddl: ['this is no SQL'] },
    duties: ownDuties(),
  });
  const exit = await life.instance.exited;
  assert.match(exit.description, /could not be changed \(execute_ddl_commands answered 1\)\. .*syntax error/);
  assert.match(exit.remedy ?? '', /part of the commands may have run/);
});

test('start result 4: the constant without a value is named', async () => {
  const databaseUrl = await postgres.createDatabase();
  const model = { Constants: [{ Name: 'Shop.ApiUrl' }] };
  const life = await lives.start({ databaseUrl, model, duties: ownDuties() });
  const exit = await life.instance.exited;
  assert.match(exit.description, /Constant 'Shop\.ApiUrl' has no value/);
  assert.match(exit.remedy ?? '', /app\.settings\.MicroflowConstants/);
});

for (const [result, key, says] of [
  [7, 'DTAPMode', /The setting DTAPMode is missing/],
  [8, 'BasePath', /The setting BasePath is missing/],
  [9, 'RuntimePath', /The setting RuntimePath is missing/],
] as const) {
  test(`start result ${result}: the missing ${key} is named`, async () => {
    const databaseUrl = await postgres.createDatabase();
    const settings = { ...databaseSettings(databaseUrl), [key]: '' };
    const life = await lives.start({ databaseUrl, platform: { settings }, duties: ownDuties() });
    const exit = await life.instance.exited;
    assert.match(exit.description, says);
    assert.ok(exit.remedy);
  });
}

test('start result 2 without a cluster around: the database is left alone and the runtime says why it ended', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({ databaseUrl });
  assert.match((await life.instance.exited).description, /has no structure of a Mendix application yet/);
});

test('start result 3 without a cluster around: the structure is left as it is and the runtime says why it ended', async () => {
  const databaseUrl = await postgres.createDatabase();
  const first = await lives.start({ databaseUrl, duties: ownDuties() });
  await first.untilHealthy();
  await first.instance.stop({ killAfterMs: 30_000 });
  const next = await lives.start({ databaseUrl, model: { ModelVersion: '2' } });
  assert.equal(
    (await next.instance.exited).description,
    'could not be started: The structure of the database does not fit the model (start answered 3). The runtime says: The database structure is not in sync with the model.',
  );
});

test('start result 6: a runtime that runs already cannot be started', async () => {
  const life = await lives.start({
    databaseUrl: await postgres.createDatabase(),
    duties: ownDuties(),
  });
  await life.untilHealthy();
  const file = join(life.installation.appBase, '..', 'state', 'admin.json');
  const client = new AdminClient(JSON.parse(await readFile(file, 'utf8')));
  await assert.rejects(client.call('start', {}), {
    code: 'RUNTIME_REFUSED',
    message:
      'The runtime cannot be started in its present state (start answered 6). The runtime says: Cannot start a runtime that is running.',
    remedy: 'Its agent stops it and starts another process.',
  });
});

for (const [code, says, needsPerson] of [
  [0, /exited with code 0 \(the runtime ended by itself\)/, false],
  [1, /only its log tells/, false],
  [2, /its admin port \d+ is in use/, false],
  [3, /its port \d+ is in use/, false],
  [4, /this Java is not one that Mendix 9\.6\.0 runs on/, true],
] as const) {
  test(`JVM exit code ${code} is explained`, async () => {
    const life = await lives.start({ databaseUrl: postgres.url, behaviour: { exitAtOnce: code } });
    const exit = await life.instance.exited;
    assert.match(exit.description, says);
    assert.equal(exit.remedy !== undefined, needsPerson);
  });
}

test('a Java that is not there is said to be that', async () => {
  const life = await lives.start({ databaseUrl: postgres.url, platform: { java: ['/no/such/java'] } });
  const exit = await life.instance.exited;
  assert.match(exit.description, /exited with code 127 \(Java was not found\)/);
  assert.match(exit.remedy ?? '', /app\.mendix\.java/);
});

test('an admin port that somebody else has makes the runtime end, and says so', async (t) => {
  const taken = createServer(
    (socket) => void socket.on('error', () => undefined).end('HTTP/1.1 200 OK\r\n\r\nhello'),
  );
  const adminPort = await findFreePort();
  await new Promise<void>((done) => taken.listen(adminPort, '127.0.0.1', done));
  t.after(() => void taken.close());
  const life = await lives.start({ databaseUrl: postgres.url, platform: { adminPort } });
  const exit = await life.instance.exited;
  assert.match(exit.description, /is answered by something else: hello|its admin port \d+ is in use/);
});

test('a port for users that somebody else has makes the runtime end, and says so', async (t) => {
  const taken = createServer();
  const port = await findFreePort();
  await new Promise<void>((done) => taken.listen(port, '127.0.0.1', done));
  t.after(() => void taken.close());
  const life = await lives.start({ databaseUrl: postgres.url, port });
  const exit = await life.instance.exited;
  assert.deepEqual([exit.code, exit.description], [3, `exited with code 3 (its port ${port} is in use)`]);
});

test('an admin port on which another runtime answers: its refusal of the password is what is said', async () => {
  const databaseUrl = await postgres.createDatabase();
  const adminPort = await findFreePort();
  const first = await lives.start({ databaseUrl, platform: { adminPort }, duties: ownDuties() });
  await first.untilHealthy();
  const second = await lives.start({ databaseUrl, platform: { adminPort } });
  const exit = await second.instance.exited;
  assert.match(exit.description, /refused the admin password|its admin port \d+ is in use/);
  assert.equal((await first.check()).ok, true);
});

test('health is what the runtime says, not that it answers', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({ databaseUrl, duties: ownDuties() });
  await life.untilHealthy();
  const { behave } = life.installation;
  await behave({ health: 'healthy' });
  assert.equal((await life.check()).ok, true);
  await behave({ health: { sick: 'the payment service is away' } });
  assert.deepEqual(await life.check(), {
    ok: false,
    reason: 'the application is sick: the payment service is away',
    restartHelps: false,
  });
  await behave({ health: 'hangs' });
  const first = await life.check(500);
  assert.ok(
    !first.ok && /the health microflow has not ended within \d+ ms/.test(first.reason),
    JSON.stringify(first),
  );
  assert.equal('restartHelps' in first, false);
});

test('a sick application stays in service where the configuration says so, with a warning', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({
    databaseUrl,
    platform: { sick: 'warn' },
    duties: ownDuties(),
  });
  await life.untilHealthy();
  await life.installation.behave({ health: { sick: 'disk almost full' } });
  assert.equal((await life.check()).ok, true);
  await life.check();
  assert.deepEqual(
    life.said.filter((line) => /^the application is/.test(line)),
    ['the application is sick: disk almost full; it stays in service'],
  );
});

test('a frozen runtime is found by its silence', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({ databaseUrl, duties: ownDuties() });
  await life.untilHealthy();
  process.kill(-(life.instance.pid ?? 0), 'SIGSTOP');
  const result = await life.check(300);
  assert.ok(!result.ok && /has not answered within \d+ ms/.test(result.reason), JSON.stringify(result));
});

test('a runtime that obeys neither shutdown nor SIGTERM is killed at the limit', async () => {
  const databaseUrl = await postgres.createDatabase();
  const life = await lives.start({
    databaseUrl,
    behaviour: { staysAlive: true },
    duties: ownDuties(),
  });
  await life.untilHealthy();
  const startMs = performance.now();
  const exit = await life.instance.stop({ killAfterMs: 1_000 });
  assert.equal(exit.signal, 'SIGKILL');
  assert.ok(performance.now() - startMs >= 900);
});

const startWithEvents = async (duties: TestDuties, scheduledEvents: 'designated' | 'post') =>
  lives.start({
    databaseUrl: await postgres.createDatabase(),
    model: { ScheduledEvents: [{ Name: 'Shop.Nightly' }] },
    duties,
    platform: { scheduledEvents },
  });

test('a leader that runs scheduled events is ended when it may not be the leader any more, another one is not', async () => {
  const duties = dutiesOfCluster();
  const [one, other] = [duties(), duties()];
  const designated = await startWithEvents(one, 'designated');
  await designated.untilHealthy();
  one.lose();
  assert.match((await designated.instance.exited).description, /it may not be the leader any more/);
  const posting = await startWithEvents(other, 'post');
  await posting.untilHealthy();
  other.lose();
  assert.equal((await posting.check()).ok, true);
});

test('P4: a leader that runs scheduled events dies without its agent when nobody proves its lease, another one does not', async () => {
  const [one, other] = [ownDuties(), ownDuties()];
  const designated = await startWithEvents(one, 'designated');
  const posting = await startWithEvents(other, 'post');
  await designated.untilHealthy();
  await posting.untilHealthy();
  one.prove(300);
  other.prove(300);
  assert.match((await designated.instance.exited).description, /its agent could not prove in time/);
  assert.equal((await posting.check()).ok, true);
});

test('a leader that is being stopped has its time for that, as long as its lease is proved', async () => {
  const duties = ownDuties();
  const life = await lives.start({
    databaseUrl: await postgres.createDatabase(),
    model: { ScheduledEvents: [{ Name: 'Shop.Nightly' }] },
    behaviour: { staysAlive: true },
    duties,
    platform: { scheduledEvents: 'designated' },
  });
  await life.untilHealthy();
  duties.prove(2_000);
  const proving = setInterval(() => duties.prove(2_000), 200);
  const startMs = performance.now();
  const exit = await life.instance.stop({ killAfterMs: 4_000 });
  clearInterval(proving);
  assert.equal(exit.description, 'was killed by SIGKILL');
  assert.ok(performance.now() - startMs >= 3_900);
});

test('an application that is not deployed, or whose runtime is not installed, is an error that names the place', async () => {
  const life = await lives.start({ databaseUrl: postgres.url, behaviour: { exitAtOnce: 1 } });
  await life.instance.exited;
  const { installation } = life;
  await installation.deploy({ RuntimeVersion: '9.7.0' });
  await assert.rejects(lives.startIn(installation.appBase, installation, { databaseUrl: postgres.url }), {
    code: 'RUNTIME_MISSING',
    message: /needs Mendix runtime 9\.7\.0, which is in none of .*\/app\/runtimes/,
  });
});
