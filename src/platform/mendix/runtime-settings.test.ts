import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type MendixApplication, MendixVersion } from './application.ts';
import {
  runsEvents,
  type SharedFacts,
  type StartFacts,
  settingProblems,
  settingsToSend,
} from './runtime-settings.ts';

const application = (version = '9.6.0', constants = {}): MendixApplication => ({
  appBase: '/srv/app',
  version: new MendixVersion(version),
  installPath: '/opt/mendix/x',
  modelVersion: '1',
  constants,
});

const facts = (part: Partial<StartFacts> = {}): StartFacts => ({
  settings: {},
  appUrl: undefined,
  files: undefined,
  instances: 2,
  scheduledEvents: undefined,
  application: application(),
  isLeader: true,
  ...part,
});

const sent = (part: Partial<StartFacts> = {}) => settingsToSend(facts(part)).settings;
const problems = (settings: Record<string, unknown>, part: Partial<SharedFacts> = {}) =>
  settingProblems({ ...facts(part), settings, filesKind: part.files?.kind }).map(({ key }) => key);

test('sessions are persistent, whatever the default of the version is', () => {
  for (const version of ['5.21.0', '6.10.0', '7.0.0', '10.1.0'])
    assert.equal(sent({ application: application(version) }).PersistentSessions, true);
  assert.deepEqual(problems({ PersistentSessions: false }), ['PersistentSessions']);
  assert.deepEqual(
    problems({ PersistentSessions: false }, { instances: 1 }),
    [],
    'one instance may do as it likes',
  );
});

test('the address that users open is that of app.url, and another one is refused', () => {
  assert.equal(sent({ appUrl: 'https://a.example' }).ApplicationRootUrl, 'https://a.example/');
  const settings = { ApplicationRootUrl: 'https://a.example' };
  assert.equal(
    sent({ settings, appUrl: 'https://a.example/' }).ApplicationRootUrl,
    'https://a.example',
    'as it is written',
  );
  assert.deepEqual(problems({ ApplicationRootUrl: 'https://b.example' }, { appUrl: 'https://a.example' }), [
    'ApplicationRootUrl',
  ]);
  assert.deepEqual(
    problems({ ApplicationRootUrl: 'https://a.example/' }, { appUrl: 'https://a.example' }),
    [],
  );
});

test('uploads go where `files` says', () => {
  const directory = { kind: 'directory', directory: '/mnt/files' } as const;
  assert.equal(sent({ files: directory }).UploadedFilesPath, '/mnt/files');
  const bucket = {
    kind: 's3',
    bucket: 'claims',
    endpoint: undefined,
    region: 'eu-west-1',
    accessKeyId: 'id',
    secretAccessKey: 'key',
  } as const;
  const keys = Object.entries(sent({ files: bucket })).filter(([key]) => /storage/i.test(key));
  assert.deepEqual(Object.fromEntries(keys), {
    'com.mendix.core.StorageService': 'com.mendix.storage.s3',
    'com.mendix.storage.s3.BucketName': 'claims',
    'com.mendix.storage.s3.Region': 'eu-west-1',
    'com.mendix.storage.s3.AccessKeyId': 'id',
    'com.mendix.storage.s3.SecretAccessKey': 'key',
  });
  assert.deepEqual(problems({ UploadedFilesPath: '/x' }, { files: directory }), ['UploadedFilesPath']);
  assert.deepEqual(problems({ 'com.mendix.core.StorageService': 'x' }, { files: bucket }), [
    'com.mendix.core.StorageService',
  ]);
});

test('several instances without a shared place for uploads are a risk that is told', () => {
  assert.equal(settingsToSend(facts()).hints.length, 1);
  assert.equal(settingsToSend(facts({ instances: 1 })).hints.length, 0);
  assert.equal(settingsToSend(facts({ settings: { UploadedFilesPath: '/mnt' } })).hints.length, 0);
});

test('updates of a session must come before it ends, and as often as the cluster looks', () => {
  const key = 'SessionKeepAliveUpdatesInterval';
  assert.deepEqual(problems({ [key]: 600_001 }), [key]);
  assert.deepEqual(problems({ [key]: 300_001 }), [key], 'the cluster looks every half of the time-out');
  assert.deepEqual(problems({ [key]: 300_001, ClusterManagerActionInterval: 400_000 }), []);
  assert.deepEqual(problems({ [key]: 100_000, SessionTimeout: 50_000 }), [key]);
  assert.deepEqual(problems({ SessionTimeout: 1_000 }), [], 'the default follows it');
});

test('who is the leader is decided by Holdfast, and only versions that know of it are told', () => {
  const slave = 'com.mendix.core.isClusterSlave';
  assert.deepEqual(problems({ [slave]: true }), [slave]);
  assert.equal(sent({ isLeader: true })[slave], false);
  assert.equal(sent({ isLeader: false })[slave], true);
  assert.equal(
    sent({ isLeader: false, changesDatabase: true })[slave],
    false,
    'a slave may not change the database',
  );
  assert.equal(slave in sent({ application: application('6.10.0') }), false);
});

const ways: readonly [
  way: StartFacts['scheduledEvents'],
  version: string,
  wanted: string | undefined,
  leader: unknown,
  other: unknown,
][] = [
  [undefined, '9.6.0', undefined, 'NONE', 'NONE'],
  [undefined, '9.6.0', 'ALL', 'ALL', 'NONE'],
  [undefined, '9.6.0', 'SPECIFIED', 'SPECIFIED', 'NONE'],
  [undefined, '9.12.0', undefined, undefined, undefined],
  [undefined, '10.1.0', 'ALL', 'ALL', 'ALL'],
  ['designated', '9.6.0', undefined, 'ALL', 'NONE'],
  ['designated', '9.6.0', 'SPECIFIED', 'SPECIFIED', 'NONE'],
  ['gate', '8.1.0', undefined, 'ALL', 'ALL'],
  ['post', '8.1.0', undefined, 'NONE', 'NONE'],
  ['runtime', '9.24.0', undefined, undefined, undefined],
  ['runtime', '9.11.0', 'ALL', 'NONE', 'NONE'],
];
for (const [way, version, wanted, leader, other] of ways) {
  test(`scheduled events: ${way ?? 'nothing said'}, version ${version}, the setting ${wanted ?? 'left out'}: ${leader} on the leader, ${other} elsewhere`, () => {
    const settings = wanted === undefined ? {} : { ScheduledEventExecution: wanted };
    const part = { scheduledEvents: way, application: application(version), settings };
    assert.equal(sent({ ...part, isLeader: true }).ScheduledEventExecution, leader);
    assert.equal(sent({ ...part, isLeader: false }).ScheduledEventExecution, other);
  });
}

test('leaving events to a runtime that has no task queue is told to be nobody running them', () => {
  const part = { scheduledEvents: 'runtime', application: application('9.11.0'), instances: 1 } as const;
  assert.match(
    settingsToSend(facts(part)).hints[0] ?? '',
    /needs Mendix 9\.12 or later, and this is 9\.11\.0/,
  );
});

test('a setting that contradicts the chosen way is refused', () => {
  const key = 'ScheduledEventExecution';
  assert.deepEqual(problems({ [key]: 'ALL' }, { scheduledEvents: 'post' }), [key]);
  assert.deepEqual(problems({ [key]: 'NONE' }, { scheduledEvents: 'designated' }), [key]);
  assert.deepEqual(problems({ [key]: 'NONE' }, { scheduledEvents: 'post' }), []);
  assert.deepEqual(problems({ [key]: 'ALL' }), []);
});

test('P1: before 9.12 never two instances run events by themselves, unless each is to ask first', () => {
  const way = fc.constantFrom(undefined, 'designated', 'post', 'runtime' as const);
  const execution = fc.constantFrom(undefined, 'NONE', 'ALL', 'SPECIFIED');
  const version = fc.constantFrom('5.0.0', '6.10.0', '7.23.0', '8.18.0', '9.11.0');
  fc.assert(
    fc.property(way, execution, version, (scheduledEvents, wanted, text) => {
      const settings = wanted === undefined ? {} : { ScheduledEventExecution: wanted };
      const other = sent({
        scheduledEvents,
        settings,
        application: application(text),
        isLeader: false,
      } as Partial<StartFacts>);
      assert.equal(runsEvents(other), false);
    }),
  );
});

test('constants that the model does not have are not sent, and those without a value have the default of the model', () => {
  const part = {
    application: application('9.6.0', { 'A.One': '1', 'A.Two': '2' }),
    settings: { MicroflowConstants: { 'A.One': 'own', 'A.Old': 'x' } },
    instances: 1,
  };
  assert.deepEqual(sent(part).MicroflowConstants, { 'A.One': 'own', 'A.Two': '2' });
  assert.deepEqual(settingsToSend(facts(part)).hints, ['the model has no constant A.Old: not sent']);
});
