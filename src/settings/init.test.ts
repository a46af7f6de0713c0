import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeInitialConfiguration } from './init.ts';
import { loadConfiguration } from './load.ts';

async function folderWith(t: TestContext, files: Record<string, string>, name = 'My Shop!'): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'holdfast-init-'));
  t.after(() => rm(parent, { recursive: true }));
  const folder = join(parent, name);
  await mkdir(folder);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

interface Kind {
  readonly what: string;
  readonly files: Record<string, string>;
  readonly application: RegExp;
  readonly cluster: string;
  readonly command: string | undefined;
  readonly healthPath?: string;
  readonly says?: RegExp;
}

const pom = (dependencies: string) => `<project>
  <parent><artifactId>spring-boot-starter-parent</artifactId><version>3.4.0</version></parent>
  <artifactId>orders</artifactId><version>1.2.0</version>
  <dependencies>${dependencies}</dependencies>
</project>`;

const kinds: readonly Kind[] = [
  {
    what: 'a Node.js application with a plain start script',
    files: {
      'package.json': JSON.stringify({
        name: '@acme/web-shop',
        scripts: { start: 'node --env-file=.env src/server.js' },
        dependencies: { fastify: '5', '@fastify/session': '11' },
      }),
      'src/server.js': "app.get('/health', …); app.listen({ port: 3000 })",
    },
    application: /Node\.js application \(fastify\)/,
    cluster: 'web-shop',
    command: 'node --env-file=.env src/server.js',
    healthPath: '/health',
    says: /seems to listen on 3000 always; use process\.env\.PORT[\s\S]*holdfast\/sessions/,
  },
  {
    what: 'a Node.js application with a start script that needs npm',
    files: {
      'package.json': JSON.stringify({
        scripts: { start: 'next start' },
        dependencies: { next: '15', express: '5' },
      }),
    },
    application: /\(next\)/,
    cluster: 'my-shop',
    command: 'npm start',
  },
  {
    what: 'a Node.js application without a start script',
    files: { 'package.json': '{ "main": "lib/app server.js" }' },
    application: /Node\.js application$/,
    cluster: 'my-shop',
    command: "node 'lib/app server.js'",
  },
  {
    what: 'a Dockerfile in exec form',
    files: { Dockerfile: 'FROM x\nEXPOSE 9000\nENTRYPOINT ["python", "-m"]\nCMD ["app", "it\'s: #1"]\n' },
    application: /Dockerfile/,
    cluster: 'my-shop',
    command: "python -m app 'it'\\''s: #1'",
    says: /exposes 9000/,
  },
  {
    what: 'a Dockerfile in shell form over two lines',
    files: { Dockerfile: 'FROM x\nCMD gunicorn \\\n  --bind 0.0.0.0:$PORT app\n' },
    application: /Dockerfile/,
    cluster: 'my-shop',
    command: 'gunicorn    --bind 0.0.0.0:$PORT app',
  },
  {
    what: 'a Spring Boot application built by Maven',
    files: {
      'pom.xml': pom('<dependency><artifactId>spring-boot-starter-actuator</artifactId></dependency>'),
    },
    application: /Spring Boot/,
    cluster: 'orders',
    command: 'java -jar target/orders-1.2.0.jar --server.port="$PORT"',
    healthPath: '/actuator/health',
  },
  {
    what: 'a Gradle project',
    files: {
      'build.gradle': "plugins { id 'java' }\nversion = '2.0'\n",
      'settings.gradle': "rootProject.name = 'ledger'",
    },
    application: /Java application/,
    cluster: 'ledger',
    command: 'java -jar build/libs/ledger-2.0.jar',
  },
  {
    what: 'a jar file',
    files: { 'app.jar': '' },
    application: /Java application/,
    cluster: 'app',
    command: 'java -jar app.jar',
  },
  {
    what: 'a Laravel application, although it has a package.json',
    files: {
      'composer.json': '{"name": "acme/blog"}',
      artisan: '',
      'public/index.php': '<?php',
      'package.json': '{"scripts": {"start": "vite"}}',
    },
    application: /Laravel/,
    cluster: 'blog',
    command: 'php artisan serve --host=127.0.0.1 --port="$PORT" --no-reload',
    healthPath: '/up',
  },
  {
    what: 'plain PHP',
    files: { 'index.php': '<?php' },
    application: /PHP/,
    cluster: 'my-shop',
    command: 'php -S "127.0.0.1:$PORT" -t .',
  },
  {
    what: 'a .NET project',
    files: { 'Web Shop.csproj': '<Project/>' },
    application: /\.NET/,
    cluster: 'web-shop',
    command: `dotnet run --no-launch-profile --configuration Release --project 'Web Shop.csproj' --urls "http://127.0.0.1:$PORT"`,
  },
  {
    what: 'a Procfile',
    files: {
      Procfile: 'worker: x\nweb: bundle exec puma -p $PORT\n',
      'package.json': '{"scripts":{"start":"x"}}',
    },
    application: /Procfile/,
    cluster: 'my-shop',
    command: 'bundle exec puma -p $PORT',
  },
  {
    what: 'an empty folder',
    files: {},
    application: /unknown kind/,
    cluster: 'my-shop',
    command: './start-the-application --port "$PORT"',
    says: /Replace the command/,
  },
  {
    what: 'files that cannot be understood',
    files: { 'package.json': '{ not json', 'pom.xml/keep': '', 'build.gradle': '\0' },
    application: /Java/,
    cluster: 'application',
    command: 'java -jar target/application.jar',
  },
];

for (const { what, files, application, cluster, command, healthPath = '/', says = /./ } of kinds) {
  test(`init recognizes ${what} and writes a file that is valid`, async (t) => {
    const folder = await folderWith(t, files);
    const written = await writeInitialConfiguration(folder);
    assert.match(written.findings.application, application);
    assert.equal(await readFile(written.path, 'utf8'), written.text);
    const { configuration } = await loadConfiguration(written.path);
    assert.equal(configuration.cluster, cluster);
    assert.equal(configuration.app.command, command);
    assert.equal(configuration.app.platform, 'process');
    assert.equal(configuration.app.health.path, healthPath);
    assert.match(written.text.replaceAll(/\n\s*#\s*/g, ' '), says);
    assert.match(written.text, /^# yaml-language-server: \$schema=\.\S*schema\/holdfast\.json\n/);
  });
}

test('the commented suggestions of the initial file are valid as well', async (t) => {
  const folder = await folderWith(t, { 'index.php': '' });
  const { path, text } = await writeInitialConfiguration(folder);
  const suggestion = /^(\s*)# ((?:database|url|environment|files|events):.*| {2,}\S.*|\s{2}nightly.*)$/gm;
  await writeFile(path, text.replaceAll(suggestion, '$1$2'));
  const { configuration } = await loadConfiguration(path);
  assert.equal(configuration.events[0]?.name, 'nightly-report');
  assert.ok(configuration.database && configuration.files && configuration.app.url);
});

test('init never overwrites', async (t) => {
  const folder = await folderWith(t, { 'holdfast.yaml': 'mine' });
  await assert.rejects(writeInitialConfiguration(folder), { code: 'CONFIGURATION_EXISTS' });
  assert.equal(await readFile(join(folder, 'holdfast.yaml'), 'utf8'), 'mine');
});

test('init in a folder that does not exist is a wrong usage', async (t) => {
  const folder = await folderWith(t, {});
  await assert.rejects(writeInitialConfiguration(join(folder, 'no')), { code: 'USAGE' });
});
