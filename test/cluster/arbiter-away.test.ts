/** P9: traffic goes on while the arbiter is away, nobody is declared lost because of it, and all settles afterwards. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import { openClient } from './client.fixture.ts';
import { type Cluster, startCluster, until } from './cluster.fixture.ts';
import { complaints, watchAs } from './visitor.fixture.ts';

let postgres: TestPostgres;
let cluster: Cluster;
before(async () => {
  postgres = await startTestPostgres();
  cluster = await startCluster({ database: await postgres.createDatabase() });
});
after(async () => {
  await cluster?.dispose();
  await postgres?.stop();
});

const twoTtlMs = 10_000;

for (const [how, leave, comeBack] of [
  ['stopped', () => postgres.halt(), () => postgres.start()],
  ['frozen', async () => postgres.freeze(), async () => postgres.thaw()],
] as const) {
  test(`P9: with the arbiter ${how} for ten seconds users go on, nobody is lost, all settles within two ttl`, async () => {
    const before = await cluster.allUp();
    const client = openClient(cluster.url);
    try {
      await client.post('/login', { user: 'ada' });
      await client.get('/whoami');
      const watch = watchAs(client);
      await delay(500);
      await leave();
      await delay(10_000);
      await comeBack();
      const backAtMs = performance.now();
      await delay(1_000);
      const after = await cluster.allUp(twoTtlMs);
      assert.ok(performance.now() - backAtMs < twoTtlMs);
      await delay(twoTtlMs / 2); // the time in which a wrong declaration would come
      const visits = await watch.stop();
      assert.deepEqual(complaints(visits, 'ada'), []);
      const settled = await cluster.allUp(1_000);
      for (const [index, one] of before.instances.entries()) {
        assert.equal(after.instances[index]?.incarnation, one.incarnation);
        assert.equal(
          settled.instances[index]?.incarnation,
          one.incarnation,
          `${one.instance} was declared lost`,
        );
        assert.equal(settled.instances[index]?.pid, one.pid);
      }
    } finally {
      client.close();
    }
  });
}

test('P9: a balancer that is started while the arbiter is away serves by the routing table on its disk', async () => {
  const { balancers } = await cluster.status();
  const balancerPid = Number(balancers[0]?.pid);
  const client = openClient(cluster.url);
  await postgres.halt();
  try {
    process.kill(balancerPid, 'SIGKILL');
    const { body } = await until(
      () => client.get('/health'),
      ({ status }) => status === 200,
      15_000,
    );
    assert.deepEqual(body, { status: 'ok' });
  } finally {
    client.close();
    await postgres.start();
  }
  const status = await cluster.allUp(twoTtlMs);
  assert.notEqual(status.balancers[0]?.pid, balancerPid);
});
