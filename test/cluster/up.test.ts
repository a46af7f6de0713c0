/** `holdfast up` as its users meet it: one per folder, clean on Ctrl-C, whole again after a `kill -9` of everything. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as httpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openClient } from './client.fixture.ts';
import { freePort, processesOf, runHoldfast, startCluster, until } from './cluster.fixture.ts';

test('up refuses a second one in the same folder, says what runs, and leaves nothing behind on Ctrl-C', async () => {
  const cluster = await startCluster({ instances: 2 });
  try {
    const second = await runHoldfast(['up', '-c', cluster.configFile], cluster.folder);
    assert.equal(second.code, 1);
    assert.match(second.err, new RegExp(`already runs here: process ${cluster.process.pid}`));
    assert.doesNotMatch(second.err, /at .*\.ts:\d+/);

    const status = await cluster.status();
    assert.deepEqual(Object.keys(status), [
      'cluster',
      'arbiter',
      'events',
      'balancers',
      'instances',
      'takeoverWorstCaseMs',
    ]);
    const keys = [
      'instance',
      'state',
      'address',
      'pid',
      'agentPid',
      'incarnation',
      'leaseRemainingMs',
      'revision',
      'sessions',
    ];
    for (const key of keys) assert.ok(key in (status.instances[0] ?? {}), key);
    const page = await fetch((status.instances[0] as unknown as { healthPage: string }).healthPage);
    assert.equal(page.status, 200);
    assert.equal(await page.text(), 'OK\n');

    const startMs = performance.now();
    assert.equal(await cluster.interrupt(), 0);
    assert.ok(performance.now() - startMs < 8_000, 'it took too long to stop');
    assert.deepEqual(
      await until(
        async () => processesOf(cluster.folder),
        (left) => left.length === 0,
        2_000,
      ),
      [],
    );
  } finally {
    await cluster.dispose();
  }
});

test('P5: after a kill -9 of everything a new up finds its data and is whole again', async () => {
  const first = await startCluster({ instances: 2 });
  const client = openClient(first.url);
  try {
    await client.post('/login', { user: 'ada' });
    await client.post('/basket', { item: 'teapot' });
    for (const line of processesOf(first.folder)) {
      try {
        process.kill(Number.parseInt(line, 10), 'SIGKILL');
      } catch {
        // it died with the one before it
      }
    }
    await until(
      async () => processesOf(first.folder),
      (left) => left.length === 0,
    );
    const second = await startCluster({ folder: first.folder });
    try {
      await second.allUp();
      assert.equal((await client.get('/whoami')).body.user, 'ada');
      assert.match(JSON.stringify((await client.get('/basket')).body), /teapot/);
    } finally {
      await second.interrupt();
    }
  } finally {
    client.close();
    await first.dispose();
  }
});

test('external instances are only watched: a dead one gets no users, and nobody starts it again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-external-'));
  const servers = ['one', 'two'].map((name) => httpServer((_request, response) => response.end(name)));
  const ports = await Promise.all(
    servers.map(async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      return (server.address() as AddressInfo).port;
    }),
  );
  const [first, second] = servers;
  const instances = ports.map((port, index) => `{ name: web-${index + 1}, url: 'http://127.0.0.1:${port}' }`);
  const app = `app: { platform: external, instances: [${instances.join(', ')}] }`;
  const balancer = `balancer:\n  listen: 127.0.0.1:${await freePort()}`;
  await writeFile(join(folder, 'holdfast.yaml'), `cluster: web\n${app}\n${balancer}\n`);
  const cluster = await startCluster({ folder });
  try {
    assert.equal((await cluster.instance('web-1')).pid, null);
    first?.closeAllConnections();
    first?.close();
    await until(
      () => cluster.instance('web-1'),
      ({ state }) => state === 'down',
    );
    for (let visit = 0; visit < 10; visit++) assert.equal(await (await fetch(cluster.url)).text(), 'two');
  } finally {
    await cluster.dispose();
    second?.closeAllConnections();
    second?.close();
  }
});

test('P3: a second agent of a name that is held is refused with a message that says who holds it', async () => {
  const cluster = await startCluster({ instances: 2 });
  try {
    const { agentPid } = await cluster.instance('shop-1');
    const { url } = JSON.parse(await readFile(join(cluster.folder, '.holdfast/arbiter.json'), 'utf8'));
    const elsewhere = await mkdtemp(join(tmpdir(), 'holdfast-second-'));
    const second = await runHoldfast(['agent', '--instance', 'shop-1', '--state', elsewhere], elsewhere, {
      ...process.env,
      HOLDFAST_DATABASE: url,
    });
    await rm(elsewhere, { recursive: true });
    assert.equal(second.code, 1);
    assert.match(second.err, new RegExp(`shop-1 is held by a live agent: process ${agentPid} on `));
    assert.equal((await cluster.instance('shop-1')).state, 'up');
  } finally {
    await cluster.dispose();
  }
});

test('P10: a mistake in the configuration names file, line, column and the nearest key, and starts nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-mistake-'));
  const file = join(folder, 'holdfast.yaml');
  await writeFile(file, 'cluster: shop\napp:\n  comand: node server.js\n');
  const { code, err } = await runHoldfast(['up', '-c', file], folder);
  await rm(folder, { recursive: true });
  assert.equal(code, 1);
  assert.match(err, /holdfast\.yaml:3:3/);
  assert.match(err, /command/);
  assert.doesNotMatch(err, /at .*\.ts:\d+/);
});

test('P10: an address that is taken is said at once, and nothing is started', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-taken-'));
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const file = join(folder, 'holdfast.yaml');
  const settings = `app: { command: node server.js }\nbalancer: { listen: '127.0.0.1:${port}' }`;
  await writeFile(file, `cluster: shop\n${settings}\n`);
  const { code, err } = await runHoldfast(['up', '-c', file], folder);
  other.close();
  assert.equal(code, 1);
  assert.match(err, new RegExp(`cannot listen on 127.0.0.1:${port}: another program listens there`));
  assert.deepEqual(processesOf(folder), []);
  await rm(folder, { recursive: true });
});

test('usage errors end with code 2 and help ends with code 0', async () => {
  const wrong = await runHoldfast(['statsu'], tmpdir());
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /Did you mean status/);
  const help = await runHoldfast(['--help'], tmpdir());
  assert.equal(help.code, 0);
  assert.match(help.out, /holdfast up/);
});
