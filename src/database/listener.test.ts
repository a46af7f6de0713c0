import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { type Arbiter, openArbiter } from './arbiter.ts';
import { systemClock } from './clock.ts';

describe('a listener', { timeout: 60_000 }, () => {
  let postgres: TestPostgres;
  let arbiter: Arbiter;
  before(async () => {
    postgres = await startTestPostgres();
    arbiter = openArbiter({ url: await postgres.createDatabase() });
  });
  after(async () => {
    await arbiter.close();
    await postgres.stop();
  });

  const until = async (condition: () => boolean) => {
    while (!condition()) await delay(10);
  };

  function listen() {
    const heard: string[] = [];
    const counts = { connected: 0, disconnected: 0 };
    const listener = arbiter.listen(['news'], {
      onNotify: (channel, payload) => heard.push(`${channel} ${payload}`),
      onConnect: () => {
        counts.connected++;
      },
      onDisconnect: () => {
        counts.disconnected++;
      },
    });
    return { listener, heard, counts };
  }

  test('hears what is notified, and knows since when it would not have', async () => {
    const { listener, heard, counts } = listen();
    assert.equal(listener.lastHeardMs(), Number.NEGATIVE_INFINITY);
    await until(() => counts.connected === 1);
    const first = listener.lastHeardMs();
    assert.ok(first <= systemClock.monotonicMs());
    await arbiter.query(`notify news, 'hello'`);
    await until(() => heard.length === 1);
    assert.deepEqual(heard, ['news hello']);
    await until(() => listener.lastHeardMs() > first); // it asks by itself
    await listener.close();
  });

  test('does not count a frozen server as heard, connects again after it, and says so', async () => {
    const { listener, counts } = listen();
    await until(() => counts.connected === 1);
    postgres.freeze();
    try {
      await until(() => counts.disconnected === 1);
      const last = listener.lastHeardMs();
      assert.ok(systemClock.monotonicMs() - last > 1_500, 'the silence is visible');
    } finally {
      postgres.thaw();
    }
    await until(() => counts.connected === 2);
    await listener.close();
  });

  test('connects again after the server was restarted, and hears again', async () => {
    const { listener, heard, counts } = listen();
    await until(() => counts.connected === 1);
    await postgres.restart();
    await until(() => counts.connected >= 2);
    for (;;) {
      const sent = await arbiter.query(`notify news, 'again'`).catch(() => undefined);
      if (sent) break;
      await delay(50);
    }
    await until(() => heard.includes('news again'));
    await listener.close();
  });

  test('ends at once while it waits for a server that is away', async () => {
    await postgres.halt();
    const { listener } = listen();
    await delay(100);
    const startedMs = systemClock.monotonicMs();
    await listener.close();
    assert.ok(systemClock.monotonicMs() - startedMs < 1_000);
    await postgres.start();
  });
});
