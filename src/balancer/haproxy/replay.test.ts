import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Reply } from '../../testing/balancer/client.ts';
import { belongsTo, setScene } from '../../testing/balancer/scene.ts';
import type { Engine, EngineOptions } from '../engine.ts';
import { startInThread } from './worker-engine.fixture.ts';

const binary = process.env.HAPROXY ?? 'haproxy';
const skip = spawnSync(binary, ['-v']).status === 0 ? false : 'there is no haproxy on this machine';

async function start(options: EngineOptions): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-'));
  const engine = await startInThread(options, { folder, binary, slots: 4 });
  return { ...engine, close: (how) => engine.close(how).finally(() => rm(folder, { recursive: true })) };
}

/** The reply to a PUT of so many bytes whose instance is killed while it works on it. */
async function putAtDyingInstance(
  t: TestContext,
  bytes: number,
  engine: Partial<EngineOptions>,
): Promise<Reply> {
  const scene = await setScene(t, start, { engine });
  const path = '/slow?ms=500';
  const body = 'x'.repeat(bytes);
  const put = scene.ask(path, { method: 'PUT', body, headers: belongsTo('shop-1') });
  await scene.untilRecorded('shop-1', (entry) => entry.url === path);
  await scene.backend('shop-1').kill();
  const reply = await put;
  assert.equal(await scene.backend('shop-2').count('PUT', path), reply.status === 200 ? 1 : 0);
  return reply;
}

describe('bodies that are kept for a repetition', { skip }, () => {
  test('P7: a small one goes with its request to the next instance', async (t) => {
    assert.equal((await putAtDyingInstance(t, 12_000, {})).body, 'shop-2');
  });

  test('P7: a larger one does where somebody asked for it', async (t) => {
    const engine = { limits: { replayBodyBytes: 100_000 } };
    assert.equal((await putAtDyingInstance(t, 100_000, engine)).body, 'shop-2');
  });

  test('P7: one that is too large is not sent in part, and the client is told that it may send it again', async (t) => {
    const reply = await putAtDyingInstance(t, 60_000, {});
    assert.equal(reply.status, 502);
    assert.match(reply.body, /may safely be sent again/);
  });
});
