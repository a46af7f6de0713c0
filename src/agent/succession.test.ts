import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Query } from '../database/arbiter.ts';
import type { Tenure } from '../platform/index.ts';
import { silentLog } from '../support/log.ts';
import { type SuccessionOptions, succeedLeader } from './succession.ts';

/** A cluster in a time of its own, which passes only while somebody sleeps. */
async function succession(options: {
  readonly up?: string[];
  readonly leaderWork?: 'does' | 'would' | undefined;
  readonly drained?: boolean;
  readonly isLed?: boolean;
  readonly maintenance?: string[];
}): Promise<{ readonly did: string[] }> {
  const end = new AbortController();
  const did: string[] = [];
  let nowMs = 0;
  let leaderWork = 'leaderWork' in options ? options.leaderWork : 'would';
  const intentions = {
    stopping: false,
    maintenance: options.maintenance ?? [],
    drained: options.drained ?? false,
    restarting: false,
  };
  const { up = ['shop-1', 'shop-2'] } = options;
  const query = async (text: string) => {
    if (/drain/.test(text)) {
      did.push(`drained while restarting is ${intentions.restarting}`);
      return [{ drained: true, users: 0, inFlight: 0, isDrained: true }];
    }
    return up.map((instance) => ({ instance, name: instance }));
  };
  const succeeding: SuccessionOptions = {
    // biome-ignore lint/suspicious/noExplicitAny: a query gives whatever its caller names
    query: query as any as Query,
    instance: 'shop-1',
    limitMs: 100,
    log: silentLog,
    cut: new AbortController().signal,
    announce: () => undefined,
    events: {
      leave: async () => undefined,
      resume: () => void did.push('resumed'),
    } as unknown as SuccessionOptions['events'],
    clock: {
      monotonicMs: () => nowMs,
      wallMs: () => nowMs,
      async sleep(ms) {
        nowMs += ms;
        if (nowMs > 10_000) end.abort();
      },
    },
    leader: { abstains: false, claim: async () => (options.isLed ? undefined : ({} as Tenure)) },
    keeper: {
      get leaderWork() {
        return leaderWork;
      },
      async restart() {
        did.push('restarted');
        leaderWork = undefined;
      },
    },
    intentions,
  };
  await succeedLeader(succeeding, end.signal);
  assert.equal(intentions.restarting, false);
  return { did };
}

test('an instance that would do more as the leader drains and is started again when there is none', async () => {
  const { did } = await succession({});
  assert.equal(did.at(-2), 'restarted');
  assert.equal(did.at(-1), 'resumed');
  assert.ok(did.slice(0, -2).every((one) => one === 'drained while restarting is true'));
});

for (const [why, options] of [
  ['while there is a leader', { isLed: true }],
  ['where the leader has nothing to do that others have not', { leaderWork: undefined }],
  ['while it is in maintenance', { maintenance: ['a new disk'] }],
  ['when it is the last one that serves users', { up: ['shop-1'] }],
] as const) {
  test(`it stays as it is ${why}`, async () => {
    assert.deepEqual((await succession(options as Parameters<typeof succession>[0])).did, []);
  });
}

test('a leader in maintenance gives its work away when nobody uses it any more', async () => {
  const maintenance = ['a new disk'];
  assert.deepEqual((await succession({ leaderWork: 'does', maintenance })).did, []);
  assert.deepEqual((await succession({ leaderWork: 'does', maintenance, drained: true })).did, ['restarted']);
});
