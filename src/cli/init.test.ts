import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runHoldfast } from '../../test/cluster/cluster.fixture.ts';

const examples = resolve(import.meta.dirname, '../../examples/mendix/m2ee');

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-init-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

test('init --m2ee says what it wrote, what the files do in silence, and what is not as it was', async (t) => {
  const folder = await folderFor(t);
  const file = (name: string) => join(examples, '07-dropped-file', name);
  const { code, out } = await runHoldfast(
    ['init', '--m2ee', file('m2ee.yaml'), file('override.yaml')],
    folder,
  );
  assert.equal(code, 0);
  assert.match(
    out,
    /^Wrote holdfast\.yaml\n {6}secrets\/DatabasePassword {3}a secret; every host needs it\n/,
  );
  assert.match(
    out,
    /override\.yaml: it is dropped whole, without an error: mxruntime\.DatabaseHost is a single value/,
  );
  assert.match(out, /each instance gets its own from Holdfast: admin_port, admin_pass, runtime_port/);
  assert.match(out, /Read it, then run: holdfast up -c holdfast\.yaml\n$/);
  assert.ok((await stat(join(folder, 'holdfast.yaml'))).isFile());
});

test('init in a folder with an m2ee.yaml makes the configuration from it', async (t) => {
  const folder = await folderFor(t);
  await writeFile(join(folder, 'm2ee.yaml'), 'm2ee: { app_name: Claims, app_base: /srv/app }\n');
  const { code, out } = await runHoldfast(['init', '--json'], folder);
  assert.equal(code, 0);
  const { path, traps, secretFiles } = JSON.parse(out) as Record<string, unknown>;
  assert.deepEqual([String(path).endsWith('/holdfast.yaml'), traps, secretFiles], [true, [], []]);
});

test('init with an m2ee.yaml that is not there fails, and says which', async (t) => {
  const folder = await folderFor(t);
  const { code, err } = await runHoldfast(['init', '--m2ee', 'gone.yaml'], folder);
  assert.equal(code, 1);
  assert.match(err, /gone\.yaml cannot be read: ENOENT/);
});
