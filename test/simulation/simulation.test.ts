/**
 * Runs the simulation over many seeds. A failing seed prints what happened last and how to replay exactly that run:
 * `SEED=123 node --test test/simulation/simulation.test.ts`. More seeds: `SEEDS=5000`.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LeaseKeeper, type LeaseKeeperOptions } from '../../src/members/lease-keeper.ts';
import { clockRateTolerance, elapsedMs, type Moment } from '../../src/protocol/lease.ts';
import type { KeeperFactory } from './agent.ts';
import { messageFaults } from './arbiter.ts';
import { openSimulatedDatabase, type SimulatedDatabase } from './database.ts';
import { faultKinds } from './faults.ts';
import { type RunResult, simulate } from './world.ts';

const onlySeed = process.env.SEED === undefined ? undefined : Number(process.env.SEED);
const seeds = Number(process.env.SEEDS ?? 150);

let database: SimulatedDatabase;
before(async () => {
  database = await openSimulatedDatabase();
});
after(() => database.close());

function explain({ seed, violation, trace }: RunResult): string {
  const replay = `SEED=${seed} node --test test/simulation/simulation.test.ts`;
  return `seed ${seed}: ${violation?.message}\n${trace.join('\n')}\nReplay: ${replay}`;
}

test('P1, P3, P4, P5, P9: hold in every simulated run, and every fault really happens', async () => {
  const happened = new Map<string, number>();
  const failed: RunResult[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const result = await simulate(onlySeed ?? seed, database);
    for (const [kind, count] of result.happened) happened.set(kind, (happened.get(kind) ?? 0) + count);
    if (result.violation) failed.push(result);
    if (onlySeed !== undefined || failed.length === 3) break;
  }
  assert.equal(failed.length, 0, failed.map(explain).join('\n\n'));
  if (onlySeed !== undefined || seeds < 100) return; // too few runs to demand that everything happens
  const sometimes = [
    ...faultKinds,
    ...messageFaults.map((fault) => `message ${fault}`),
    'declared lost',
    'fenced',
    'expired',
    'taken over after watching',
    'rejoined after a seen death',
    'refused: held by a live agent',
    'named lease granted',
  ];
  assert.deepEqual(
    sometimes.filter((kind) => !happened.has(kind)),
    [],
    'these never happened: the simulation proves nothing about them',
  );
});

test('a seed replays exactly', async () => {
  const [first, second, other] = [
    await simulate(17, database),
    await simulate(17, database),
    await simulate(18, database),
  ];
  assert.equal(first.digest, second.digest);
  assert.notEqual(first.digest, other.digest);
});

/** Runs seeds until one finds a violation; the simulation is only worth something if it does. */
async function firstViolation(
  mutant: SimulatedDatabase,
  keeper?: KeeperFactory,
): Promise<string | undefined> {
  for (let seed = 1; seed <= 400; seed++) {
    const { violation } = await simulate(seed, mutant, keeper ? { keeper } : {});
    if (violation) return violation.message;
  }
  return undefined;
}

function replaced(sql: string, rule: string | RegExp, by: string): string {
  const mutated = sql.replace(rule, by);
  assert.notEqual(mutated, sql, 'the rule to break is not there');
  return mutated;
}

const brokenSql: Record<string, { promise: RegExp; mutate: (sql: string) => string }> = {
  'without the rule of witnesses': {
    promise: /^P9: .* lost its name/,
    mutate: (sql) =>
      replaced(
        replaced(sql, /case when moment - renewed.unbroken_since >= .*/, 'case when true'),
        /\n +and moment - w.unbroken_since >= w.ttl_ms \* interval '1 ms'/,
        '',
      ).replace('and w.timeline = holdfast.timeline()', ''),
  },
  'that takes over a lease which did not run out': {
    promise: /^P[14]/,
    mutate: (sql) =>
      replaced(
        sql,
        '(m.lease_until < moment and m.renewed_at = p_watched)',
        "(m.lease_until < moment + interval '4 s' and p_watched is null)",
      ),
  },
  'without the grace after a failover': {
    promise: /^P[134]/,
    mutate: (sql) => replaced(sql, 'if started + longest <= holdfast.now() then', 'if true then'),
  },
  'whose tokens do not carry the timeline': {
    promise: /^P3/,
    mutate: (sql) => replaced(sql, '(holdfast.timeline()::bigint << 40)', '(1::bigint << 40)'),
  },
  'that grants a named lease again under the same token': {
    promise: /^P[13]/,
    mutate: (sql) =>
      replaced(
        sql,
        /update holdfast\.lease as l set holder = p_instance, member_token = p_member_token,\s+token = holdfast.next_token\(\)/,
        `update holdfast.lease as l set holder = p_instance, member_token = p_member_token,
           token = case when l.member_token = p_member_token then l.token else holdfast.next_token() end`,
      ),
  },
};

for (const [name, { promise, mutate }] of Object.entries(brokenSql)) {
  test(`the simulation finds SQL ${name}`, async () => {
    const mutant = await openSimulatedDatabase(mutate);
    try {
      assert.match((await firstViolation(mutant)) ?? 'nothing was found', promise);
    } finally {
      await mutant.close();
    }
  });
}

/** Counts its whole ttl from the answer instead of from the question: the mistake that lease arithmetic exists to avoid. */
class KeeperThatCountsFromTheAnswer extends LeaseKeeper {
  readonly #clock: LeaseKeeperOptions['clock'];
  readonly #ttlMs: number;
  #answered: Moment | undefined;

  constructor(options: LeaseKeeperOptions) {
    const note = () => {
      this.#answered = { monotonicMs: options.clock.monotonicMs(), wallMs: options.clock.wallMs() };
    };
    super({
      ...options,
      query: async (text, values, queryOptions) => {
        const rows = await options.query(text, values, queryOptions);
        if (/"(joined|renewed)"/.test(JSON.stringify(rows))) note();
        return rows as never;
      },
    });
    this.#clock = options.clock;
    this.#ttlMs = options.lease.ttlMs;
  }

  override remainingMs(): number {
    if (!this.membership || !this.#answered) return 0;
    const now = { monotonicMs: this.#clock.monotonicMs(), wallMs: this.#clock.wallMs() };
    return this.#ttlMs * (1 - clockRateTolerance) - elapsedMs(this.#answered, now);
  }
}

test('the simulation finds a keeper that counts its whole ttl from the answer', async () => {
  const found = await firstViolation(database, (options) => new KeeperThatCountsFromTheAnswer(options));
  assert.match(found ?? 'nothing was found', /^P[134]/);
});

test('the simulation finds a keeper that trusts the monotonic clock alone', async () => {
  const found = await firstViolation(
    database,
    (options) => new LeaseKeeper({ ...options, clock: { ...options.clock, wallMs: () => 0 } }),
  );
  assert.match(found ?? 'nothing was found', /^P[14]/);
});
