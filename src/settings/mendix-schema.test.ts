import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { parseConfiguration } from './load.ts';

const file = (app: string, more = ''): string =>
  `cluster: claims\napp:\n  platform: mendix\n  instances: 2\n${app}${more}`;

function problemsIn(text: string): string[] {
  try {
    parseConfiguration(text, 'holdfast.yaml');
    return [];
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === 'CONFIGURATION_INVALID', String(error));
    return error.message.split('\n').slice(1);
  }
}

test('a Mendix application needs to be told where it is, and nothing else', () => {
  const { configuration } = parseConfiguration(file('  mendix: { appBase: app }\n'), '/srv/holdfast.yaml');
  assert.deepEqual(configuration.app.mendix, {
    appBase: '/srv/app',
    runtimes: [],
    java: ['java'],
    javaOptions: [],
    keepEnvironment: false,
    adminPort: undefined,
    adminPassword: undefined,
    listen: undefined,
    jetty: {},
    mimeTypes: {},
    logging: [],
    sick: 'eject',
    scheduledEvents: undefined,
  });
  assert.match(problemsIn(file(''))[0] ?? '', /app\.mendix: expected at least \{appBase: FOLDER\}/);
});

test('the section belongs to this platform alone', () => {
  const text = 'cluster: claims\napp:\n  command: x\n  mendix: { appBase: app }\n';
  assert.match(
    problemsIn(text)[0] ?? '',
    /^holdfast\.yaml:4:11: app\.mendix: this section belongs to `platform: mendix`/,
  );
});

test('a setting that contradicts high availability is refused at its place, with the reason', () => {
  const text = file(
    '  url: https://claims.example.com\n  mendix: { appBase: app }\n  settings:\n' +
      '    PersistentSessions: false\n    ApplicationRootUrl: https://other.example.com/\n' +
      '    com.mendix.core.isClusterSlave: true\n    UploadedFilesPath: /tmp\n',
    'files: { directory: /mnt/files }\n',
  );
  const problems = problemsIn(text);
  assert.deepEqual(
    problems.map((line) => /^holdfast\.yaml:(\d+):\d+: app\.settings[.[]"?([\w.]+)/.exec(line)?.slice(1)),
    [
      ['8', 'PersistentSessions'],
      ['9', 'ApplicationRootUrl'],
      ['10', 'com.mendix.core.isClusterSlave'],
      ['11', 'UploadedFilesPath'],
    ],
  );
  assert.match(problems[0] ?? '', /users would be logged out whenever their instance goes/);
});

test('a log level that does not exist is refused, with those that do', () => {
  const text = file(
    '  mendix: { appBase: app, logging: [{ type: file, name: A, filename: /x, loglevel: { Core: LOUD } }] }\n',
  );
  assert.match(problemsIn(text)[0] ?? '', /expected one of NONE, CRITICAL, .*TRACE, found "LOUD"/);
});
