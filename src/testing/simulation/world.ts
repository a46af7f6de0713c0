/**
 * One run of the simulation: three names, their agents, one arbiter, and the faults of one seed; the invariants
 * are checked after every event, and at the end everything must have settled.
 */
import { createHash } from 'node:crypto';
import { LeaseKeeper } from '../../members/lease-keeper.ts';
import { simulatedMachine } from './machine.ts';
import { seededRandom } from './random.ts';
import { type VirtualTime, virtualTime } from './virtual-time.ts';
import { type KeeperFactory, lease, type SimulatedAgent, startAgent } from './agent.ts';
import { type MessageFault, type SimulatedArbiter, simulatedArbiter } from './arbiter.ts';
import type { SimulatedDatabase } from './database.ts';
import { faultsEndMs, type MessageFaultWindow, planFaults } from './faults.ts';
import { invariants } from './invariants.ts';

export interface World {
  readonly time: VirtualTime;
  readonly arbiter: SimulatedArbiter;
  readonly agents: readonly SimulatedAgent[];
  readonly messageFaults: MessageFaultWindow[];
  arbiterBusyUntilMs: number;
  addAgent(instance: string, provedDead: readonly string[]): void;
  promote(clockOffsetMs: number): Promise<void>;
  /** Counts something that a test wants to have happened sometimes. */
  happened(kind: string): void;
}

export interface RunResult {
  readonly seed: number;
  readonly happened: ReadonlyMap<string, number>;
  readonly violation: Error | undefined;
  /** The last things that happened, for a person. */
  readonly trace: readonly string[];
  /** Equal for equal runs. */
  readonly digest: string;
}

/** Two lease times (P9), a request that hangs until its deadline, and the heartbeats with which they begin and end. */
const settlingMs = 2 * lease.ttlMs + 3_000 + 2.5 * lease.heartbeatMs;

export async function simulate(
  seed: number,
  database: SimulatedDatabase,
  options: { keeper?: KeeperFactory } = {},
): Promise<RunResult> {
  await database.reset();
  const random = seededRandom(seed);
  const time = virtualTime();
  const agents: SimulatedAgent[] = [];
  const happened = new Map<string, number>();
  const trace: string[] = [];
  const digest = createHash('sha256');
  const note = (line: string): void => {
    const text = `${time.nowMs().toFixed(3).padStart(10)} ${line}`;
    digest.update(text);
    trace.push(text);
    if (trace.length > 80) trace.shift();
  };
  const count = (kind: string): void => {
    happened.set(kind, (happened.get(kind) ?? 0) + 1);
    note(`-- ${kind}`);
  };
  const always = invariants(agents, count);
  let violation: Error | undefined;

  const world: World = {
    time,
    agents,
    messageFaults: [],
    arbiterBusyUntilMs: 0,
    arbiter: simulatedArbiter({
      time,
      random,
      database,
      nextFault: (caller) => nextFault(caller.agentId),
      onExecution(execution) {
        const call = /holdfast\.\w+/.exec(execution.text)?.[0];
        note(`${execution.caller.agentId} ${call} ${JSON.stringify(execution.rows[0])}`);
        try {
          always.executed(execution);
        } catch (error) {
          violation ??= error as Error;
        }
      },
    }),
    addAgent(instance, provedDead) {
      const machine = simulatedMachine(time, {
        rate: random.between(0.997, 1.003),
        wallOffsetMs: 1_700_000_000_000 + random.between(-1e7, 1e7),
      });
      const agentId = `${instance}#${agents.length + 1}`;
      note(`${agentId} starts, knows to be dead: ${provedDead}`);
      agents.push(
        startAgent({
          instance,
          agentId,
          provedDead,
          machine,
          random,
          queryFor: world.arbiter.queryFor,
          keeper: options.keeper ?? ((keeperOptions) => new LeaseKeeper(keeperOptions)),
          onEvent: (kind) => {
            note(agentId);
            count(kind);
          },
        }),
      );
    },
    async promote(clockOffsetMs) {
      await world.arbiter.promote(clockOffsetMs);
      always.resetView((await rows()) as never);
    },
    happened: count,
  };

  function nextFault(agentId: string): MessageFault | undefined {
    const now = time.nowMs();
    const window = world.messageFaults.find(
      ({ agents: hit, startMs, endMs }) => hit.has(agentId) && now >= startMs && now < endMs,
    );
    if (!window || !random.chance(window.probability)) return undefined;
    const fault = random.pick(window.kinds);
    count(`message ${fault}`);
    const agent = agents.find((one) => one.agentId === agentId);
    if (agent) agent.troubledUntilMs = Math.max(agent.troubledUntilMs, now + 7_100);
    return fault;
  }

  const rows = () =>
    database.run(
      `select instance, agent_id, token::text, state = 'lost' or left_at is not null as ended from holdfast.member`,
      [],
      { nowMs: 0, timeline: world.arbiter.timeline },
    );

  const afterEach = (): void => {
    if (violation) throw violation;
    always.check(time.nowMs());
  };

  try {
    for (const instance of ['a', 'b', 'c']) world.addAgent(instance, []);
    planFaults(world, random);
    await time.runUntil(faultsEndMs, afterEach);
    note('-- the faults have ended');
    await time.runUntil(faultsEndMs + settlingMs, afterEach);
    checkSettled(agents, (await rows()) as never);
  } catch (error) {
    violation = error as Error;
    note(`-- ${violation.message}`);
  }
  return { seed, happened, violation, trace, digest: digest.digest('hex') };
}

/** P9: two lease times after the last fault every name has its one acting agent, or is known to be free. */
function checkSettled(
  agents: readonly SimulatedAgent[],
  rows: readonly { instance: string; ended: boolean }[],
): void {
  const living = agents.filter((agent) => !agent.machine.isDead && agent.ended === 'no');
  if (living.length === 0) return;
  for (const { instance, ended } of rows) {
    const candidates = living.filter((agent) => agent.instance === instance);
    const acting = candidates.filter((agent) => agent.keeper.mayAct());
    const names = candidates.map(({ agentId }) => agentId).join(', ') || 'nobody';
    if (candidates.length === 0 && !ended)
      throw new Error(`P9: ${instance} is nobody's, and not known to be lost`);
    if (candidates.length > 0 && acting.length !== 1) {
      throw new Error(`P9: ${acting.length} agents act for ${instance} after everything settled (${names})`);
    }
  }
}
