/** What each check makes of what it sees, a line for each case that matters on a bad night. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventTotals, EventView } from '../events/administration.ts';
import type { ProbeLook } from '../protocol/probe.ts';
import type { Configuration, EventSettings } from '../settings/index.ts';
import { configurationFromDocument } from '../settings/index.ts';
import type { Finding } from './check.ts';
import { forgedAddress, judgeClientAddress, judgeSpoofing, type Sightings } from './client-address-checks.ts';
import type { ClusterFacts, Member } from './cluster-facts.ts';
import { judgeEverywhere, judgeOverdue, judgePreview } from './event-checks.ts';
import { judgeFiles } from './file-checks.ts';
import { judgeClocks, judgeDisks, judgeOpenFiles } from './host-checks.ts';
import {
  judgeDatabase,
  judgeHealth,
  judgeInstances,
  judgeRootUrl,
  judgeSettings,
  judgeVersions,
} from './instance-checks.ts';
import { type Looks, unlessSilent, withoutProbe } from './looks.ts';
import { judgeSessions, type SessionStep } from './session-checks.ts';
import { judgeBalancers, judgeCertificates, judgeStickiness } from './traffic-checks.ts';

const configured = (changed: object = {}): Configuration =>
  configurationFromDocument({
    cluster: 'shop',
    app: { command: 'true', url: 'https://shop.example.com' },
    ...changed,
  });

const member = (
  instance: string,
  changed: Partial<Member['facts']> & Partial<Pick<Member, 'state' | 'left'>> = {},
): Member => {
  const { state = 'up', left = false, ...facts } = changed;
  return {
    ...{ instance, state, incarnation: 1, token: '1', leaseRemainingMs: 4_000, left, endedBecause: null },
    maintenance: [],
    facts: {
      ...{
        host: 'a',
        agentPid: 1,
        address: { host: '10.0.0.1', port: 1 },
        pid: 2,
        revision: 7,
        healthPage: null,
      },
      ...{ reason: null, version: '1.0.0', ...facts },
    },
  };
};

const look: ProbeLook = {
  ...{
    instance: 'shop-1',
    rootUrl: 'https://shop.example.com',
    client: '10.0.0.9',
    claims: {},
    hasSessions: true,
  },
  ...{ mark: null, settings: { LOG_LEVEL: 'one' }, ownWork: null, nowMs: 0, openFiles: null, files: null },
};

const toldBy = (name: string, changed: Partial<ProbeLook> = {}, host = 'a') => ({
  ...{
    name,
    host,
    door: { url: '', headers: {} },
    look: { ...look, ...changed },
    tookMs: 1,
    askedAtWallMs: 0,
  },
});

const seenBy = (
  told: Looks['told'],
  configuration = configured(),
  silent: readonly string[] = [],
): Looks => ({
  facts: { configuration, instances: [{}, {}] } as unknown as ClusterFacts,
  told,
  silent,
});

const saying = ({ evidence }: Finding): string => evidence.join(' ');

test('instances: all up on two hosts is green, on one host yellow, one missing red, one alone red', () => {
  const names = ['shop-1', 'shop-2'];
  const both = [member('shop-1'), member('shop-2', { host: 'b' })];
  assert.equal(judgeInstances(names, both).verdict, 'green');
  assert.equal(judgeInstances(names, [member('shop-1'), member('shop-2')]).verdict, 'yellow');
  const lost = judgeInstances(['shop-1', 'shop-2', 'shop-3'], [...both, member('shop-3', { state: 'lost' })]);
  assert.equal(lost.verdict, 'red');
  assert.match(saying(lost), /2 of 3 .*shop-3 is lost/);
  assert.match(saying(judgeInstances(names, [member('shop-1')])), /shop-2 is not there/);
  assert.match(judgeInstances(['shop-1'], [member('shop-1')]).remedy ?? '', /2 or more/);
  const resting = { ...member('shop-3', { state: 'maintenance' }), maintenance: ['new disk'] };
  const maintenance = judgeInstances([...names, 'shop-3'], [...both, resting]);
  assert.equal(maintenance.verdict, 'yellow', 'somebody meant it');
  assert.match(saying(maintenance), /shop-3 is maintenance: new disk/);
  assert.equal(
    judgeInstances(names, [...both, member('old', { state: 'down', left: true })]).verdict,
    'green',
  );
});

test('versions: one everywhere is green, another or an unknown one yellow', () => {
  assert.equal(judgeVersions('1.0.0', [member('shop-1'), member('shop-2')]).verdict, 'green');
  assert.equal(judgeVersions('1.1.0', [member('shop-1')]).verdict, 'yellow');
  const { version: _, ...facts } = member('shop-2').facts;
  const silent = judgeVersions('1.0.0', [member('shop-1'), { instance: 'shop-2', facts }]);
  assert.match(saying(silent), /shop-2: an older version/);
});

test('settings: a value that differs is red and names the instance, a pending restart is yellow, and no value is shown', () => {
  const members = [member('shop-1'), member('shop-2'), member('shop-3')];
  const told = [toldBy('shop-1'), toldBy('shop-2', { settings: { LOG_LEVEL: 'digest' } }), toldBy('shop-3')];
  const different = judgeSettings(seenBy(told), members, 7);
  assert.equal(different.verdict, 'red');
  assert.deepEqual(different.evidence, ['LOG_LEVEL differs: shop-2 against shop-1 and shop-3.']);
  const same = [toldBy('shop-1'), toldBy('shop-2')];
  assert.equal(judgeSettings(seenBy(same), members, 7).verdict, 'green');
  assert.equal(
    judgeSettings(seenBy(told), [...members, member('shop-4', { revision: 6 })], 7).verdict,
    'yellow',
  );
  assert.equal(judgeSettings(seenBy([]), members, 7).verdict, 'not checked');
});

test('root URL: a slash more is no difference, another host is, and one that is not app.url too', () => {
  const slash = toldBy('shop-2', { rootUrl: 'https://shop.example.com/' });
  assert.equal(judgeRootUrl(seenBy([toldBy('shop-1'), slash])).verdict, 'green');
  const other = toldBy('shop-2', { rootUrl: 'http://localhost:8080' });
  assert.equal(judgeRootUrl(seenBy([toldBy('shop-1'), other])).verdict, 'red');
  assert.equal(judgeRootUrl(seenBy([other])).verdict, 'red');
  assert.equal(judgeRootUrl(seenBy([toldBy('shop-1', { rootUrl: null })])).verdict, 'yellow');
});

test('database and health: an instance without its database is red; a health check that does not mind must say why', () => {
  const seen = seenBy([toldBy('shop-1')]);
  const tried = (changed: object) => [
    { name: 'shop-1', tried: { database: null, healthWithoutDatabase: null, ...changed } },
  ];
  assert.equal(judgeDatabase(seen, tried({ database: { tookMs: 3, error: null } })).verdict, 'green');
  assert.equal(judgeDatabase(seen, tried({ database: { tookMs: 3, error: 'refused' } })).verdict, 'red');
  assert.equal(judgeDatabase(seen, tried({})).verdict, 'not checked');
  const health = (status: number, why: string | null) =>
    judgeHealth(seen, tried({ healthWithoutDatabase: { status, why } })).verdict;
  assert.equal(health(503, null), 'green');
  assert.equal(health(200, null), 'yellow');
  assert.equal(health(200, 'pages are served without it'), 'green');
  assert.equal(judgeHealth(seen, tried({})).verdict, 'not checked');
});

test('sessions: unknown elsewhere is red, or yellow where users wander; one that outlives its end is red', () => {
  const step = (changed: Partial<SessionStep> = {}): SessionStep => ({
    ...{ from: 'shop-1', to: 'shop-2', known: true, tookMs: 4, knownForMs: 12, ...changed },
  });
  const judge = (steps: SessionStep[], wanders = false) => judgeSessions({ steps, why: undefined }, wanders);
  assert.deepEqual(judge([step()]).figures, { slowestMs: 4, goneMs: 12 });
  assert.equal(judge([step({ known: false })]).verdict, 'red');
  assert.equal(judge([step({ known: false })], true).verdict, 'yellow');
  assert.equal(judge([step({ knownForMs: undefined })]).verdict, 'red');
});

test('files: missing or broken elsewhere is red; a local disk under instances of one host is yellow', () => {
  const step = (outcome: string) => [{ from: 'shop-1', to: 'shop-2', outcome }];
  const files = (type: number) => ({ directory: '/mnt', type, device: 1, freeBytes: 1, totalBytes: 2 });
  const told = (type: number, host = 'a') => [
    toldBy('shop-1', { files: files(type) }),
    toldBy('shop-2', { files: files(type) }, host),
  ];
  assert.equal(judgeFiles(step('missing'), told(0xef53)).verdict, 'red');
  assert.equal(judgeFiles(step('broken'), told(0x6969)).verdict, 'red');
  assert.equal(judgeFiles(step('whole'), told(0xef53)).verdict, 'yellow');
  assert.equal(judgeFiles(step('whole'), told(0x6969)).verdict, 'green');
  assert.equal(judgeFiles(step('whole'), told(0xef53, 'b')).verdict, 'green', 'it was read on another host');
});

test('balancers: two hosts are green, one yellow, a broken one or none red', () => {
  const known = (...hosts: string[]) => hosts.map((host) => ({ name: host, host }));
  const answers = (isGood: boolean) => [{ name: 'a', answer: '200', isGood }];
  assert.equal(judgeBalancers(known('a', 'b'), answers(true)).verdict, 'green');
  assert.equal(judgeBalancers(known('a'), answers(true)).verdict, 'yellow');
  assert.equal(judgeBalancers(known('a', 'b'), answers(false)).verdict, 'red');
  assert.equal(judgeBalancers([], []).verdict, 'red');
});

test('stickiness: users who wander are logged out, or not, by whether sessions are shared', () => {
  const wanders = { kind: 'wanders', instances: ['shop-1', 'shop-2'], requests: 8 } as const;
  assert.equal(judgeStickiness(wanders, '', 'not shared').verdict, 'red');
  assert.equal(judgeStickiness(wanders, '', 'shared').verdict, 'yellow');
  assert.equal(judgeStickiness(wanders, '', 'unknown').verdict, 'yellow');
  const stays = { kind: 'stays', instance: 'shop-1', requests: 8, seenBy: 'probe' } as const;
  assert.equal(judgeStickiness(stays, '', 'not shared').verdict, 'green');
  assert.equal(judgeStickiness({ kind: 'unknown', why: 'no balancer' }, '', 'shared').verdict, 'not checked');
});

test('certificates: three weeks are green, less is yellow, a week red', () => {
  const life = (daysLeft: number) => [{ balancer: 'b', certificate: '/c.pem', names: ['shop'], daysLeft }];
  const verdictOf = (daysLeft: number) => judgeCertificates(life(daysLeft), 'files').verdict;
  assert.deepEqual([90, 21, 20, 7, 6, -3].map(verdictOf), [
    'green',
    'green',
    'yellow',
    'yellow',
    'red',
    'red',
  ]);
  assert.equal(judgeCertificates([], 'none').verdict, 'green');
  assert.equal(judgeCertificates([], 'files').verdict, 'not checked');
  assert.equal(judgeCertificates(life(90), 'self-signed').verdict, 'yellow');
});

test('client address: the own one is green, the balancer’s red, another yellow, an ambiguous one not checked', () => {
  const judge = (client: string | null, from: string) =>
    judgeClientAddress({
      honest: { client, claims: {}, from },
      forged: { client, claims: {}, from },
      balancerHost: 'lb',
      balancerAddresses: ['127.0.0.1', '::1', '10.0.0.5'],
    }).verdict;
  assert.equal(judge('10.0.0.9', '10.0.0.9'), 'green');
  assert.equal(judge('10.0.0.5', '10.0.0.9'), 'red');
  assert.equal(judge('127.0.0.1', '127.0.0.2'), 'red');
  assert.equal(judge('192.0.2.1', '10.0.0.9'), 'yellow');
  assert.equal(judge('127.0.0.1', '127.0.0.1'), 'not checked');
  assert.equal(judge(null, '10.0.0.9'), 'not checked');
});

test('spoofing: a made-up address that arrives in any header is red, unless the doctor itself is a proxy', () => {
  const seen = (client: string, claims: Record<string, string> = {}): Sightings => ({
    honest: { client: '10.0.0.9', claims: {}, from: '10.0.0.9' },
    forged: { client, claims, from: '10.0.0.9' },
    ...{ balancerHost: 'lb', balancerAddresses: [] },
  });
  assert.equal(judgeSpoofing(seen('10.0.0.9'), []).verdict, 'green');
  assert.equal(judgeSpoofing(seen(forgedAddress), []).verdict, 'red');
  assert.match(saying(judgeSpoofing(seen('10.0.0.9', { 'x-real-ip': forgedAddress }), [])), /in x-real-ip/);
  assert.equal(judgeSpoofing(seen(forgedAddress), ['10.0.0.0/8']).verdict, 'not checked');
  assert.equal(judgeSpoofing(seen('10.0.0.9'), ['0.0.0.0/0']).verdict, 'red');
  const unseen: Finding = { verdict: 'not checked', evidence: ['no probe'], remedy: 'Mount it.' };
  assert.equal(judgeSpoofing(unseen, ['::/0']).verdict, 'red', 'the configuration alone shows it');
  assert.equal(judgeSpoofing(unseen, []), unseen);
});

const eventsOf = (events: object): readonly EventSettings[] => configured({ events }).events;

test('events: unknown to the ledger is red, paused or over yellow, due again green', () => {
  const events = eventsOf({ report: { every: '15m', run: { command: 'true' } } });
  const view = (changed: Partial<EventView> = {}) => [
    {
      ...{ name: 'report', revision: 1, places: [], open: [], last: null, appointed: null, paused: null },
      ...changed,
    } as EventView,
  ];
  const due = judgePreview(events, view(), Date.UTC(2027, 0, 1, 12, 1));
  assert.equal(due.verdict, 'green');
  assert.match(saying(due), /report: next due 2027-01-01T12:15:00\+00:00/);
  assert.equal(judgePreview(events, [], 0).verdict, 'red');
  const paused = judgePreview(events, view({ paused: { atMs: 0, by: 'ada', reason: 'wrong rate' } }), 0);
  assert.match(saying(paused), /paused by ada: wrong rate/);
  const over = eventsOf({ report: { every: '15m', until: '2026-01-01', run: { command: 'true' } } });
  assert.match(saying(judgePreview(over, view(), Date.UTC(2027, 0, 1))), /never due again/);
  assert.equal(judgePreview([], [], 0).verdict, 'green');
});

test('overdue: what nobody takes is red, failures of the day and a missing fence yellow', () => {
  const totals = (changed: Partial<EventTotals> = {}): EventTotals => ({
    ...{
      nowMs: 60_000,
      events: 1,
      running: 0,
      waiting: 0,
      unclaimed: [],
      fences: [],
      paused: [],
      cursors: [],
    },
    ...{ lastDay: { failed: 0, missed: 0, abandoned: 0 }, ...changed },
  });
  assert.equal(judgeOverdue(totals()).verdict, 'green');
  assert.match(
    saying(judgeOverdue(totals({ unclaimed: [{ event: 'report', sinceMs: 0 }] }))),
    /report could have begun 60 s ago/,
  );
  assert.equal(judgeOverdue(totals({ lastDay: { failed: 1, missed: 0, abandoned: 0 } })).verdict, 'yellow');
  assert.equal(
    judgeOverdue(totals({ fences: [{ instance: 'shop-1', tries: 2, error: 'no' }] })).verdict,
    'yellow',
  );
});

test('everywhere: each against what the application says, and copies of one work', () => {
  const command = { command: 'tidy' };
  const each = eventsOf({ tidy: { every: '1h', on: 'each', run: command } });
  assert.equal(judgeEverywhere(each, ['tidy'], 3).verdict, 'green');
  assert.equal(judgeEverywhere(each, [], 3).verdict, 'red');
  assert.equal(judgeEverywhere(each, undefined, 3).verdict, 'yellow');
  const one = eventsOf({ tidy: { every: '1h', run: command } });
  assert.equal(judgeEverywhere(one, ['tidy'], 3).verdict, 'yellow', 'the other instances never tidy up');
  assert.equal(judgeEverywhere(one, [], 3).verdict, 'green');
  const copies = (second: object) =>
    judgeEverywhere(
      eventsOf({ a: { every: '1h', run: command }, b: { every: '1h', run: command, ...second } }),
      [],
      3,
    );
  assert.match(saying(copies({})), /a and b are the same work/);
  assert.equal(copies({ payload: { region: 'eu' } }).verdict, 'green');
  assert.equal(copies({ every: '2h' }).verdict, 'green');
  assert.equal(judgeEverywhere([], undefined, 3).verdict, 'green');
});

test('clocks: what may be the uncertainty of the measurement is not held against anybody', () => {
  const verdictOf = (offsetMs: number, uncertainMs: number) =>
    judgeClocks([{ what: 'a', offsetMs, uncertainMs }], []).verdict;
  assert.equal(verdictOf(-2_500, 600), 'green');
  assert.equal(verdictOf(-2_700, 600), 'yellow');
  assert.equal(verdictOf(61_000, 100), 'red');
});

test('open files: a limit that is nearly reached is red, one below the need yellow, nothing seen not checked', () => {
  const process = (open: number, limit: number, needs?: number) => [
    { what: 'balancer', files: { open, limit }, needs },
  ];
  assert.equal(judgeOpenFiles(process(10, 1_024), []).verdict, 'green');
  assert.equal(judgeOpenFiles(process(10, 1_024, 20_000), []).verdict, 'yellow');
  assert.equal(judgeOpenFiles(process(1_000, 1_024), []).verdict, 'red');
  assert.equal(judgeOpenFiles([], []).verdict, 'not checked');
});

test('disks: a tenth or a gigabyte is yellow, a sliver red', () => {
  const gigabyte = 1_073_741_824;
  const verdictOf = (free: number, total: number) =>
    judgeDisks([{ what: 'arbiter', freeBytes: free * gigabyte, totalBytes: total * gigabyte }], []).verdict;
  assert.deepEqual(
    [verdictOf(50, 100), verdictOf(9, 100), verdictOf(0.9, 5), verdictOf(2, 100), verdictOf(0.2, 1)],
    ['green', 'yellow', 'yellow', 'red', 'red'],
  );
  assert.equal(judgeDisks([], ['Not seen.']).verdict, 'not checked');
});

test('what was proved for some is yellow as long as others could not be asked, and names them', () => {
  const green: Finding = { verdict: 'green', evidence: ['All the same.'] };
  assert.equal(unlessSilent(green, seenBy([toldBy('shop-1')])), green);
  const partly = unlessSilent(green, seenBy([toldBy('shop-1')], configured(), ['shop-2: no answer.']));
  assert.equal(partly.verdict, 'yellow');
  assert.match(saying(partly), /Not asked: shop-2/);
});

test('without a probe the remedy is to mount it; one that refuses is given the secret', () => {
  const absent = withoutProbe(seenBy([], configured(), ['shop-1: the answer was 404, and not of a probe.']));
  assert.match(absent.remedy ?? '', /^Mount the probe/);
  const refusing = withoutProbe(seenBy([], configured(), ['shop-1: the probe answers 403: no.']));
  assert.match(refusing.remedy ?? '', /HOLDFAST_PROBE_SECRET/);
});
