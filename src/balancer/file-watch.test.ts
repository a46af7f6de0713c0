import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, temporaryFolder } from './certificates.fixture.ts';
import { type FileWatchOptions, stampsOf, watchFiles } from './file-watch.ts';

async function watched(t: TestContext, paths: string[], options: Partial<FileWatchOptions>) {
  let told = 0;
  const watch = watchFiles({
    paths,
    since: await stampsOf(paths),
    onChange: async () => {
      told++;
    },
    everyMs: 60_000,
    settleMs: 20,
    ...options,
  });
  t.after(() => watch.close());
  return { watch, told: () => told };
}

test('a change is told long before the next look, where the system gives a hint', async (t) => {
  const path = join(await temporaryFolder(t), 'file');
  await writeFile(path, 'one');
  const { told } = await watched(t, [path], {});
  await writeFile(path, 'two');
  await eventually('the change is told', () => told() === 1);
  await chmod(path, 0o600);
  await eventually('a change of rights alone is one as well', () => told() === 2);
});

test('a file in a folder that does not exist yet is found by looking', async (t) => {
  const folder = join(await temporaryFolder(t), 'later');
  const { told } = await watched(t, [join(folder, 'file')], { everyMs: 20 });
  await mkdir(folder);
  await writeFile(join(folder, 'file'), 'one');
  await eventually('the file is found', () => told() === 1);
});

test('files that change one after the other are one change', async (t) => {
  const folder = await temporaryFolder(t);
  const paths = ['a', 'b', 'c', 'd'].map((name) => join(folder, name));
  const { told } = await watched(t, paths, { settleMs: 500 });
  for (const path of paths) await writeFile(path, 'new');
  await eventually('the change is told', () => told() > 0);
  assert.equal(told(), 1);
});

test('what others write in the folder does not put a change off', async (t) => {
  const folder = await temporaryFolder(t);
  const { told } = await watched(t, [join(folder, 'file')], { settleMs: 100 });
  let isNoisy = true;
  const noise = (async () => {
    for (let i = 0; isNoisy; i++) {
      await writeFile(join(folder, 'noise'), String(i));
      await delay(10);
    }
  })();
  await writeFile(join(folder, 'file'), 'one');
  await eventually('the change is told', () => told() === 1);
  isNoisy = false;
  await noise;
});

test('after the end nothing is told', async (t) => {
  const path = join(await temporaryFolder(t), 'file');
  const { watch, told } = await watched(t, [path], { everyMs: 10, settleMs: 10 });
  await watch.close();
  await writeFile(path, 'one');
  const { told: toldToAnother } = await watched(t, [path], { everyMs: 10, settleMs: 10, since: '' });
  await eventually('another one tells of it', () => toldToAnother() === 1);
  assert.equal(told(), 0);
});
