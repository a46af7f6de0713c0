import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { InstanceState } from '../../protocol/instance-state.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import { HoldfastError } from '../../support/errors.ts';
import { ask } from '../../testing/balancer/client.ts';
import { until } from '../../testing/balancer/until.ts';
import type { Engine, EngineOptions } from '../engine.ts';
import { startHaproxyEngine } from './engine.ts';
import { prepareHaproxyFolder } from './folder.ts';
import { filesIn } from './place.ts';
import { findHaproxy, isAlive, type Running } from './process.ts';

const binary = process.env.HAPROXY ?? 'haproxy';
const skip = spawnSync(binary, ['-v']).status === 0 ? false : 'there is no haproxy on this machine';

/** What is to be ended before a folder is removed. */
const endings = new Map<string, (() => Promise<void>)[]>();

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-'));
  endings.set(folder, []);
  t.after(async () => {
    for (const end of endings.get(folder) ?? []) await end();
    await rm(folder, { recursive: true, force: true });
  });
  return folder;
}

const endWith = (folder: string, end: () => Promise<void>): void => void endings.get(folder)?.push(end);

/** An application with one instance, in this process: it says its name, and on `/slow` after a while. */
async function instance(t: TestContext, name: string): Promise<number> {
  const server = http.createServer(({ url }, response) => {
    setTimeout(() => response.end(name), url === '/slow' ? 300 : 0);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const table = (ports: Readonly<Record<string, number>>, state: InstanceState = 'up'): RoutingTable => ({
  cluster: 'test',
  stickyKey: Buffer.alloc(32, 'k').toString('base64url'),
  instances: Object.entries(ports).map(([name, port]) => ({
    instance: name,
    host: '127.0.0.1',
    port,
    state,
  })),
});

const listen = { host: '127.0.0.1', port: 0 };

async function started(folder: string, options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await startHaproxyEngine({ listen, ...options }, { folder, binary, slots: 4 });
  endWith(folder, () => engine.close({ graceMs: 0 }));
  return engine;
}

async function asks(port: number, path = '/'): Promise<string> {
  const { status, body } = await ask({ port, path });
  return `${status} ${body}`;
}

async function running(folder: string): Promise<Running> {
  let found: Running | undefined;
  await until('a HAProxy runs in the folder', async () => {
    found = await findHaproxy(filesIn(folder));
    return found !== undefined;
  });
  return found as Running;
}

describe('the HAProxy engine and its process', { skip }, () => {
  for (const who of ['worker', 'master'] as const) {
    test(`kill -9 of the ${who}: HAProxy is started again on the same port and knows the instances`, async (t) => {
      const folder = await temporaryFolder(t);
      const engine = await started(folder);
      const { port } = engine.status().listen;
      engine.apply(table({ 'shop-1': await instance(t, 'one') }));
      await until('it serves', async () => (await asks(port)) === '200 one');
      const before = await running(folder);
      process.kill(who === 'worker' ? before.workerPid : before.masterPid, 'SIGKILL');
      await until('both processes are gone', () => !isAlive(before.masterPid) && !isAlive(before.workerPid));
      await until('it serves again', async () => (await asks(port).catch(String)) === '200 one');
      const after = await running(folder);
      assert.notEqual(after.masterPid, before.masterPid);
      assert.deepEqual(engine.status().listen, { host: '127.0.0.1', port });
    });
  }

  test('what was counted before HAProxy died is not forgotten', async (t) => {
    const folder = await temporaryFolder(t);
    const engine = await started(folder);
    const { port } = engine.status().listen;
    engine.apply(table({ 'shop-1': await instance(t, 'one') }));
    for (let i = 0; i < 3; i++) assert.equal(await asks(port), '200 one');
    const requests = () => engine.status().instances[0]?.requests;
    await until('three are counted', () => requests() === 3);
    process.kill((await running(folder)).workerPid, 'SIGKILL');
    await until('it serves again', async () => (await asks(port).catch(String)) === '200 one');
    await until('four are counted', () => requests() === 4);
    assert.ok(engine.status().clients.accepted >= 4);
  });

  test('a HAProxy whose Holdfast was killed goes on, and the next Holdfast takes it over as it is', async (t) => {
    const folder = await temporaryFolder(t);
    const ports = { 'shop-1': await instance(t, 'one') };
    const child = await otherHoldfast(folder, ports);
    const before = await running(folder);
    const port = await portOf(folder);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(await asks(port), '200 one');
    const engine = await started(folder, { listen: { ...listen, port } });
    assert.equal((await running(folder)).workerPid, before.workerPid);
    assert.equal(await asks(port), '200 one', 'it was not emptied by the one that came');
    engine.apply(table({ 'shop-2': await instance(t, 'two') }));
    await until('it knows the new table', async () => (await asks(port)) === '200 two');
    await engine.close({ graceMs: 0 });
    assert.equal(isAlive(before.masterPid), false);
  });

  test('a new engine takes the HAProxy over from an old one, which leaves it alone from then on', async (t) => {
    const folder = await temporaryFolder(t);
    const old = await started(folder);
    const { port } = old.status().listen;
    const ports = { 'shop-0': await instance(t, 'zero'), 'shop-1': await instance(t, 'one') };
    old.apply(table(ports));
    old.apply(table({ 'shop-1': ports['shop-1'] }));
    await until('it serves', async () => (await asks(port)) === '200 one');
    const before = await running(folder);
    const next = await started(folder, { listen: { ...listen, port } });
    const slow = asks(port, '/slow');
    next.apply(table({ 'shop-1': ports['shop-1'] }));
    await old.close({ graceMs: 0 });
    assert.equal(await slow, '200 one', 'nobody was moved to another slot');
    assert.equal(await asks(port), '200 one');
    assert.equal((await running(folder)).workerPid, before.workerPid);
    process.kill(before.workerPid, 'SIGKILL');
    await until('the new one starts it again', async () => (await asks(port).catch(String)) === '200 one');
    await next.close({ graceMs: 0 });
    assert.equal(await findHaproxy(filesIn(folder)), undefined);
  });

  test('a process that ends without closing its engine leaves no HAProxy behind', async (t) => {
    const folder = await temporaryFolder(t);
    const child = await otherHoldfast(folder, { 'shop-1': await instance(t, 'one') });
    const { masterPid, workerPid } = await running(folder);
    child.send('end');
    await once(child, 'exit');
    await until('HAProxy is gone', () => !isAlive(masterPid) && !isAlive(workerPid));
  });

  test('another configuration is loaded without a refused connection, and the instances are known at once', async (t) => {
    const folder = await temporaryFolder(t);
    const ports = { 'shop-1': await instance(t, 'one') };
    const child = await otherHoldfast(folder, ports);
    const { masterPid } = await running(folder);
    const port = await portOf(folder);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const failures: string[] = [];
    let isDone = false;
    const clients = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!isDone) {
          const answer = await asks(port).catch((error) => String(error));
          if (answer !== '200 one') failures.push(answer);
        }
      }),
    );
    const options = { listen: { ...listen, port }, deny: ['^/secret'] };
    const engine = await started(folder, options);
    engine.apply(table(ports));
    await until('the new rule counts', async () => (await asks(port, '/secret')).startsWith('404'));
    isDone = true;
    await clients;
    assert.deepEqual(failures, []);
    assert.equal((await running(folder)).masterPid, masterPid);
  });

  test('a HAProxy that somebody else runs is driven, and neither stopped nor told to load anything', async (t) => {
    const folder = await temporaryFolder(t);
    const options = { listen: { ...listen, port: await freePort() } };
    await prepareHaproxyFolder(options, { folder, slots: 4 });
    const { config, master } = filesIn(folder);
    const theirs = spawn(binary, ['-W', '-S', master, '-f', config], { stdio: 'ignore' });
    t.after(() => theirs.kill('SIGTERM'));
    await until('it runs', async () => (await findHaproxy(filesIn(folder))) !== undefined);
    const engine = await started(folder, options);
    engine.apply(table({ 'shop-1': await instance(t, 'one') }));
    await until('it serves', async () => (await asks(options.listen.port)) === '200 one');
    await engine.close({ graceMs: 0 });
    assert.equal(isAlive(theirs.pid as number), true);
    assert.equal(await asks(options.listen.port), '200 one');
    await assert.rejects(
      startHaproxyEngine({ ...options, deny: ['^/secret'] }, { folder, binary, slots: 4 }),
      (error) => error instanceof HoldfastError && error.code === 'ALREADY_RUNNING',
    );
    assert.equal(isAlive(theirs.pid as number), true);
  });

  test('P10: what HAProxy says about a configuration that it refuses is quoted', async (t) => {
    const folder = await temporaryFolder(t);
    const options = { listen, deny: ['^/\\k<nobody>'] };
    await assert.rejects(startHaproxyEngine(options, { folder, binary }), (error) => {
      assert.ok(error instanceof HoldfastError);
      assert.equal(error.code, 'CONFIGURATION_INVALID');
      assert.match(error.message, /^\[ALERT\].*haproxy\.cfg:\d+/m);
      return true;
    });
  });

  test('P10: without a HAProxy the error says so', async (t) => {
    const folder = await temporaryFolder(t);
    await assert.rejects(startHaproxyEngine({ listen }, { folder, binary: join(folder, 'nothing') }), {
      code: 'CONFIGURATION_INVALID',
      message: /no HAProxy of version 2\.6/,
    });
  });

  test('the access log has a line for each request that it is to have, and no secret', async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'access.log');
    const engine = await started(folder, { accessLog: { file, sample: 1 } });
    const { port } = engine.status().listen;
    engine.apply(table({ 'shop-1': await instance(t, 'one') }));
    await until('it serves', async () => (await asks(port, '/a;sid=secret?token=secret')) === '200 one');
    let lines: Record<string, unknown>[] = [];
    await until('the line is there', async () => {
      const text = await readFile(file, 'utf8');
      lines = text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      return lines.some(({ status }) => status === 200);
    });
    const line = lines.find(({ status }) => status === 200) ?? {};
    assert.equal(line.instance, 'shop-1');
    assert.equal(line.path, '/a');
    assert.equal(line.method, 'GET');
    assert.match(String(line.requestId), /^[0-9a-f]{32}$/);
    assert.match(String(line.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.doesNotMatch(JSON.stringify(lines), /secret/);
  });

  test('P10: an access log that cannot be opened is named', async (t) => {
    const folder = await temporaryFolder(t);
    const accessLog = { file: join(folder, 'missing', 'access.log'), sample: 1 };
    await assert.rejects(started(folder, { accessLog }), {
      code: 'CONFIGURATION_INVALID',
      message: /balancer\.accessLog\.file/,
    });
    assert.equal(await findHaproxy(filesIn(folder)), undefined);
  });

  test('P10: more instances than slots: those that fit are served, and the rest is told', async (t) => {
    const folder = await temporaryFolder(t);
    const told: object[] = [];
    const { silentLog } = await import('../../support/log.ts');
    const log = { ...silentLog, error: (fields: object) => void told.push(fields) };
    const engine = await started(folder, { log });
    const port = await instance(t, 'one');
    const names = ['a', 'b', 'c', 'd', 'e'];
    engine.apply(table(Object.fromEntries(names.map((name) => [name, port]))));
    assert.deepEqual(told, [{ instances: ['e'] }]);
    await until('it serves', async () => (await asks(engine.status().listen.port)) === '200 one');
  });

  test('the folder and its secrets are for their owner alone', async (t) => {
    const folder = await temporaryFolder(t);
    await chmod(folder, 0o755);
    const tls = { certificates: [], selfSigned: { names: ['shop.example'], folder: join(folder, 'own') } };
    await started(folder, { tls });
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
    for (const file of ['certificate-1.pem', 'haproxy.cfg', 'runtime.sock', 'master.sock']) {
      assert.equal((await stat(join(folder, file))).mode & 0o077, 0, file);
    }
  });
});

async function freePort(): Promise<number> {
  const server = http.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function portOf(folder: string): Promise<number> {
  const config = await readFile(filesIn(folder).config, 'utf8');
  return Number(/^ {2}bind 127\.0\.0\.1:(\d+)/m.exec(config)?.[1]);
}

/** An engine in a process of its own, with a table. */
async function otherHoldfast(folder: string, ports: Readonly<Record<string, number>>): Promise<ChildProcess> {
  const program = `
    import { startHaproxyEngine } from ${JSON.stringify(new URL('./engine.ts', import.meta.url).href)};
    const options = { listen: { host: '127.0.0.1', port: 0 } };
    const engine = await startHaproxyEngine(options, ${JSON.stringify({ folder, binary, slots: 4 })});
    engine.apply(${JSON.stringify(table(ports))});
    process.on('message', () => process.exit());
    process.send('ready');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  endWith(folder, async () => {
    child.kill('SIGKILL');
    const left = await findHaproxy(filesIn(folder));
    if (left !== undefined) process.kill(left.masterPid, 'SIGTERM');
  });
  await once(child, 'message');
  const port = await portOf(folder);
  await until('it serves', async () => (await asks(port)) === '200 one');
  return child;
}
