/** The demo as a test: three runtimes from one m2ee.yaml, in real processes, on a bad night. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type MendixCluster, startMendixCluster, ttlMs } from './cluster.ts';
import { type StoryFacts, tellStory, uploaded } from './story.ts';

let cluster: MendixCluster;
let facts: StoryFacts;
before(async () => {
  cluster = await startMendixCluster();
  facts = await tellStory(cluster, () => undefined);
});
after(() => cluster.stop());

test('three runtimes that find the database empty at once change it exactly once', () => {
  assert.ok(facts.ddlTimes.length >= 6);
  assert.deepEqual([...new Set(facts.ddlTimes)], [1]);
});

test('P6: the serving runtime is killed: the user is still logged in, elsewhere, and the file is there', () => {
  assert.equal(facts.userAfterwards, facts.user);
  assert.notEqual(facts.servedBy[1], facts.servedBy[0]);
  assert.equal(facts.fileAfterwards, uploaded);
});

test('the host of the leader freezes: another instance runs the scheduled events within ttl, drain and start', () => {
  assert.notEqual(facts.leaders[0], facts.leaders[1]);
  // One second of drain, the start of a process on a busy machine, and a second until an event is due.
  assert.ok(facts.movedWithinMs < ttlMs + 20_000, `${facts.movedWithinMs} ms`);
});

test('P1: in the journal of all runtimes no event was run twice, and no moment has two that run them', () => {
  assert.ok(facts.journal.executions >= 4);
  assert.ok(facts.journal.runtimes >= 2);
  assert.equal(facts.journal.doubled, 0);
  assert.equal(facts.journal.overlapping, 0);
});

test('a large file comes back through the balancer as it was sent', async () => {
  const login = { action: 'login', params: { username: 'bob' } };
  const response = await fetch(`${cluster.url}/xas/`, { method: 'POST', body: JSON.stringify(login) });
  const cookie = response.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ');
  const content = randomBytes(32 * 1_048_576);
  const path = `${cluster.url}/file?name=large.bin`;
  const sent = await fetch(path, { method: 'POST', body: content, headers: { cookie } });
  assert.equal(sent.status, 200);
  const received = Buffer.from(await (await fetch(path, { headers: { cookie } })).arrayBuffer());
  assert.ok(received.equals(content));
});

test('what users must not see is not there, what they need is', async () => {
  assert.equal((await fetch(`${cluster.url}/ws-doc/`)).status, 404);
  assert.equal((await fetch(`${cluster.url}/rest/orders`)).status, 200);
  assert.equal((await fetch(`${cluster.url}/xas/`)).status, 401);
});
