/** An update of the application while users work: the model is deployed on every host, and one after the other restarts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type MendixCluster, startMendixCluster } from './cluster.ts';

async function restarted(cluster: MendixCluster, name: string): Promise<void> {
  const find = async () => (await cluster.instances()).find(({ instance }) => instance === name);
  const before = await find();
  process.kill(before?.agentPid ?? 0, 'SIGTERM'); // it drains, and `up` starts it again
  const deadlineMs = performance.now() + 60_000;
  for (;;) {
    const now = await find();
    if (now?.state === 'up' && now.pid !== before?.pid && now.agentPid !== before?.agentPid) return;
    assert.ok(performance.now() < deadlineMs, `${name} is ${now?.state}`);
    await delay(100);
  }
}

test('a new model with a changed database, one instance at a time: users notice nothing, the change is made once', async (t) => {
  const cluster = await startMendixCluster();
  t.after(() => cluster.stop());
  const login = { action: 'login', params: { username: 'ann' } };
  const response = await fetch(`${cluster.url}/xas/`, { method: 'POST', body: JSON.stringify(login) });
  const cookie = response.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ');
  const statuses = new Map<number, number>();
  const over = new AbortController();
  const using = (async () => {
    while (!over.signal.aborted) {
      const { status } = await fetch(`${cluster.url}/xas/`, { headers: { cookie } });
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await delay(20);
    }
  })();

  const change = 'alter table claims add column paid boolean';
  await cluster.deploy('2', [change]);
  for (const { instance } of await cluster.instances()) await restarted(cluster, instance);
  over.abort();
  await using;

  assert.deepEqual([...statuses.keys()], [200]);
  assert.ok((statuses.get(200) ?? 0) > 20);
  const [version] = await cluster.application.query<{ modelversion: string }>(
    'select * from "mendixsystem$version"',
  );
  assert.equal(version?.modelversion, '2');
  const [ran] = await cluster.application.query<{ times: number }>(
    'select count(*)::int as times from "mendixsystem$ddl" where command = $1',
    [change],
  );
  assert.equal(ran?.times, 1);
});
