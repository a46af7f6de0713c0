/** Several worker processes behind one port are one balancer: what one of them knows they all know, and one that dies is missed by its own connections alone. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { type EmbeddedEngine, startEmbeddedEngine } from '../../src/balancer/embedded/engine.ts';
import type { EngineOptions, EngineStatus } from '../../src/balancer/engine.ts';
import type { IdempotencyAnswer, IdempotencyLedger, StoredResponse } from '../../src/balancer/idempotency.ts';
import { certificatesFor } from '../../src/testing/balancer/certificates.ts';
import { startCrowd } from '../../src/testing/balancer/client.ts';
import { connectRaw, type RawConnection } from '../../src/testing/balancer/raw-connection.ts';
import {
  blindHealth,
  quickHealth,
  type Scene,
  setScene,
  testHealth,
} from '../../src/testing/balancer/scene.ts';
import { until } from '../../src/testing/balancer/until.ts';

const workers = 3;
/** So many connections reach every worker, but once in ten thousand million times. */
const many = 60;

interface Shop {
  readonly scene: Scene;
  readonly engine: EmbeddedEngine;
}

async function openShop(t: TestContext, options: Partial<EngineOptions> = {}): Promise<Shop> {
  const started: EmbeddedEngine[] = [];
  const start = async (given: EngineOptions) => {
    const engine = await startEmbeddedEngine({ ...given, workers });
    started.push(engine);
    return engine;
  };
  const scene = await setScene(t, start, { engine: options });
  const [engine] = started;
  assert.ok(engine);
  return { scene, engine };
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Kills one worker and waits until another one has its place. */
async function loseWorker(engine: EmbeddedEngine, pid = engine.workerPids[0] ?? 0): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until(`a worker has taken the place of ${pid}`, () => {
    return engine.workerPids.length === workers && !engine.workerPids.includes(pid);
  });
}

const request = 'GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n';

/** Connections that have been answered once, and are kept. */
async function keptConnections(t: TestContext, { port }: Scene, count: number): Promise<RawConnection[]> {
  const connections = Array.from({ length: count }, () => connectRaw(t, port, request));
  await Promise.all(connections.map((connection) => connection.untilReceived(/shop-\d$/)));
  return connections;
}

/** Asks once more. By the time of the answer, a connection whose worker is dead has been cut. */
async function answersOrIsClosed(connection: RawConnection): Promise<void> {
  connection.received = '';
  connection.send(request);
  await until('an answer, or the end', () => connection.isClosed || /shop-\d$/.test(connection.received));
}

/** Keys in the memory of this process: the workers have none. */
function memoryLedger(): IdempotencyLedger {
  const answers = new Map<string, IdempotencyAnswer>();
  return {
    async claim({ key }) {
      const known = answers.get(key);
      if (known !== undefined) return known;
      answers.set(key, { kind: 'running' });
      return { kind: 'granted', token: key };
    },
    finish: async (token: string, response: StoredResponse) =>
      void answers.set(token, { kind: 'done', response }),
    release: async (token) => void answers.delete(token),
    forget: async (token) => void answers.set(token, { kind: 'unknown' }),
  };
}

test('three workers are one balancer', async (t) => {
  const verdicts: string[] = [];
  const shop = await openShop(t, {
    health: quickHealth,
    idempotency: memoryLedger(),
    onInstanceHealth: (instance, healthy) => verdicts.push(`${instance} ${healthy}`),
  });
  const { scene } = shop;
  await t.test('the status sums up what they saw', (t) => sumsUp(t, shop));

  await t.test('a user stays where the cookie says, whichever of them takes the connection', async () => {
    const visitor = scene.visitor();
    const home = await visitor.whereabouts();
    for (let visit = 0; visit < many; visit++) assert.equal(await visitor.whereabouts(), home);
  });

  await t.test('P7: a POST under one key is carried out once, however many of them it comes to', async () => {
    const path = '/say?header=X-Order:+4711';
    const post = () =>
      scene.ask(path, { method: 'POST', body: 'order', headers: { 'Idempotency-Key': 'one' } });
    const atOnce = await Promise.all(Array.from({ length: 24 }, post));
    assert.ok(atOnce.every(({ status }) => status === 200 || status === 409));
    assert.ok(atOnce.some(({ status }) => status === 200));
    const later = await Promise.all(Array.from({ length: 24 }, post));
    const told = new Set(later.map(({ status, body, headers }) => `${status} ${body} ${headers['x-order']}`));
    assert.match([...told].join(), /^200 shop-\d 4711$/);
    assert.equal(await scene.arrivals('POST', path), 1);
  });

  await t.test('one verdict on an instance holds in all of them, both ways', async () => {
    await scene.backend('shop-1').pretend('sick');
    await scene.untilHealthy('shop-1', false);
    await until('no worker sends anybody there', async () => (await scene.newUsers(24))('shop-1') === 0);
    await scene.backend('shop-1').pretend('well');
    await scene.untilHealthy('shop-1', true);
    await until('it is used again', async () => (await scene.newUsers(24))('shop-1') > 0);
    assert.deepEqual(verdicts, ['shop-1 false', 'shop-1 true']);
    assert.equal(scene.traffic('shop-1').ejections, 1);
  });

  await t.test(
    'a user of an instance that drains stays, whichever of them takes the connection',
    async () => {
      const visitor = scene.visitor();
      const home = await visitor.whereabouts();
      await visitor.whereabouts();
      scene.say({ [home]: 'draining' });
      await until('newcomers go elsewhere', async () => (await scene.newUsers(12))(home) === 0);
      for (let visit = 0; visit < many; visit++) assert.equal(await visitor.whereabouts(), home);
    },
  );
});

async function sumsUp(t: TestContext, { scene, engine }: Shop): Promise<void> {
  const { port } = scene;
  const kept = await keptConnections(t, scene, many);
  await Promise.all(Array.from({ length: 20 }, () => scene.ask('/status?code=404')));
  const refused = Array.from({ length: 10 }, () => connectRaw(t, port, 'GET / HTTP/1.1\r\n\r\n'));
  await Promise.all(refused.map((connection) => connection.untilClosed()));
  const sums = () => {
    const { instances, clients } = engine.status();
    const sum = (counts: readonly (number | undefined)[]) =>
      counts.reduce<number>((total, count) => total + (count ?? 0), 0);
    return {
      ...clients,
      instances: instances.map(({ instance }) => instance),
      requests: sum(instances.map(({ requests }) => requests)),
      good: sum(instances.map(({ responses }) => responses[1])),
      bad: sum(instances.map(({ responses }) => responses[3])),
      timed: sum(instances.flatMap(({ latency }) => latency?.counts ?? [])),
    };
  };
  const expected = {
    connections: many,
    accepted: many + 30,
    refusals: { 400: 10 },
    waiting: 0,
    instances: ['shop-1', 'shop-2'],
    requests: many + 20,
    good: many,
    bad: 20,
    timed: many + 20,
  };
  await until(
    () => JSON.stringify(sums()),
    () => isDeepStrictEqual(sums(), expected),
  );
  for (const { socket } of kept) socket.destroy();
  await until('they have left', () => engine.status().clients.connections === 0);
}

test('a worker that is killed', async (t) => {
  const { scene, engine } = await openShop(t, { health: blindHealth });

  await t.test('takes its own connections with it, which are its share of all, and no other', async (t) => {
    const pids = [...engine.workerPids];
    assert.equal(new Set(pids).size, workers);
    assert.ok(!pids.includes(process.pid) && pids.every(lives));
    let connections = await keptConnections(t, scene, many);
    for (const pid of pids) {
      await loseWorker(engine, pid);
      await Promise.all(connections.map(answersOrIsClosed));
      const kept = connections.filter(({ isClosed }) => !isClosed);
      assert.ok(kept.length < connections.length, `worker ${pid} had none of ${many} connections`);
      connections = kept;
    }
    assert.equal(connections.length, 0, 'every connection was with one of them');
    assert.equal((await scene.ask('/whoami')).status, 200);
  });

  await t.test('is followed by one that knows the instances', async () => {
    scene.say({ 'shop-1': 'maintenance' });
    await until('the others know', async () => (await scene.newUsers(12))('shop-2') === 12);
    for (const pid of engine.workerPids) await loseWorker(engine, pid);
    assert.equal((await scene.newUsers(24))('shop-2'), 24);
    scene.say({ 'shop-1': 'up' });
  });

  await t.test('leaves its counts behind, but what it saw last does not stand for what is', async () => {
    const served = () => scene.traffic('shop-1').requests + scene.traffic('shop-2').requests;
    const before = served();
    await scene.newUsers(24);
    await until('the workers have told', () => served() >= before + 24);
    const told = served();
    for (const pid of engine.workerPids) await loseWorker(engine, pid);
    assert.ok(served() >= told);
    // An agent that drains its instance waits for that.
    await until('nobody has used shop-1 for a second', () => scene.traffic('shop-1').idleMs > 1_000, 4_000);
  });

  await t.test('is forgotten with the instances that are no longer in the table', async () => {
    const { instances, ...table } = scene.table();
    engine.apply({ ...table, instances: instances.slice(1) });
    const names = () => engine.status().instances.map(({ instance }) => instance);
    await until(
      () => names().join(),
      () => isDeepStrictEqual(names(), ['shop-2']),
      2_000,
    );
  });
});

/** Looks at the status again and again; whatever only rises must. */
function watchCounters(engine: EmbeddedEngine): { stop(): Promise<readonly string[]> } {
  const complaints: string[] = [];
  let isStopped = false;
  const risers = ({ instances, clients }: EngineStatus): Record<string, number> => {
    const counts: Record<string, number> = { accepted: clients.accepted };
    for (const { instance, requests, responses, latency } of instances) {
      counts[`${instance} requests`] = requests;
      counts[`${instance} responses`] = responses[1];
      counts[`${instance} latencies`] = latency?.sumMs ?? 0;
    }
    return counts;
  };
  const watching = (async () => {
    let before = risers(engine.status());
    while (!isStopped) {
      await sleep(5);
      const now = risers(engine.status());
      for (const [name, count] of Object.entries(before))
        if ((now[name] ?? 0) < count) complaints.push(`${name} went back from ${count} to ${now[name]}`);
      before = now;
    }
  })();
  return {
    async stop() {
      isStopped = true;
      await watching;
      return complaints;
    },
  };
}

test('P7: under load the death of a worker fails what it had in its hands and nothing else, and no counter goes back', async (t) => {
  const { scene, engine } = await openShop(t);
  const counters = watchCounters(engine);
  const clients = 24;
  const kept = startCrowd(scene.port, clients);
  const strangers: string[] = [];
  let isOver = false;
  const comeAndGo = async () => {
    while (!isOver) await scene.ask('/whoami').catch((error: Error) => strangers.push(error.message));
  };
  const coming = Array.from({ length: 4 }, comeAndGo);
  for (let kills = 0; kills < 2; kills++) {
    const before = engine.status().clients.accepted;
    await until('there is traffic', () => engine.status().clients.accepted > before + 20);
    await loseWorker(engine);
  }
  const before = engine.status().clients.accepted;
  await until('there is traffic', () => engine.status().clients.accepted > before + 20);
  isOver = true;
  await Promise.all(coming);
  const { failures, requests } = await kept.stop();
  assert.deepEqual(await counters.stop(), []);
  assert.ok(requests > 100, `${requests} requests`);
  const broken = /ECONNRESET|socket hang up|EPIPE/;
  for (const failure of [...failures, ...strangers]) assert.match(failure, broken);
  // One request a client for each worker that died under it.
  assert.ok(
    failures.length <= 2 * clients && strangers.length <= 2 * 4,
    `${failures.length}, ${strangers.length}`,
  );
});

test('P7: what one worker notices is checked once and for all of them, and nobody sees a failure', async (t) => {
  const { scene } = await openShop(t, { health: { ...testHealth, everyMs: 60_000 } });
  await scene.newUsers(12);
  await scene.backend('shop-1').kill();
  // No check is due for a minute: only traffic can have told.
  for (let visit = 0; visit < 12; visit++) assert.equal(await scene.visitor().whereabouts(), 'shop-2');
  await scene.untilHealthy('shop-1', false);
});

test('closing lets what is under way finish, refuses what is new, and ends every worker', async (t) => {
  const { scene, engine } = await openShop(t);
  const pids = [...engine.workerPids];
  const slow = Array.from({ length: 12 }, () => scene.ask('/slow?ms=400'));
  await until('they are under way', async () => (await scene.arrivals('GET', '/slow?ms=400')) === 12);
  const idle = await keptConnections(t, scene, 12);
  const closed = engine.close({ graceMs: 3_000 });
  for (const { status } of await Promise.all(slow)) assert.equal(status, 200);
  await closed;
  await Promise.all(idle.map((connection) => connection.untilClosed()));
  const socket = net.connect(scene.port, '127.0.0.1');
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
  await until('no worker lives', () => !pids.some(lives));
  assert.deepEqual(engine.workerPids, []);
});

test('a session of TLS that one worker began is resumed by every other', async (t) => {
  const certificates = await certificatesFor(t, 'shop.example.com');
  const { scene } = await openShop(t, { tls: { certificates } });
  const { port } = scene;
  const options = {
    port,
    servername: 'shop.example.com',
    ca: certificates[0]?.ca ?? '',
    maxVersion: 'TLSv1.2',
  } as const;
  const connect = async (session?: Buffer): Promise<tls.TLSSocket> => {
    const socket = tls.connect({ ...options, host: '127.0.0.1', ...(session && { session }) });
    t.after(() => void socket.destroy());
    await once(socket, 'secureConnect');
    return socket;
  };
  const first = await connect();
  assert.equal(first.isSessionReused(), false);
  const session = first.getSession();
  assert.ok(session);
  const later = await Promise.all(Array.from({ length: 24 }, () => connect(session)));
  assert.deepEqual(
    later.map((socket) => socket.isSessionReused()),
    Array<boolean>(24).fill(true),
  );
});
