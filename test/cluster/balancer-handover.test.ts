/** One balancer process after the other behind an open port: replaced on request, replaced after a crash, and not replaced by one that cannot start. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { publishConfiguration } from '../../src/cli/publish.ts';
import { openArbiter } from '../../src/database/arbiter.ts';
import { loadConfiguration } from '../../src/settings/index.ts';
import { connectRaw } from '../../src/testing/balancer/raw-connection.ts';
import { Visitor } from '../../src/testing/balancer/visitor.ts';
import { openClient } from './client.fixture.ts';
import { type Cluster, freePort, processesOf, startCluster, until } from './cluster.fixture.ts';

const application = resolve(import.meta.dirname, '../../src/testing/balancer/backend.ts');

/** The configuration with these settings of the balancer. */
const configuration = (port: number, balancer: readonly string[] = []): string =>
  [
    'cluster: shop',
    'app:',
    `  command: BACKEND_PORT=$PORT BACKEND_NAME=$HOLDFAST_INSTANCE exec ${process.execPath} ${application}`,
    '  instances: 2',
    '  health: { path: /health }',
    '  stop: { drain: 1s, kill: 2s }',
    'balancer:',
    `  listen: 127.0.0.1:${port}`,
    ...balancer.map((line) => `  ${line}`),
    '',
  ].join('\n');

interface Balancers {
  /** The one that stays. */
  readonly keeper: number;
  /** Those that it has started: the one that serves, and those that finish or are to take over. */
  readonly kept: readonly number[];
}

function balancersOf({ folder }: Cluster): Balancers {
  const lines = processesOf(folder).filter((line) => line.includes('main.ts balancer '));
  const pidsOf = (chosen: readonly string[]) => chosen.map((line) => Number.parseInt(line, 10));
  const keepers = pidsOf(lines.filter((line) => !line.includes('--kept')));
  assert.equal(keepers.length, 1);
  return { keeper: keepers[0] ?? 0, kept: pidsOf(lines.filter((line) => line.includes('--kept'))) };
}

const takenOver = /^another balancer process has taken over/;
const goesOn = /^the balancer process that was to take over .*; the old one goes on/;

const logOf = ({ folder }: Cluster): Promise<string> =>
  readFile(join(folder, '.holdfast/logs/balancer.log'), 'utf8');

/** SIGHUP, until it is said what it has led to. */
async function replace(cluster: Cluster, outcome = takenOver): Promise<void> {
  const before = cluster.messages.length;
  process.kill(balancersOf(cluster).keeper, 'SIGHUP');
  const messages = await until(
    async () => cluster.messages.slice(before),
    (said) => said.some((message) => takenOver.test(message) || goesOn.test(message)),
  );
  const said = messages.some((message) => outcome.test(message));
  assert.ok(said, `${messages.join('\n')}\n${(await logOf(cluster)).slice(-1_000)}`);
}

/** Waits until this process is gone, and returns the one that has its place. */
async function successorOf(cluster: Cluster, old: number): Promise<number> {
  const { kept } = await until(
    async () => balancersOf(cluster),
    (balancers) => balancers.kept.length === 1 && !balancers.kept.includes(old),
  );
  return kept[0] ?? 0;
}

const serving = (cluster: Cluster): number => {
  const { kept } = balancersOf(cluster);
  assert.equal(kept.length, 1);
  return kept[0] ?? 0;
};

interface Traffic {
  readonly answered: number;
  stop(): Promise<readonly string[]>;
}

const comers = 2;
const stayers = 4;

/** Clients that ask without a pause, each request on a new connection or all of them on one; and what went wrong. */
function startTraffic(t: TestContext, url: string): Traffic {
  const complaints: string[] = [];
  let answered = 0;
  let isOver = false;
  const visit = async (client = openClient(url)) => {
    try {
      const { status, body } = await client.get('/whoami');
      if (status === 200) answered++;
      else complaints.push(`${status} ${JSON.stringify(body)}`);
    } catch (error) {
      complaints.push((error as NodeJS.ErrnoException).code ?? String(error));
    }
    return client;
  };
  const come = async () => {
    while (!isOver) (await visit()).close();
  };
  const stay = async () => {
    const client = openClient(url);
    while (!isOver) await visit(client);
    client.close();
  };
  const all = [...Array.from({ length: comers }, come), ...Array.from({ length: stayers }, stay)];
  t.after(() => {
    isOver = true;
  });
  return {
    get answered() {
      return answered;
    },
    async stop() {
      isOver = true;
      await Promise.all(all);
      return complaints;
    },
  };
}

async function moreOf(traffic: Traffic): Promise<void> {
  const before = traffic.answered;
  await until(
    async () => traffic.answered,
    (answered) => answered >= before + 50,
  );
}

/** Another revision of the configuration is in force. */
async function publish({ folder, configFile }: Cluster, port: number, ...balancer: string[]): Promise<void> {
  await writeFile(configFile, configuration(port, balancer));
  const { url } = JSON.parse(await readFile(join(folder, '.holdfast/arbiter.json'), 'utf8')) as {
    url: string;
  };
  const arbiter = openArbiter({ url, max: 1 });
  try {
    const { stored } = await publishConfiguration(
      arbiter,
      await loadConfiguration(configFile),
      'by the test',
    );
    assert.ok(stored);
  } finally {
    await arbiter.close();
  }
}

const mebibytes = 1024 * 1024;
/** More than all buffers on the way can hold. */
const downloadBytes = 24 * mebibytes;

/** A stream of events and a download that is not read for the moment. */
async function startLongOnes(t: TestContext, port: number) {
  const ask = (path: string) => connectRaw(t, port, `GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`);
  const events = ask('/stream?endless');
  await events.untilReceived(/data: 3\n/);
  const download = ask(`/big?chunks=${downloadBytes / 65_536}`);
  await download.untilReceived(/200 OK/);
  download.socket.pause();
  return {
    isBroken: () => events.isClosed || download.isClosed,
    async finish() {
      const next = (events.received.match(/data: /g)?.length ?? 0) + 10;
      await events.untilReceived(new RegExp(`data: ${next}\\n`));
      events.socket.destroy();
      download.socket.resume();
      await until(
        async () => download.received.length,
        () => download.received.endsWith('\r\n0\r\n\r\n'),
      );
      assert.ok(download.received.length > downloadBytes);
      download.socket.destroy();
    },
  };
}

test('a balancer is replaced behind an open port', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-handover-'));
  const port = await freePort();
  await writeFile(join(folder, 'holdfast.yaml'), configuration(port));
  const cluster = await startCluster({ folder });
  const { url } = cluster;
  t.after(() => cluster.dispose());

  await t.test(
    'twice under traffic: nobody is refused, nothing fails, and what takes long finishes',
    async (t) => {
      const visitor = new Visitor(port);
      const home = await visitor.whereabouts();
      const { keeper } = balancersOf(cluster);
      const first = serving(cluster);
      const long = await startLongOnes(t, port);
      const traffic = startTraffic(t, url);
      await moreOf(traffic);
      await replace(cluster);
      await moreOf(traffic);
      assert.ok(balancersOf(cluster).kept.includes(first), 'it finishes what it has');
      assert.equal(long.isBroken(), false);
      await long.finish();
      const second = await successorOf(cluster, first);
      await replace(cluster);
      const third = await successorOf(cluster, second);
      await moreOf(traffic);
      assert.deepEqual(await traffic.stop(), []);
      assert.equal(new Set([first, second, third]).size, 3);
      assert.equal(balancersOf(cluster).keeper, keeper);
      assert.equal(await visitor.whereabouts(), home);
      const { balancers } = await until(
        () => cluster.status(),
        (status) => status.balancers.length === 1 && status.balancers[0]?.pid === third,
      );
      assert.equal(balancers[0]?.state, 'up');
    },
  );

  await t.test('the configuration of that moment takes effect, and not before', async () => {
    const old = serving(cluster);
    const status = async (path: string) => (await new Visitor(port).ask(path)).status;
    await publish(cluster, port, 'deny: [^/echo]', 'sticky: { cookie: other }');
    assert.equal(await status('/echo'), 200);
    await replace(cluster);
    await successorOf(cluster, old);
    assert.equal(await status('/echo'), 404);
    const visitor = new Visitor(port);
    await visitor.whereabouts();
    assert.deepEqual([...visitor.cookies.keys()], ['other']);
  });

  await t.test('one that cannot start says why and changes nothing, and the next one can', async (t) => {
    const old = serving(cluster);
    const page = join(folder, 'page.html');
    await publish(cluster, port, 'pages: { 503: page.html }');
    const traffic = startTraffic(t, url);
    await moreOf(traffic);
    await replace(cluster, goesOn);
    await moreOf(traffic);
    assert.equal(serving(cluster), old);
    assert.match(await logOf(cluster), new RegExp(`error .*${page}`));
    await writeFile(page, '<h1>Later</h1>');
    await replace(cluster);
    await successorOf(cluster, old);
    assert.deepEqual(await traffic.stop(), []);
  });

  await t.test(
    'P7: after kill -9 it is back by itself, and only requests that were under way have failed',
    async () => {
      const old = serving(cluster);
      const traffic = startTraffic(t, url);
      await moreOf(traffic);
      process.kill(old, 'SIGKILL');
      const next = await successorOf(cluster, old);
      await moreOf(traffic);
      const complaints = await traffic.stop();
      for (const complaint of complaints) assert.match(complaint, /^(ECONNRESET|EPIPE)$/);
      assert.ok(complaints.length <= comers + stayers, `${complaints.length} failed`);
      assert.equal(serving(cluster), next);
      assert.match(cluster.messages.join('\n'), /balancer process was killed by SIGKILL; starting it again/);
    },
  );

  await t.test('with an admin page at an address of its own', async (t) => {
    const admin = await freePort();
    await publish(cluster, port, `admin: 127.0.0.1:${admin}`);
    const traffic = startTraffic(t, url);
    for (let times = 0; times < 2; times++) {
      const old = serving(cluster);
      await replace(cluster);
      await successorOf(cluster, old);
      await until(
        () => fetch(`http://127.0.0.1:${admin}/health`),
        ({ status }) => status === 200,
      );
    }
    assert.deepEqual(await traffic.stop(), []);
  });

  const changeWorkers = async (t: TestContext, numbers: readonly number[]) => {
    const traffic = startTraffic(t, url);
    for (const workers of numbers) {
      const old = serving(cluster);
      await publish(cluster, port, `workers: ${workers}`);
      await replace(cluster);
      await successorOf(cluster, old);
      await moreOf(traffic);
    }
    return traffic.stop();
  };

  await t.test('by one with more workers', async (t) => {
    assert.deepEqual(await changeWorkers(t, [2, 3]), []);
  });

  // A socket that nobody needs any more is closed, and the kernel resets what it has queued for it at that moment,
  // unless net.ipv4.tcp_migrate_req is set: docs/balancer.md.
  await t.test(
    'by one with fewer workers, which costs no more than what waits at the closed socket',
    async (t) => {
      const numbers = [2, 1];
      const complaints = await changeWorkers(t, numbers);
      for (const complaint of complaints) assert.match(complaint, /^(ECONNRESET|EPIPE)$/);
      assert.ok(complaints.length <= comers * numbers.length, `${complaints.length} failed`);
    },
  );

  await t.test('by one at another address, and nobody waits at the old one', async () => {
    const old = serving(cluster);
    const elsewhere = await freePort();
    await publish(cluster, elsewhere);
    await replace(cluster);
    await successorOf(cluster, old);
    assert.equal((await new Visitor(elsewhere).ask('/whoami')).status, 200);
    const refused = once(net.connect(port, '127.0.0.1'), 'connect').then(
      () => 'connected',
      (error: NodeJS.ErrnoException) => error.code,
    );
    assert.equal(await refused, 'ECONNREFUSED');
  });
});
