/**
 * One agent of Holdfast as a process: its lease, its event manager and its listener are the real ones, put together
 * as `holdfast agent` does it; only the work of each event is to do nothing. Every statement is counted on its way.
 */
import { hostname } from 'node:os';
import { type Arbiter, openArbiter, type Query } from '../../src/database/arbiter.ts';
import { systemClock } from '../../src/database/clock.ts';
import { defineEvent } from '../../src/events/definition.ts';
import { EventManager } from '../../src/events/event-manager.ts';
import type { Executor } from '../../src/events/execution/execution.ts';
import type { ClaimAnswer } from '../../src/events/ledger.ts';
import { LeaseKeeper } from '../../src/members/lease-keeper.ts';
import { type Log, silentLog } from '../../src/support/log.ts';
import { answerQuestions } from './processes.ts';
import { wallMs } from './wall-clock.ts';
import { eventsOf, type Workload } from './workload.ts';

export interface AgentOrder {
  readonly url: string;
  readonly instance: string;
  readonly revision: number;
  readonly workload: Workload;
}

export interface StartSample {
  readonly dueMs: number;
  readonly startedMs: number;
  /** When the claim that brought it was sent, and when it was answered. */
  readonly claimSentMs?: number;
  readonly claimAnsweredMs?: number;
}

/** Everything since the agent started. */
export interface AgentCounts {
  /** By kind: `claim`, `finish`, `waiting`, `heartbeat` and others. */
  readonly statements: Readonly<Record<string, number>>;
  /** What the claims' answers were: `granted`, `moved` and others. */
  readonly claims: Readonly<Record<string, number>>;
  /** Results sent to the ledger. */
  readonly results: number;
  /** What the agent warned of. */
  readonly notices: readonly string[];
}

const lease = { ttlMs: 5_000, heartbeatMs: 1_000 };
const hintProbeMs = 15_000;
const slowestDefinitionMs = 20_000;

const statementKinds: readonly (readonly [string, RegExp])[] = [
  ['claim', /event_claim\(/],
  ['finish', /event_finish\(/],
  ['waiting', /event_waiting\(/],
  ['heartbeat', /member_heartbeat\(/],
  ['define', /event_define\(/],
  ['join', /member_join\(/],
  ['members', /from holdfast\.member /],
];

const statements: Record<string, number> = {};
const answered = new Set<string>();
const claims: Record<string, number> = {};
const notices: string[] = [];
const samples: StartSample[] = [];
const claimTimes = new Map<string, { readonly sentMs: number; readonly answeredMs: number }>();
let results = 0;
let keepsSamples = false;

const add = (counts: Record<string, number>, key: string): void => {
  counts[key] = (counts[key] ?? 0) + 1;
};

function counted(query: Query): Query {
  return async <Row>(...[text, values, options]: Parameters<Query>): Promise<Row[]> => {
    const kind = statementKinds.find(([, pattern]) => pattern.test(text))?.[0] ?? 'others';
    add(statements, kind);
    const sentMs = wallMs();
    const rows = await query<Row>(text, values, options);
    answered.add(kind);
    if (kind === 'claim') {
      const [row] = rows as { answer?: { answers?: ClaimAnswer[] } }[];
      for (const answer of row?.answer?.answers ?? []) {
        add(claims, answer.outcome);
        if (keepsSamples && answer.outcome === 'granted')
          claimTimes.set(answer.token, { sentMs, answeredMs: wallMs() });
      }
    }
    if (kind === 'finish') results += (rows as { answers: unknown[] }[])[0]?.answers.length ?? 0;
    return rows;
  };
}

const noticing: Log = {
  ...silentLog,
  warn: (_, message) => void notices.push(message),
  error: (_, message) => void notices.push(message),
  child: () => noticing,
};

const doNothing: Executor = ({ dueMs, token }) => {
  if (keepsSamples) {
    const startedMs = wallMs();
    const claim = claimTimes.get(String(token));
    claimTimes.delete(String(token));
    const { sentMs: claimSentMs, answeredMs: claimAnsweredMs } = claim ?? {};
    samples.push({
      dueMs,
      startedMs,
      ...(claimSentMs === undefined ? {} : { claimSentMs }),
      ...(claimAnsweredMs === undefined ? {} : { claimAnsweredMs }),
    });
  }
  return {
    finished: Promise.resolve({ outcome: 'succeeded', reason: null, result: null }),
    abort: () => undefined,
  };
};

interface Agent {
  readonly arbiter: Arbiter;
  close(): Promise<void>;
}
let agent: Agent | undefined;

function startAgent({ url, instance, revision, workload }: AgentOrder): Agent {
  const arbiter = openArbiter({ url, applicationName: `holdfast agent ${instance}`, max: 5 });
  const query = counted(arbiter.query);
  const facts = {
    host: hostname(),
    agentPid: process.pid,
    address: null,
    pid: process.pid,
    revision,
    healthPage: null,
    reason: null,
  };
  const keeper = new LeaseKeeper({
    query,
    clock: systemClock,
    random: Math.random,
    log: noticing,
    instance,
    agentId: `${instance}/${process.pid}`,
    provedDead: [],
    lease,
    report: () => ({ state: 'up', facts }),
    on: {
      joined: () => manager.hint(),
      renewed: (result) => manager.renewed(result),
      expired: (why) => manager.expired(why),
    },
  });
  const manager: EventManager = new EventManager({
    query,
    clock: systemClock,
    log: noticing,
    instance,
    revision,
    definitions: eventsOf(workload).map((settings) => defineEvent(settings, instance)),
    alarm: [],
    lease: keeper,
    isEligible: () => true,
    isAppointed: () => false,
    executorOf: () => doNothing,
  });
  const listener = arbiter.listen(
    ['holdfast_events'],
    { onNotify: () => manager.notified(), onConnect: () => manager.notified() },
    { probeMs: hintProbeMs },
  );
  const running = [keeper.run(), manager.run()];
  return {
    arbiter,
    async close() {
      await manager.close();
      await keeper.close();
      await listener.close();
      await Promise.all(running);
      await arbiter.close();
    },
  };
}

/** Until all definitions are known to the arbiter and the other members to this agent. */
async function untilReady(): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + slowestDefinitionMs;
  while (!answered.has('define') || !answered.has('members')) {
    if (systemClock.monotonicMs() > deadlineMs) throw new Error(`not ready: ${notices.join('; ')}`);
    await systemClock.sleep(20);
  }
}

answerQuestions({
  async start(order: AgentOrder) {
    keepsSamples = order.workload.kind === 'ticks' || order.workload.kind === 'minutes';
    agent = startAgent(order);
    await untilReady();
  },
  started: () => samples.length,
  samples: () => samples,
  counts: (): AgentCounts => ({ statements, claims, results, notices }),
  async stop() {
    await agent?.close();
  },
});
