import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

const main = new URL('./main.ts', import.meta.url).pathname;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(folder: string, ...args: string[]): Promise<Ended> {
  const { HOLDFAST_DATABASE: _, ...environment } = process.env;
  const options = { cwd: folder, env: { ...environment, NO_COLOR: '1' } };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'balancer', ...args], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

async function folderWith(t: TestContext, balancer: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-balancer-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(
    join(folder, 'holdfast.yaml'),
    `cluster: shop\napp: { command: node server.js }\nbalancer: ${balancer}\n`,
  );
  return folder;
}

test('--print-config shows what HAProxy would be told, whichever engine is configured, and starts nothing', async (t) => {
  const folder = await folderWith(t, '{ listen: "127.0.0.1:8123", limits: { connections: 77 } }');
  const { code, stdout, stderr } = await run(folder, '--print-config');
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /\nglobal\n/);
  assert.match(stdout, /bind 127\.0\.0\.1:8123 /);
  assert.match(stdout, /fe_conn gt 77/);
  const printed = join(folder, '.holdfast/balancer/haproxy');
  assert.ok(stdout.includes(printed), 'it names the files that were written for it');
  assert.equal(await readFile(join(printed, 'haproxy.cfg'), 'utf8'), stdout);
  assert.equal(existsSync(join(printed, 'runtime.sock')), false);
});

test('--listen and --self-signed count for --print-config as well', async (t) => {
  const folder = await folderWith(t, '{}');
  const { stdout } = await run(folder, '--print-config', '--listen', '127.0.0.1:8124', '--self-signed');
  assert.match(stdout, /bind 127\.0\.0\.1:8124 ssl /);
});

test('P10: --print-config names everything that HAProxy cannot do, and prints nothing', async (t) => {
  const folder = await folderWith(t, '{ idempotency: {}, limits: { bodyRate: 1KB } }');
  const { code, stdout, stderr } = await run(folder, '--print-config');
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /balancer\.idempotency: `engine: haproxy` cannot do this/);
  assert.match(stderr, /balancer\.limits\.bodyRate: `engine: haproxy` cannot do this/);
});

test('P10: an address that is none is wrong usage', async (t) => {
  const folder = await folderWith(t, '{}');
  const { code, stderr } = await run(folder, '--print-config', '--listen', 'everywhere');
  assert.equal(code, 2);
  assert.match(stderr, /--listen everywhere: expected an address such as/);
});
