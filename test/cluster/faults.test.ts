/** What users see while instances, agents and the arbiter die: one cluster of real processes, one fault after another. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openArbiter } from '../../src/database/arbiter.ts';
import { type Client, openClient } from './client.fixture.ts';
import { type Cluster, type InstanceStatus, startCluster, until } from './cluster.fixture.ts';
import { complaints, slowestMs, type Visit, watchAs } from './visitor.fixture.ts';

let cluster: Cluster;
before(async () => {
  cluster = await startCluster();
});
after(() => cluster?.dispose());

/** Logs in, visits for a while, strikes the instance that serves, visits on; returns what the user saw. */
async function visitDuring(
  user: string,
  strike: (served: InstanceStatus) => void,
  forMs: number,
): Promise<{ visits: readonly Visit[]; struckAtMs: number; served: string }> {
  const client = openClient(cluster.url);
  try {
    assert.equal((await client.post('/login', { user })).status, 200);
    await client.post('/basket', { item: 'teapot' });
    const served = String((await client.get('/whoami')).body.instance);
    const target = await cluster.instance(served);
    const watch = watchAs(client);
    await delay(1_000);
    const struckAtMs = watch.nowMs();
    strike(target);
    await delay(forMs);
    const visits = await watch.stop();
    assert.deepEqual((await client.get('/basket')).body.items, await itemsOf(client));
    return { visits, struckAtMs, served };
  } finally {
    client.close();
  }
}

async function itemsOf(client: Client): Promise<unknown> {
  const { items } = (await client.get('/basket')).body;
  assert.ok(JSON.stringify(items).includes('teapot'), 'the basket was lost');
  return items;
}

/** How long after the fault the first answer of another instance came. */
function movedAfterMs({ visits, struckAtMs, served }: Awaited<ReturnType<typeof visitDuring>>): number {
  const first = visits.find(({ atMs, body }) => atMs >= struckAtMs && body?.instance !== served);
  return first ? first.atMs + (first.tookMs ?? 0) - struckAtMs : Number.POSITIVE_INFINITY;
}

test('P6, P7: a user of an instance that is killed stays logged in, sees no failure, and is served elsewhere within a second', async () => {
  const seen = await visitDuring('ada', ({ pid }) => process.kill(pid ?? 0, 'SIGKILL'), 4_000);
  assert.deepEqual(complaints(seen.visits, 'ada'), []);
  assert.ok(movedAfterMs(seen) < 1_000, `moved after ${movedAfterMs(seen)} ms`);
});

test('P5: the killed instance comes back by itself and takes users again', async () => {
  await cluster.allUp();
  const served = new Set<unknown>();
  await until(
    async () => {
      const client = openClient(cluster.url);
      served.add((await client.get('/whoami')).body.instance);
      client.close();
      return served;
    },
    ({ size }) => size === 3,
  );
});

test('P5: a killed agent takes its instance with it, is replaced at once, and its users see no failure', async () => {
  let before: InstanceStatus | undefined;
  const seen = await visitDuring(
    'berta',
    (served) => {
      before = served;
      process.kill(served.agentPid ?? 0, 'SIGKILL');
    },
    4_000,
  );
  assert.deepEqual(complaints(seen.visits, 'berta'), []);
  assert.ok(movedAfterMs(seen) < 1_000, `moved after ${movedAfterMs(seen)} ms`);
  await cluster.allUp();
  const later = await cluster.instance(seen.served);
  assert.equal(later.incarnation, (before?.incarnation ?? 0) + 1);
  assert.throws(
    () => process.kill(before?.pid ?? 0, 0),
    { code: 'ESRCH' },
    'the old instance outlived its agent',
  );
});

test('an instance that is killed together with its agent is replaced, and its users see no failure', async () => {
  const seen = await visitDuring(
    'clara',
    ({ pid, agentPid }) => {
      process.kill(agentPid ?? 0, 'SIGKILL');
      process.kill(pid ?? 0, 'SIGKILL');
    },
    4_000,
  );
  assert.deepEqual(complaints(seen.visits, 'clara'), []);
  assert.ok(movedAfterMs(seen) < 1_000, `moved after ${movedAfterMs(seen)} ms`);
  await cluster.allUp();
});

test('P7: while an instance is frozen no GET fails and none takes longer than three seconds; it is replaced', async () => {
  let pid = 0;
  const seen = await visitDuring(
    'dora',
    (served) => {
      pid = served.pid ?? 0;
      process.kill(pid, 'SIGSTOP');
    },
    5_000,
  );
  assert.deepEqual(complaints(seen.visits, 'dora'), []);
  assert.ok(slowestMs(seen.visits) < 3_000, `the slowest took ${slowestMs(seen.visits)} ms`);
  await until(
    () => cluster.instance(seen.served),
    (one) => one.state === 'up' && one.pid !== pid,
    20_000,
  );
});

test('P6: an instance that thaws again does not bring old visits back', async () => {
  let pid = 0;
  const seen = await visitDuring(
    'emma',
    (served) => {
      pid = served.pid ?? 0;
      process.kill(pid, 'SIGSTOP');
      setTimeout(() => process.kill(pid, 'SIGCONT'), 3_500);
    },
    6_000,
  );
  assert.deepEqual(complaints(seen.visits, 'emma'), []);
  await cluster.allUp();
  assert.equal((await cluster.instance(seen.served)).pid, pid);
});

test('P4, P5: an agent that is frozen is declared lost, loses no user, and joins anew when it thaws', async () => {
  const { takeoverWorstCaseMs } = await cluster.allUp();
  let before: InstanceStatus | undefined;
  const seen = await visitDuring(
    'hanna',
    (served) => {
      before = served;
      process.kill(served.agentPid ?? 0, 'SIGSTOP');
    },
    7_500,
  );
  try {
    assert.deepEqual(complaints(seen.visits, 'hanna'), []);
    const lost = await until(
      () => cluster.instance(seen.served),
      ({ state }) => state === 'lost',
      takeoverWorstCaseMs,
    );
    assert.equal(lost.incarnation, (before?.incarnation ?? 0) + 1);
    assert.match(lost.reason ?? '', /declared lost by shop-\d/);
  } finally {
    process.kill(before?.agentPid ?? 0, 'SIGCONT');
  }
  await cluster.allUp();
  const back = await cluster.instance(seen.served);
  assert.deepEqual([back.incarnation, back.pid], [(before?.incarnation ?? 0) + 2, before?.pid]);
});

test('an agent that is told to stop drains first, and its users see no failure', async () => {
  const seen = await visitDuring('gerda', ({ agentPid }) => process.kill(agentPid ?? 0, 'SIGTERM'), 6_000);
  assert.ok(cluster.messages.includes(`${seen.served} drains before it stops`));
  assert.deepEqual(complaints(seen.visits, 'gerda'), []);
  assert.notEqual(movedAfterMs(seen), Number.POSITIVE_INFINITY);
  await cluster.allUp();
});

test('an instance in maintenance is drained, says so to foreign balancers, and comes back when the reason ends', async () => {
  const { url } = JSON.parse(await readFile(join(cluster.folder, '.holdfast/arbiter.json'), 'utf8'));
  const arbiter = openArbiter({ url, max: 1 });
  const setReasons = (instance: string, reasons: string[]) =>
    arbiter.query('update holdfast.member set maintenance = $2 where instance = $1', [instance, reasons]);
  try {
    const seen = await visitDuring('ida', ({ instance }) => void setReasons(instance, ['new disk']), 6_000);
    assert.deepEqual(complaints(seen.visits, 'ida'), []);
    assert.notEqual(movedAfterMs(seen), Number.POSITIVE_INFINITY);
    const away = await until(
      () => cluster.instance(seen.served),
      ({ state }) => state === 'maintenance',
    );
    assert.equal(away.reason, 'new disk');
    const page = await fetch(away.healthPage ?? '');
    assert.equal(page.status, 503);
    const said = { instance: seen.served, state: 'maintenance', reason: 'new disk' };
    assert.deepEqual(await page.json(), said);
    await setReasons(seen.served, []);
    await cluster.allUp();
  } finally {
    await arbiter.close();
  }
});

test('P6: with 200 users who write two keys at a time and a kill in the middle, no acknowledged key is lost', async () => {
  const users = Array.from({ length: 200 }, (_, index) => ({
    name: `user-${index}`,
    client: openClient(cluster.url),
    acknowledged: new Map<string, string>(),
  }));
  try {
    const logins = await Promise.all(users.map(({ client, name }) => client.post('/login', { user: name })));
    assert.deepEqual(new Set(logins.map(({ status }) => status)), new Set([200]));
    const victim = await cluster.instance('shop-2');
    let killed = false;
    for (let round = 0; round < 6; round++) {
      const writes = Promise.all(
        users.flatMap(({ client, acknowledged }) =>
          ['a', 'b'].map(async (side) => {
            const [key, value] = [`${side}${round}`, `${side}-${round}`];
            const answer = await client.post('/notes', { key, value }).catch(() => undefined); // not acknowledged
            if (answer && answer.status < 300) acknowledged.set(key, value);
          }),
        ),
      );
      if (round === 3) {
        await delay(30); // while the writes are under way
        killed = process.kill(victim.pid ?? 0, 'SIGKILL');
      }
      await writes;
    }
    assert.ok(killed);
    let kept = 0;
    for (const { client, acknowledged, name } of users) {
      const { status, body } = await client.get('/notes');
      assert.equal(status, 200, `${name}: ${JSON.stringify(body)}`);
      const notes = (body.notes ?? body) as Record<string, string>;
      for (const [key, value] of acknowledged) assert.equal(notes[key], value, `${name} lost ${key}`);
      kept += acknowledged.size;
    }
    assert.ok(kept > 2_000, `only ${kept} writes were acknowledged`);
  } finally {
    for (const { client } of users) client.close();
  }
  await cluster.allUp();
});

test('P6: after a logout no concurrent request brings the session back', async () => {
  const client = openClient(cluster.url);
  await client.post('/login', { user: 'fay' });
  const others = Array.from({ length: 10 }, () => client.copy());
  try {
    const racing = others.flatMap((other, index) => [
      other.post('/notes', { key: `k${index}`, value: 'late' }),
      other.get('/whoami'),
    ]);
    await client.post('/logout');
    await Promise.allSettled(racing);
    for (const other of others) assert.equal((await other.get('/whoami')).body.user, null);
  } finally {
    for (const one of [client, ...others]) one.close();
  }
});
