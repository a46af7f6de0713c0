/**
 * The simulation is only worth something if it bites: the protocol is broken in one way after another, in SQL or in
 * the agents' code, and a run must find each, and name the promise.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventManager, type EventManagerOptions } from '../../src/events/event-manager.ts';
import { LeaseKeeper, type LeaseKeeperOptions } from '../../src/members/lease-keeper.ts';
import { clockRateTolerance, elapsedMs, type Moment } from '../../src/protocol/lease.ts';
import { openSimulatedDatabase, type SimulatedDatabase, simulate } from '../../src/testing/index.ts';
import type { Parts } from '../../src/testing/simulation/agent.ts';
import type { FaultKind } from '../../src/testing/simulation/faults.ts';

/** A mutant that survives so many seeds is not found. */
const seedsAtMost = 100;

interface Expected {
  readonly promise: RegExp;
  /** Only these happen, so that less of the time goes into seeds that cannot find it. */
  readonly faultKinds?: readonly FaultKind[];
}

let database: SimulatedDatabase;
before(async () => {
  database = await openSimulatedDatabase();
});
after(() => database.close());

async function mustFind({ promise, faultKinds }: Expected, parts: Partial<Parts> = {}): Promise<string> {
  const options = { parts, ...(faultKinds && { faultKinds }) };
  for (let seed = 1; seed <= seedsAtMost; seed++) {
    const { violation } = await simulate(seed, database, options);
    if (!violation) continue;
    assert.match(violation.message, promise);
    return `found by seed ${seed}: ${violation.message.split('\n')[0]}`;
  }
  return assert.fail(`survived ${seedsAtMost} seeds`);
}

function replaced(sql: string, rule: string | RegExp, by: string): string {
  const mutated = sql.replace(rule, by);
  assert.notEqual(mutated, sql, 'the rule to break is not there');
  return mutated;
}

interface BrokenSql extends Expected {
  readonly mutate: (sql: string) => string;
}

const brokenSql: Record<string, BrokenSql> = {
  'without the rule of witnesses': {
    promise: /^P9: .* lost its name/,
    faultKinds: ['arbiter frozen', 'arbiter restarted', 'all agents partitioned'],
    mutate: (sql) =>
      replaced(
        replaced(sql, /case when moment - renewed.unbroken_since >= .*/, 'case when true'),
        /\n +and moment - w.unbroken_since >= w.ttl_ms \* interval '1 ms'/,
        '',
      ).replace('and w.timeline = holdfast.timeline()', ''),
  },
  'that takes over a lease which did not run out': {
    promise: /^P[14]/,
    faultKinds: ['rival with the same name', 'agent frozen', 'agent suspended'],
    mutate: (sql) =>
      replaced(
        sql,
        '(m.lease_until < moment and m.renewed_at = p_watched)',
        "(m.lease_until < moment + interval '4 s' and p_watched is null)",
      ),
  },
  'without the grace after a failover': {
    promise: /^P[134]/,
    faultKinds: ['failover that lost a tail'],
    mutate: (sql) => replaced(sql, 'if started + longest <= holdfast.now() then', 'if true then'),
  },
  'whose tokens do not carry the timeline': {
    promise: /^P3/,
    faultKinds: ['failover that lost a tail'],
    mutate: (sql) => replaced(sql, '(holdfast.timeline()::bigint << 40)', '(1::bigint << 40)'),
  },
  'that grants a named lease again under the same token': {
    promise: /^P[13]/,
    faultKinds: ['messages fail'],
    mutate: (sql) =>
      replaced(
        sql,
        /update holdfast\.lease as l set holder = p_instance, member_token = p_member_token,\s+token = holdfast.next_token\(\)/,
        `update holdfast.lease as l set holder = p_instance, member_token = p_member_token,
           token = case when l.member_token = p_member_token then l.token else holdfast.next_token() end`,
      ),
  },
  'that moves a cursor without asking where it is': {
    promise: /^P2/,
    mutate: (sql) =>
      replaced(
        sql,
        "elsif c.cursor <> holdfast.moment((p_claim ->> 'cursorMs')::float8) then",
        'elsif false then',
      ),
  },
  'that grants claims to whoever is no member any more': {
    promise: /^P[1459]/,
    faultKinds: ['claim comes when its agent has been replaced'],
    mutate: (sql) =>
      replaced(
        sql,
        /where m.instance = p_instance and m.token = p_member_token and m.lease_until >= holdfast.now\(\)\s+and m.state <> 'lost' and m.left_at is null\s+for no key update;/,
        'where m.instance = p_instance;',
      ),
  },
  'that claims without the grace after a failover': {
    promise: /^P1/,
    faultKinds: ['failover that lost a tail'],
    mutate: (sql) => replaced(sql, 'wait_ms := holdfast.grace_ms(me.ttl_ms);', 'wait_ms := 0;'),
  },
  'that leaves runs to members that have ended': {
    promise: /^P5/,
    mutate: (sql) => replaced(sql, /create trigger member_ended [^;]*;/, ''),
  },
  'that takes the result of a run which has ended': {
    promise: /^P[12]/,
    faultKinds: ['messages fail', 'agent crashes as it reports', 'one agent partitioned'],
    mutate: (sql) => replaced(sql, 'elsif r.ended_at is not null then', 'elsif false then'),
  },
  'that claims what somebody else has claimed': {
    promise: /^P[12]/,
    mutate: (sql) =>
      replaced(
        sql,
        "and o.state = 'waiting' and o.held is null\n    and o.not_before <=",
        'and o.not_before <=',
      ),
  },
  'that lets a late request to join end the membership of its own agent': {
    promise: /^P[145]/,
    faultKinds: ['request to join comes when its agent has joined'],
    mutate: (sql) => replaced(sql, 'held.agent_id = p_agent_id and held.heard_token = held.token', 'false'),
  },
  'that lets a run which a person asked for take the place of one that is due': {
    promise: /^P2: .* is not in the ledger/,
    faultKinds: ['wall clock set'],
    mutate: (sql) => replaced(sql, /\(event, place, due, cause\)/g, '(event, place, due)'),
  },
  'that forgets the next one in line': {
    promise: /^P2: .* is in line/,
    mutate: (sql) =>
      replaced(
        sql,
        'update holdfast.occurrence set held = null, not_before = holdfast.now() where id = next_id;',
        '',
      ),
  },
  'that lets occurrences overlap': {
    promise: /^P1: .* and .* work on .* and /,
    mutate: (sql) => replaced(sql, 'elsif before.due is not null and (', 'elsif false and ('),
  },
  'that runs lost work again for ever': {
    promise: /^P2: .* more often than it may/,
    mutate: (sql) => replaced(sql, "when 'lost' then o.reruns_left > 0", "when 'lost' then true"),
  },
};

for (const [name, { mutate, ...expected }] of Object.entries(brokenSql)) {
  test(`the simulation finds SQL ${name}`, async (context) => {
    await database.rebuild(mutate);
    try {
      context.diagnostic(await mustFind(expected));
    } finally {
      await database.rebuild();
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

type Renewal = Parameters<EventManager['renewed']>[0];

const withRuns = (renewal: Renewal, runs: readonly string[]): Renewal => ({
  ...renewal,
  events: { ...renewal.events, runs },
});

class ManagerThatGoesOnWithoutLease extends EventManager {
  override expired(): void {
    // Nothing is aborted.
  }
}

/** Never learns of a run whose grant did not reach it. */
class ManagerThatIgnoresUnknownRuns extends EventManager {
  override renewed(renewal: Renewal): void {
    super.renewed(
      withRuns(
        renewal,
        renewal.events.runs.filter((token) => this.running.has(token)),
      ),
    );
  }
}

/** Looks four seconds after it had reason to, except in the beginning. */
class ManagerThatOversleeps extends EventManager {
  readonly #clock: EventManagerOptions['clock'];

  constructor(options: EventManagerOptions) {
    const { clock } = options;
    const late = (): number => (clock.monotonicMs() < 2_000 ? 0 : 4_000);
    super({ ...options, clock: { ...clock, sleep: (ms, signal) => clock.sleep(ms + late(), signal) } });
    this.#clock = clock;
  }

  override hint(): void {
    if (this.#clock.monotonicMs() < 2_000) super.hint();
  }
}

class ManagerThatBelievesItselfAfterFailover extends EventManager {
  override renewed(renewal: Renewal): void {
    const own = this.running.list().map(({ order }) => String(order.token));
    super.renewed(withRuns(renewal, [...renewal.events.runs, ...own]));
  }
}

/** Gives its runs to others as soon as a health check fails, while they may still be executed here. */
class ManagerThatReleasesEarly extends EventManager {
  readonly #options: EventManagerOptions;

  constructor(options: EventManagerOptions) {
    super(options);
    this.#options = options;
  }

  override hint(): void {
    super.hint();
    if (this.#options.isEligible()) return;
    const released = this.running.list().map(({ order }) => ({
      ...{ token: String(order.token), outcome: 'lost', reason: 'unhealthy' },
      ...{ result: null, retryMs: null, prefer: null },
    }));
    if (released.length === 0) return;
    const sent = this.#options.query('select holdfast.event_finish($1) as answers', [
      JSON.stringify(released),
    ]);
    void sent.catch(() => undefined); // what a mutant cannot say, it does not say
  }
}

interface BrokenParts extends Expected {
  readonly parts: Partial<Parts>;
}

const brokenParts: Record<string, BrokenParts> = {
  'a keeper that counts its whole ttl from the answer': {
    promise: /^P[134]/,
    faultKinds: ['messages fail', 'one agent partitioned', 'one agent hears no answers'],
    parts: { keeper: (options) => new KeeperThatCountsFromTheAnswer(options) },
  },
  'a keeper that trusts the monotonic clock alone': {
    promise: /^P[14]/,
    faultKinds: ['agent suspended'],
    parts: {
      keeper: (options) => new LeaseKeeper({ ...options, clock: { ...options.clock, wallMs: () => 0 } }),
    },
  },
  'a manager that goes on when its lease is over': {
    promise: /^P[14]/,
    faultKinds: ['one agent partitioned', 'one agent hears no answers', 'arbiter frozen'],
    parts: { manager: (options) => new ManagerThatGoesOnWithoutLease(options) },
  },
  'a manager that does not compare its runs with those of the heartbeat': {
    promise: /^P[29]/,
    parts: { manager: (options) => new ManagerThatIgnoresUnknownRuns(options) },
  },
  'a manager that believes itself rather than the new primary': {
    promise: /^P1/,
    faultKinds: ['failover that lost a tail'],
    parts: { manager: (options) => new ManagerThatBelievesItselfAfterFailover(options) },
  },
  'a manager that releases its runs when a health check fails': {
    promise: /^P1/,
    faultKinds: ['instance drains', 'instance crashes, its agent lives'],
    parts: { manager: (options) => new ManagerThatReleasesEarly(options) },
  },
  'a manager that oversleeps': {
    promise: /^P[29]: .* could (have run|take) it/,
    faultKinds: ['wall clock set'],
    parts: { manager: (options) => new ManagerThatOversleeps(options) },
  },
  'an agent that begins whatever it is granted, however late': {
    promise: /^P[1459]/,
    faultKinds: ['agent frozen as it claims'],
    parts: {
      manager: (options) => new EventManager({ ...options, lease: unlimited(options.lease) }),
    },
  },
};

/** A lease that is never over while the membership is. */
const unlimited = (lease: EventManagerOptions['lease']): EventManagerOptions['lease'] => ({
  get membership() {
    return lease.membership;
  },
  mayAct: () => true,
  remainingMs: () => 60_000,
});

for (const [name, { parts, ...expected }] of Object.entries(brokenParts)) {
  test(`the simulation finds ${name}`, async (context) => {
    context.diagnostic(await mustFind(expected, parts));
  });
}
