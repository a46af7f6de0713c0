/**
 * The doctor on real clusters: nothing red where nothing is wrong, and each of the mistakes that make a cluster one
 * in name only is named by the check that is there for it, and by no other.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { openArbiter } from '../../src/database/arbiter.ts';
import type { Result } from '../../src/doctor/examine.ts';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { type Cluster, freePort, runHoldfast, startCluster, until } from './cluster.fixture.ts';

let postgres: TestPostgres;

before(async () => {
  postgres = await startTestPostgres();
});

after(async () => {
  await postgres.stop();
});

interface Report {
  readonly code: number | null;
  readonly checks: readonly Result[];
}

async function examine(cluster: Cluster, ...more: string[]): Promise<Report> {
  const { code, out, err } = await runHoldfast(
    ['doctor', '--json', '-c', cluster.configFile, ...more],
    cluster.folder,
  );
  assert.ok(out !== '', err);
  return { code, checks: (JSON.parse(out) as { checks: Result[] }).checks };
}

const idsOf = ({ checks }: Report, verdict: Result['verdict']): string[] =>
  checks.filter((check) => check.verdict === verdict).map(({ id }) => id);

const findingOf = ({ checks }: Report, id: string): Result => {
  const found = checks.find((check) => check.id === id);
  assert.ok(found, id);
  return found;
};

const repository = resolve(import.meta.dirname, '../..');
const shop = `exec ${process.execPath} ${join(repository, 'examples/shop/server.ts')}`;
const memoryApplication = `exec ${process.execPath} ${join(import.meta.dirname, 'memory-sessions.fixture.ts')}`;

interface Mistakes {
  readonly command?: string;
  readonly environment?: string;
  readonly sticky?: string;
  readonly trustedProxies?: string;
  readonly invoices?: string;
  readonly moreEvents?: readonly string[];
  /** An application of another kind: no files, no events. */
  readonly isBare?: boolean;
  readonly engine?: 'haproxy';
  /** Two are enough for most mistakes. */
  readonly instances?: number;
}

/** The shop, or another application, with a mistake in it. */
async function withCluster(mistakes: Mistakes, work: (cluster: Cluster) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-doctor-'));
  const port = await freePort();
  const lines = [
    'cluster: shop',
    `database: ${await postgres.createDatabase()}`,
    'app:',
    `  command: ${JSON.stringify(mistakes.command ?? shop)}`,
    `  instances: ${mistakes.instances ?? 2}`,
    `  url: http://127.0.0.1:${port}`,
    '  health: { path: /health, timeout: 3s, unhealthyAfter: 3 }',
    '  stop: { drain: 1s, kill: 5s }',
    ...(mistakes.environment ? [`  environment: ${mistakes.environment}`] : []),
    'balancer:',
    `  listen: 127.0.0.1:${port}`,
    ...(mistakes.engine ? [`  engine: ${mistakes.engine}`] : []),
    ...(mistakes.sticky ? [`  sticky: ${mistakes.sticky}`] : []),
    ...(mistakes.trustedProxies ? [`  trustedProxies: ${mistakes.trustedProxies}`] : []),
    'lease: { ttl: 9s, heartbeat: 3s }', // as generous as the health check: how fast this machine is, is not the question
  ];
  const shopOnly = [
    'files: { directory: files }',
    'events:',
    '  nightly-invoices:',
    '    schedule: "0 2 * * *"',
    '    run: { post: /holdfast/events/nightly-invoices }',
    `    on: ${mistakes.invoices ?? 'one'}`,
    '  picture-clean-up:',
    '    every: 1h',
    '    on: each',
    '    run: { post: /holdfast/events/picture-clean-up }',
    ...(mistakes.moreEvents ?? []),
  ];
  await writeFile(
    join(folder, 'holdfast.yaml'),
    [...lines, ...(mistakes.isBare ? [] : shopOnly), ''].join('\n'),
  );
  let cluster: Cluster | undefined;
  try {
    cluster = await startCluster({ folder });
    const running = cluster;
    await running.allUp(60_000);
    // Agents put events into the ledger, and balancers report, a moment after they are up.
    const ready = ['--only', 'events.preview', 'traffic.balancers'];
    await until(
      () => examine(running, ...ready),
      (report) => idsOf(report, 'red').length === 0,
      60_000,
    );
    await work(running);
  } finally {
    await cluster?.dispose();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const assertOnlyRed = (report: Report, id: string, evidence: RegExp): void => {
  const reds = report.checks.filter(({ verdict }) => verdict === 'red');
  assert.deepEqual(
    reds.map((check) => check.id),
    [id],
    JSON.stringify(reds, null, 2),
  );
  assert.match(reds[0]?.evidence.join(' ') ?? '', evidence);
  assert.ok(reds[0]?.remedy);
  assert.equal(report.code, 1);
};

test('nothing is red on the example, everything is checked, each yellow has its remedy; then UNLOGGED sessions are named, and a missing table', async () => {
  await withCluster({ instances: 3 }, async (cluster) => {
    const report = await examine(cluster);
    assert.deepEqual(idsOf(report, 'red'), [], JSON.stringify(report.checks, null, 2));
    assert.deepEqual(idsOf(report, 'not checked'), []);
    assert.equal(report.code, 0);
    for (const { id, verdict, evidence, remedy } of report.checks) {
      assert.ok(evidence.length > 0, id);
      assert.equal(remedy === undefined, verdict === 'green', id);
    }
    // What the test itself makes so: one machine, one balancer, no standby.
    for (const id of ['arbiter.standby', 'instances.up', 'instances.files', 'traffic.balancers'])
      assert.equal(findingOf(report, id).verdict, 'yellow', id);
    for (const id of ['instances.sessions', 'traffic.sticky', 'traffic.fallback', 'traffic.spoofing'])
      assert.equal(findingOf(report, id).verdict, 'green', id);

    assert.deepEqual(
      (await readdir(join(cluster.folder, 'files'))).filter((name) => name.includes('probe')),
      [],
      'it takes its files away again',
    );
    const { out } = await runHoldfast(
      ['sessions', 'list', '--json', '-c', cluster.configFile],
      cluster.folder,
    );
    assert.deepEqual(JSON.parse(out), [], 'and its sessions');

    const arbiter = openArbiter({ url: await databaseOf(cluster) });
    await arbiter.query('alter table holdfast.session set unlogged');
    assertOnlyRed(await examine(cluster), 'arbiter.tables', /holdfast\.session: UNLOGGED/);
    await arbiter.query('alter table holdfast.session set logged');
    await arbiter.query('alter table holdfast.balancer rename to mislaid');
    assertOnlyRed(await examine(cluster), 'arbiter.tables', /holdfast\.balancer: missing/);
    await arbiter.query('alter table holdfast.mislaid rename to balancer');
    await arbiter.close();
    assert.equal((await examine(cluster, '--only', 'arbiter.tables')).code, 0);
  });
});

async function databaseOf({ configFile }: Cluster): Promise<string> {
  return /^database: (.*)$/m.exec(await readFile(configFile, 'utf8'))?.[1] ?? '';
}

test('storage that is not shared is named: each instance has a folder of its own', async () => {
  const command = `HOLDFAST_FILES=$PWD/files-of-$HOLDFAST_INSTANCE ${shop}`;
  await withCluster({ command }, async (cluster) => {
    assertOnlyRed(await examine(cluster), 'instances.files', /A file that shop-1 wrote is missing on shop-2/);
  });
});

test('a differing root URL is named, with the instance that has it', async () => {
  const command = `[ $HOLDFAST_INSTANCE = shop-2 ] && export HOLDFAST_APP_URL=http://shop.example.com; ${shop}`;
  await withCluster({ command }, async (cluster) => {
    assertOnlyRed(await examine(cluster), 'instances.root-url', /shop-2: http:\/\/shop\.example\.com/);
  });
});

test('sessions in the memory of the application are named, with what will happen', async () => {
  await withCluster({ command: memoryApplication, isBare: true }, async (cluster) => {
    const report = await examine(cluster);
    assertOnlyRed(report, 'instances.sessions', /began on shop-1 is unknown on shop-2.* logged out/);
    assert.equal(findingOf(report, 'traffic.sticky').verdict, 'green', 'so nobody has noticed yet');
  });
});

test('no stickiness with sessions in memory is named as what users feel of it now', async () => {
  const mistakes = { command: memoryApplication, isBare: true, sticky: '{ header: x-user }' };
  await withCluster(mistakes, async (cluster) => {
    const report = await examine(cluster);
    assertOnlyRed(report, 'traffic.sticky', /requests of one browser went to shop-1 and shop-2/);
    assert.equal(findingOf(report, 'instances.sessions').verdict, 'yellow');
  });
});

test('an application that does not trust the balancer, and a balancer that trusts everybody, are named', async () => {
  await withCluster({ environment: '{ SHOP_TRUSTED_PROXIES: 10.0.0.0/8 }' }, async (cluster) => {
    assertOnlyRed(await examine(cluster), 'traffic.client-address', /saw 127\.0\.0\.1, the balancer's own/);
  });
  await withCluster({ trustedProxies: '[0.0.0.0/0]' }, async (cluster) => {
    assertOnlyRed(await examine(cluster), 'traffic.spoofing', /everybody is believed.*203\.0\.113\.77/);
  });
});

test('an event that is done on all instances is named, whether by `on: each` or by one copy for each', async () => {
  await withCluster({ invoices: 'each' }, async (cluster) => {
    assertOnlyRed(
      await examine(cluster),
      'events.everywhere',
      /nightly-invoices runs on each of 2 instances/,
    );
  });
  const copies = [1, 2].flatMap((number) => [
    `  report-${number}:`,
    '    schedule: "30 3 * * *"',
    `    on: { prefer: shop-${number} }`,
    '    run: { command: "true" }',
  ]);
  await withCluster({ moreEvents: copies }, async (cluster) => {
    assertOnlyRed(await examine(cluster), 'events.everywhere', /report-1 and report-2 are the same work/);
  });
});

const haproxy = process.env.HAPROXY ?? 'haproxy';
const skip = spawnSync(haproxy, ['-v']).status === 0 ? false : 'there is no haproxy on this machine';

test('behind HAProxy the same is proved of the traffic, through it and by its cookie', { skip }, async () => {
  await withCluster({ engine: 'haproxy' }, async (cluster) => {
    const report = await examine(cluster, '--only', 'traffic', 'instances');
    assert.deepEqual(idsOf(report, 'red'), [], JSON.stringify(report.checks, null, 2));
    for (const id of ['sticky', 'fallback', 'client-address', 'spoofing'])
      assert.equal(findingOf(report, `traffic.${id}`).verdict, 'green', id);
  });
});

test('what cannot be asked is not checked, and wrong names are refused', async () => {
  await withCluster({}, async (cluster) => {
    const report = await examine(cluster, '--probe', '/nowhere', '--only', 'instances', 'traffic');
    assert.deepEqual(idsOf(report, 'red'), []);
    assert.match(findingOf(report, 'instances.sessions').remedy ?? '', /Mount the probe/);
    assert.equal(findingOf(report, 'instances.sessions').verdict, 'not checked');
    assert.match(findingOf(report, 'traffic.sticky').evidence[0] ?? '', /as the cookie tells/);

    const file = join(cluster.folder, 'report.html');
    const args = ['doctor', '--only', 'hosts.clocks', '-c', cluster.configFile, '--html', file];
    const text = await runHoldfast(args, cluster.folder);
    assert.equal(text.code, 0, text.err);
    assert.match(text.out, /\nHosts\n {2}✓ Clocks agree .* hosts\.clocks\n.*\n\n1 green, 0 yellow, 0 red/);
    assert.match(await readFile(file, 'utf8'), /<article class="green" id="hosts\.clocks">/);

    const wrong = await runHoldfast(['doctor', '--only', 'arbiter.latensy'], cluster.folder);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /Did you mean arbiter\.latency/);
  });
});

test('while the arbiter is away there is one red finding, and the rest is not checked', async () => {
  const nowhere = 'postgres://holdfast@127.0.0.1:1/shop';
  const { code, out } = await runHoldfast(['doctor', '--json', '--database', nowhere], tmpdir());
  assert.equal(code, 1);
  const report: Report = { code, checks: (JSON.parse(out) as { checks: Result[] }).checks };
  assert.deepEqual(idsOf(report, 'red'), ['arbiter.primary']);
  assert.deepEqual(idsOf(report, 'green'), []);
  assert.match(findingOf(report, 'arbiter.primary').evidence.join(' '), /cannot be reached/);
});
