import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { openArbiter } from './arbiter.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';

async function newFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-embedded-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function start(t: TestContext, folder: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres(folder, { database: 'shop' });
  t.after(() => server.stop());
  return server;
}

async function ask(url: string, statement: string): Promise<unknown[]> {
  const arbiter = openArbiter({ url, queryDeadlineMs: 10_000 });
  try {
    return await arbiter.query(statement);
  } finally {
    await arbiter.close();
  }
}

describe('the embedded PostgreSQL', { timeout: 180_000 }, () => {
  test('keeps its data, port and password over a restart and over a kill -9 of its postmaster', async (t) => {
    const folder = await newFolder(t);
    const first = await start(t, folder);
    await ask(first.url, 'create table kept (x int)');
    await ask(first.url, 'insert into kept values (1)');
    await first.stop();
    const second = await start(t, folder);
    assert.equal(second.url, first.url);
    await ask(second.url, 'insert into kept values (2)');
    process.kill(second.pid, 'SIGKILL');
    await second.exited;
    const third = await start(t, folder);
    assert.deepEqual(await ask(third.url, 'select x from kept order by x'), [{ x: 1 }, { x: 2 }]);
  });

  test('asks for its password, and keeps it where only its owner can read it', async (t) => {
    const folder = await newFolder(t);
    const server = await start(t, folder);
    await assert.rejects(ask(server.url.replace(/:[^:@]*@/, ':wrong@'), 'select 1'), {
      code: 'ARBITER_REFUSED',
    });
    assert.equal((await stat(join(folder, 'settings.json'))).mode & 0o077, 0);
    const password = new URL(server.url).password;
    const commandLine = await readFile(`/proc/${server.pid}/cmdline`, 'utf8');
    assert.ok(!commandLine.includes(password));
    assert.ok(!(await readFile(join(folder, 'server.log'), 'utf8')).includes(password));
  });

  test('cannot be reached from another host', async (t) => {
    const server = await start(t, await newFolder(t));
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((address) => address && !address.internal && address.family === 'IPv4')?.address;
    for (const address of [outside ?? '127.0.0.2', '127.0.0.3']) {
      const outcome = await new Promise((resolve) => {
        const socket = connect(server.port, address);
        socket.once('connect', () => resolve('connected'));
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
        t.after(() => socket.destroy());
      });
      assert.equal(outcome, 'ECONNREFUSED', address);
    }
  });

  test('a start in a folder whose server was left over stops that one first', async (t) => {
    const folder = await newFolder(t);
    const leftOver = await start(t, folder);
    await ask(leftOver.url, 'create table kept (x int)');
    process.kill(leftOver.pid, 'SIGSTOP'); // not even able to end by itself
    const successor = await start(t, folder);
    await leftOver.exited;
    assert.notEqual(successor.pid, leftOver.pid);
    assert.deepEqual(await ask(successor.url, 'select * from kept'), []);
  });

  test('takes another port where somebody else has taken its own', async (t) => {
    const folder = await newFolder(t);
    const first = await start(t, folder);
    await first.stop();
    const thief = createServer();
    await new Promise<void>((resolve) => thief.listen(first.port, '127.0.0.1', resolve));
    t.after(() => thief.close());
    const second = await start(t, folder);
    assert.notEqual(second.port, first.port);
    assert.equal((await ask(second.url, 'select 1')).length, 1);
  });

  test('stop ends it although a client is connected and idle', async (t) => {
    const server = await start(t, await newFolder(t));
    const arbiter = openArbiter({ url: server.url });
    await arbiter.query('select 1');
    const startedMs = performance.now();
    await server.stop();
    assert.ok(performance.now() - startedMs < 5_000);
    await arbiter.close();
    await assert.rejects(ask(server.url, 'select 1'), { code: 'ARBITER_UNAVAILABLE' });
  });
});
