import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runHoldfast } from '../../test/cluster/cluster.fixture.ts';
import { Lives, ownDuties } from '../platform/mendix/life.fixture.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { requestLines, sessionLines } from './runtime-view.ts';

let postgres: TestPostgres;
let folder: string;
const lives = new Lives();
before(async () => {
  postgres = await startTestPostgres();
  folder = await mkdtemp(join(tmpdir(), 'holdfast-runtime-'));
  const life = await lives.start({
    databaseUrl: await postgres.createDatabase(),
    duties: ownDuties(),
    platform: { adminFile: join(folder, '.holdfast', 'mendix', 'claims-1.json') },
  });
  await life.untilHealthy();
  const { host, port } = life.instance.address;
  const login = { action: 'login', params: { username: 'ann' } };
  await fetch(`http://${host}:${port}/xas/`, { method: 'POST', body: JSON.stringify(login) });
});
after(async () => {
  await lives.dispose();
  await postgres.stop();
  await rm(folder, { recursive: true });
});

const holdfast = (...args: string[]) => runHoldfast(['runtime', ...args], folder);

test('runtime sessions names the users who are logged in', async () => {
  const { code, out } = await holdfast('sessions', 'claims-1');
  assert.equal(code, 0);
  assert.match(out, /^1 user is logged in\n {4}ann\n/);
  const json = JSON.parse((await holdfast('sessions', 'claims-1', '--json')).out);
  assert.deepEqual([json.count, json.users], [1, ['ann']]);
});

test('runtime requests and statistics show what the runtime does', async () => {
  assert.match((await holdfast('requests', 'claims-1')).out, /no request is being worked on/);
  const { out } = await holdfast('statistics', 'claims-1');
  assert.match(out, /^requests\n {4}\/xas\/ +\d+\n/);
  assert.match(out, /web server\n {4}max idle time s/);
});

test('runtime loglevel sets a level and shows it', async () => {
  const { code, out } = await holdfast('loglevel', 'claims-1', 'ConnectionBus', 'debug');
  assert.deepEqual([code, out], [0, 'ConnectionBus  DEBUG\n']);
  const wrong = await holdfast('loglevel', 'claims-1', 'Core', 'LOUD');
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /LOUD is no log level/);
});

test('a runtime that does not run here is an error that says where to ask', async () => {
  const { code, err } = await holdfast('requests', 'claims-9');
  assert.equal(code, 1);
  assert.match(
    err,
    /No Mendix runtime with the name claims-9 runs here.*\n.*Ask on the host of the instance/,
  );
});

test('a runtime that has gone without its agent is an error as well', async () => {
  const file = join(folder, '.holdfast', 'mendix', 'claims-8.json');
  await mkdir(join(folder, '.holdfast', 'mendix'), { recursive: true });
  await writeFile(file, JSON.stringify({ host: '127.0.0.1', port: 1, password: 'x' }));
  const { code, err } = await holdfast('requests', 'claims-8');
  assert.equal(code, 1);
  assert.match(err, /The admin port 127\.0\.0\.1:1 refuses connections/);
});

test('of requests, the longest comes first, with what it is at', () => {
  assert.deepEqual(
    requestLines({
      a: { request_duration: 5, type: 'CLIENT', user: 'ann' },
      b: { request_duration: 900, type: 'WS', action_stack: ['Orders.Send', { name: 'Orders.Sum' }] },
    }),
    ['b  900 ms  WS  nobody', '    Orders.Send', '    {"name":"Orders.Sum"}', 'a  5 ms  CLIENT  ann'],
  );
});

test('when not all users are shown, it is said', () => {
  assert.deepEqual(sessionLines({ count: 2, users: ['ann'] }, { named_users: 2 }), [
    '2 users are logged in (the first 1)',
    '    ann',
    'named users  2',
  ]);
});
