import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MendixVersion } from '../platform/mendix/application.ts';
import { settingsToSend } from '../platform/mendix/runtime-settings.ts';
import { resolveSecret, type SecretReference } from './index.ts';
import { writeConfigurationFromM2ee } from './init-m2ee.ts';
import { loadConfiguration } from './load.ts';

const examples = resolve(import.meta.dirname, '../../examples/mendix/m2ee');

interface Expected {
  readonly version: string;
  readonly constants: Readonly<Record<string, string>>;
  /** What m2ee-tools sends to the runtime, by its documented rules. */
  readonly m2eeSends: Readonly<Record<string, unknown>>;
  readonly holdfastAdds: Readonly<Record<string, unknown>>;
  readonly holdfastLeavesOut: readonly string[];
  readonly traps: readonly string[];
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-m2ee-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** The system's file comes first, then the user's own, then others. */
const order = ['etc.yaml', 'm2ee.yaml', 'override.yaml', 'later.yaml', 'last.yaml'];

async function withSecrets(value: unknown): Promise<unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  if (Object.keys(value).length === 1 && 'file' in value) return resolveSecret(value as SecretReference);
  const entries = Object.entries(value).map(async ([key, one]) => [key, await withSecrets(one)]);
  return Object.fromEntries(await Promise.all(entries));
}

const names = (await readdir(examples)).sort();

test('there are at least ten examples of different shapes', () => {
  assert.ok(names.length >= 10, String(names.length));
});

for (const name of names) {
  test(`round trip of example ${name}: the runtime is sent what the documented merge gives`, async (t) => {
    const folder = await temporaryFolder(t);
    await cp(join(examples, name), folder, { recursive: true });
    const present = await readdir(folder);
    const files = order.filter((file) => present.includes(file)).map((file) => join(folder, file));
    await withIncludes(folder, files);
    const expected = JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8')) as Expected;

    const imported = await writeConfigurationFromM2ee(folder, files);
    const { configuration } = await loadConfiguration(imported.path);
    const { app } = configuration;
    assert.ok(app.mendix);
    const { settings } = settingsToSend({
      settings: (await withSecrets(app.settings)) as Record<string, unknown>,
      appUrl: app.url,
      files: undefined,
      instances: app.instances.length,
      scheduledEvents: app.mendix.scheduledEvents,
      isLeader: true,
      application: {
        appBase: app.mendix.appBase,
        version: new MendixVersion(expected.version),
        installPath: `/opt/mendix/${expected.version}`,
        modelVersion: '1',
        constants: expected.constants,
      },
    });
    const left = Object.entries(expected.m2eeSends).filter(
      ([key]) => !expected.holdfastLeavesOut.includes(key),
    );
    assert.deepEqual(settings, {
      ...Object.fromEntries(left),
      RuntimePath: `/opt/mendix/${expected.version}/runtime`,
      ...expected.holdfastAdds,
    });
    for (const key of expected.holdfastLeavesOut)
      assert.ok(
        imported.notes.some((note) => note.startsWith(`${key} is left out: `)),
        key,
      );
    assert.equal(imported.traps.length, expected.traps.length, JSON.stringify(imported.traps));
    for (const [index, trap] of expected.traps.entries())
      assert.ok(imported.traps[index]?.text.startsWith(trap), imported.traps[index]?.text);
  });
}

/** Included files are named as on the machine of the example; here they are in the folder. */
async function withIncludes(folder: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    const text = await readFile(file, 'utf8');
    await writeFile(
      file,
      text.replaceAll(/^include: \[(.*)\]$/gm, (_, one) => `include: [${join(folder, one)}]`),
    );
  }
}

test('secrets do not stand in the file that is written, and only their owner can read them', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(examples, '12-everything', 'm2ee.yaml');
  const { text, secretFiles } = await writeConfigurationFromM2ee(folder, [file]);
  assert.doesNotMatch(text, /s3cret|abc/);
  assert.deepEqual(
    secretFiles.map((path) => path.slice(folder.length)),
    ['/secrets/API_TOKEN', '/secrets/DatabasePassword'],
  );
  for (const path of secretFiles) assert.equal((await stat(path)).mode & 0o077, 0);
  assert.equal(await readFile(secretFiles[1] ?? '', 'utf8'), 's3cret\n');
});

test('what belongs to the m2ee section arrives in app.mendix, and what is not used is said', async (t) => {
  const folder = await temporaryFolder(t);
  const { path, notes } = await writeConfigurationFromM2ee(folder, [
    join(examples, '12-everything', 'm2ee.yaml'),
  ]);
  const { configuration } = await loadConfiguration(path);
  const { mendix, url, environment } = configuration.app;
  assert.equal(configuration.cluster, 'my-project-name');
  assert.equal(url, 'https://example.example.com');
  assert.equal(environment.PATH, '/opt/java/bin:/bin:/usr/bin');
  assert.deepEqual(mendix?.runtimes, ['/opt/mendix/runtime', '/usr/local/share/mendix']);
  assert.deepEqual(mendix?.java, ['/usr/bin/java']);
  assert.equal(mendix?.javaOptions.length, 4);
  assert.equal(mendix?.jetty.runtime_max_threads, 254);
  assert.deepEqual(mendix?.mimeTypes, { ext: 'mime/type', foo: 'mime/bar' });
  assert.deepEqual(
    mendix?.logging.map(({ name, loglevel }) => [name, loglevel]),
    [
      ['SysLogSubscriber', { Core: 'DEBUG', Connector: 'WARNING' }],
      ['FileSubscriber', undefined],
    ],
  );
  const said = notes.join('\n');
  assert.match(said, /own from Holdfast: admin_port, admin_pass, .*pidfile/);
  assert.match(said, /m2ee-tools refuses this admin_pass/);
  assert.match(said, /not used by Holdfast: m2ee\.extend_classpath, .*m2ee\.munin/);
});

test('the preset of the balancer keeps documentation from the public and lets large files through', async (t) => {
  const folder = await temporaryFolder(t);
  const { path } = await writeConfigurationFromM2ee(folder, [join(examples, '01-smallest', 'm2ee.yaml')]);
  const { balancer } = (await loadConfiguration(path)).configuration;
  assert.equal(balancer.responseTimeoutMs, 15 * 60_000);
  assert.equal(balancer.limits.bodyBytes, 1_073_741_824);
  for (const denied of ['/ws-doc/', '/rest-doc/a', '/api-doc/', '/odata-doc/'])
    assert.ok(
      balancer.deny.some((pattern) => new RegExp(pattern, 'i').test(denied)),
      denied,
    );
  for (const open of ['/ws/', '/rest/x', '/xas/', '/file', '/p/ws-docs'])
    assert.ok(!balancer.deny.some((pattern) => new RegExp(pattern, 'i').test(open)), open);
});

test('a file that is not there, and one that does not name the application, are errors that say what to do', async (t) => {
  const folder = await temporaryFolder(t);
  await assert.rejects(writeConfigurationFromM2ee(folder, [join(folder, 'm2ee.yaml')]), {
    code: 'MENDIX_CONFIGURATION_INVALID',
    message: /m2ee\.yaml cannot be read: ENOENT/,
  });
  const file = join(folder, 'm2ee.yaml');
  await writeFile(file, 'mxruntime: {A: 1}\n');
  await assert.rejects(writeConfigurationFromM2ee(folder, [file]), {
    code: 'MENDIX_CONFIGURATION_INVALID',
    message: /m2ee\.app_base is missing/,
  });
});

test('nothing is overwritten, no secret either', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'holdfast.yaml'), 'mine');
  await assert.rejects(writeConfigurationFromM2ee(folder, [join(examples, '01-smallest', 'm2ee.yaml')]), {
    code: 'CONFIGURATION_EXISTS',
  });
  assert.deepEqual(await readdir(folder), ['holdfast.yaml']);
});
