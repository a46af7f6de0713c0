/** The faults of a simulation: what each does, and how a seed strings them together. */

import type { SimulatedAgent } from './agent.ts';
import { type Caller, type MessageFault, messageFaults } from './arbiter.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export const faultKinds = [
  'messages fail',
  'agent frozen',
  'agent suspended',
  'agent crashes, restarts with proof',
  'agent crashes, restarts without proof',
  'agent crashes for good',
  'agent leaves, another comes',
  'agent frozen as it claims',
  'agent crashes as it claims',
  'agent crashes as it reports',
  'claim comes when its agent has been replaced',
  'request to join comes when its agent has joined',
  'instance crashes, its agent lives',
  'instance drains',
  'rival with the same name',
  'wall clock set',
  'one agent partitioned',
  'one agent hears no answers',
  'all agents partitioned',
  'arbiter frozen',
  'arbiter restarted',
  'failover that lost a tail',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** When there are faults, and how many. */
export interface FaultTiming {
  readonly beginMs: number;
  /** Message faults may linger for seven seconds, so they end earlier than the others. */
  readonly messagesEndMs: number;
  readonly endMs: number;
  readonly longestMs: number;
  readonly atLeast: number;
  readonly atMost: number;
}

const living = (world: World): SimulatedAgent[] =>
  world.agents.filter((agent) => !agent.machine.isDead && agent.ended === 'no');

type Deed = (world: World, random: Random, startMs: number, endMs: number) => void | Promise<void>;

/** Does something to one agent; afterwards the trouble may explain a lost request's deadline and one retry. */
const toOneAgent =
  (deed: (agent: SimulatedAgent, world: World, random: Random, endMs: number) => void): Deed =>
  (world, random, _startMs, endMs) => {
    const agents = living(world);
    if (agents.length > 0) deed(random.pick(agents), world, random, endMs);
  };

const troubled = (agent: SimulatedAgent, untilMs: number): void => {
  agent.troubledUntilMs = Math.max(agent.troubledUntilMs, untilMs);
};

const crash = (restart: 'with proof' | 'without proof' | 'never'): Deed =>
  toOneAgent((agent, world, random) => {
    // What it has just sent may still be under way when it is long gone.
    const lingersMs = random.chance(0.5) ? random.between(100, 1_500) : 0;
    if (lingersMs > 0) lingering(world, agent, lingersMs);
    world.time.at(world.time.nowMs() + lingersMs, () => {
      agent.die();
      const { instance, agentId } = agent;
      if (restart === 'never') return;
      comeBack(world, random, instance, restart === 'with proof' ? [agentId] : []);
    });
  });

function lingering(world: World, agent: SimulatedAgent, ms: number): void {
  const startMs = world.time.nowMs();
  const endMs = Math.min(startMs + ms, world.faults.messagesEndMs);
  const agents = new Set([agent.agentId]);
  world.messageFaults.push({
    agents,
    kinds: ['delayed', 'stalled in the server'],
    probability: 0.8,
    startMs,
    endMs,
  });
}

function comeBack(world: World, random: Random, instance: string, provedDead: readonly string[]): void {
  const atMs = Math.min(world.faults.endMs, world.time.nowMs() + random.between(50, 4_000));
  world.time.at(atMs, () => void world.addAgent(instance, provedDead));
}

/** Something that happens at the worst moment: when that has been executed, and the answer is under way. */
const asItSays = (
  call: string,
  deed: (agent: SimulatedAgent, world: World, random: Random, endMs: number) => void,
): Deed =>
  toOneAgent((agent, world, random, endMs) => {
    world.interventions.afterNext(agent.agentId, call, () => {
      if (world.time.nowMs() < endMs) deed(agent, world, random, endMs);
    });
  });

const frozen = (agent: SimulatedAgent, world: World, _random: Random, endMs: number): void => {
  agent.freeze();
  troubled(agent, endMs + 3_100);
  world.time.at(endMs, () => agent.wake());
};

const crashAsItSays = (call: string): Deed =>
  asItSays(call, (agent, world, random) => {
    agent.die();
    comeBack(world, random, agent.instance, random.chance(0.5) ? [agent.agentId] : []);
  });

function partition(
  world: World,
  agents: readonly SimulatedAgent[],
  endMs: number,
  network: Caller['network'] = 'cut',
): void {
  for (const agent of agents) {
    agent.network = network;
    troubled(agent, endMs + (agents.length > 1 ? 0 : 3_100));
  }
  world.time.at(endMs, () => {
    for (const agent of agents) agent.network = 'whole';
  });
}

/** One outage of the arbiter at a time: a second begins when the first is over. */
const arbiterOutage =
  (deed: (world: World, random: Random, endMs: number) => void | Promise<void>): Deed =>
  (world, random, startMs, endMs) => {
    if (world.arbiterBusyUntilMs > startMs) return;
    world.arbiterBusyUntilMs = endMs + 2_000;
    return deed(world, random, endMs);
  };

const deeds: Record<FaultKind, Deed> = {
  'messages fail': (world, random, startMs, endMs) => {
    const agents = random.chance(0.5) ? living(world) : living(world).slice(0, 1);
    world.messageFaults.push({
      agents: new Set(agents.map(({ agentId }) => agentId)),
      kinds: random.chance(0.5) ? [random.pick(messageFaults)] : messageFaults,
      probability: random.between(0.2, 0.9),
      startMs,
      endMs: Math.min(endMs, world.faults.messagesEndMs),
    });
  },
  'agent frozen': toOneAgent(frozen),
  'agent frozen as it claims': asItSays('event_claim', frozen),
  'agent crashes as it claims': crashAsItSays('event_claim'),
  'agent crashes as it reports': crashAsItSays('event_finish'),
  'agent suspended': toOneAgent((agent, world, _random, endMs) => {
    agent.suspend();
    troubled(agent, endMs + 3_100);
    world.time.at(endMs, () => agent.wake());
  }),
  'agent crashes, restarts with proof': crash('with proof'),
  'agent crashes, restarts without proof': crash('without proof'),
  'agent crashes for good': crash('never'),
  'agent leaves, another comes': toOneAgent((agent, world, random) =>
    replaceAgent(world, agent, random.between(10, 3_000)),
  ),
  'claim comes when its agent has been replaced': toOneAgent((agent, world, random, endMs) => {
    const release = world.interventions.holdNext(agent.agentId, 'event_claim', () => {
      if (world.time.nowMs() >= endMs) return release();
      world.time.at(world.time.nowMs() + random.between(1, 50), () => {
        agent.die();
        const successor = world.addAgent(agent.instance, [agent.agentId]);
        world.interventions.afterNext(successor, 'member_join', release);
        world.time.at(world.faults.endMs, release);
      });
    });
  }),
  'request to join comes when its agent has joined': toOneAgent((agent, world, random) => {
    agent.die();
    const lateMs = world.time.nowMs() + random.between(3_500, 9_000);
    const release = world.interventions.holdNext(world.idOfNext(agent.instance), 'member_join', () =>
      world.time.at(Math.min(lateMs, world.faults.endMs), release),
    );
    world.addAgent(agent.instance, [agent.agentId]);
  }),
  'instance crashes, its agent lives': toOneAgent((agent, world, _random, endMs) => {
    const say = (): void => agent.machine.deliver(() => agent.changed());
    agent.application.crash();
    say();
    world.time.at(endMs, () => {
      agent.application.start();
      say();
    });
  }),
  'instance drains': toOneAgent((agent, world, random, endMs) => {
    const set = (isDraining: boolean): void =>
      agent.machine.deliver(() => {
        agent.isDraining = isDraining;
        agent.changed();
      });
    set(true);
    world.time.at(world.time.nowMs() + random.between(0, 3_000), () =>
      // The arbiter is away: what runs here goes on.
      agent.machine.deliver(
        () => void agent.manager.handOver().catch(() => world.happened('hand-over failed')),
      ),
    );
    world.time.at(endMs, () => set(false));
  }),
  'rival with the same name': toOneAgent((agent, world) => {
    world.addAgent(agent.instance, []);
  }),
  'wall clock set': toOneAgent((agent, _world, random) => {
    const byMs = random.pick([1, -1]) * 10 ** random.between(1, 7);
    // Set back in its sleep, a machine could not know by any clock that it slept: the one thing that is assumed away.
    if (byMs > 0 || agent.machine.isAwake) agent.machine.setWallClock(byMs);
  }),
  'one agent partitioned': toOneAgent((agent, world, _random, endMs) => partition(world, [agent], endMs)),
  'one agent hears no answers': toOneAgent((agent, world, _random, endMs) =>
    partition(world, [agent], endMs, 'deaf'),
  ),
  'all agents partitioned': (world, _random, _startMs, endMs) => partition(world, living(world), endMs),
  'arbiter frozen': arbiterOutage((world, _random, endMs) => {
    world.arbiter.freeze();
    world.time.at(endMs, () => world.arbiter.thaw());
  }),
  'arbiter restarted': arbiterOutage((world, _random, endMs) => {
    world.arbiter.stop();
    world.time.at(endMs, () => world.arbiter.start());
  }),
  'failover that lost a tail': arbiterOutage(async (world, random, endMs) => {
    await world.cutReplication();
    const [startMs, clockOffsetMs] = [world.time.nowMs(), random.between(-500, 1_500)];
    const diesMs = startMs + random.next() * (endMs - startMs);
    world.time.at(diesMs, () => world.arbiter.stop());
    world.time.at(endMs, () => world.promote(clockOffsetMs));
  }),
};

/** Leaves as soon as it can, and another one comes for the same name. */
export function replaceAgent(world: World, agent: SimulatedAgent, pauseMs: number): void {
  agent.machine.deliver(() => {
    if (agent.ended !== 'no') return;
    void agent.leave().then(() => {
      world.time.at(world.time.nowMs() + pauseMs, () => void world.addAgent(agent.instance, []));
    });
  });
}

/** Plans a seed's faults: a few, of random kinds, at random moments, some of them at the same time. */
export function planFaults(world: World, random: Random): void {
  const { beginMs, endMs: allEndMs, longestMs, atLeast, atMost } = world.faults;
  const { ttlMs } = world.lease;
  const count = Math.floor(random.between(atLeast, atMost + 1));
  for (let index = 0; index < count; index++) {
    const kind = random.pick(world.faultKinds);
    const startMs = random.between(beginMs, allEndMs - 0.4 * ttlMs);
    const durationMs = random.chance(0.5)
      ? random.between(0.02, 1) * ttlMs
      : random.between(ttlMs, longestMs);
    const endMs = Math.min(allEndMs, startMs + durationMs);
    world.time.at(startMs, () => {
      world.happened(kind);
      return deeds[kind](world, random, startMs, endMs);
    });
  }
}

export interface MessageFaultWindow {
  readonly agents: ReadonlySet<string>;
  readonly kinds: readonly MessageFault[];
  readonly probability: number;
  readonly startMs: number;
  readonly endMs: number;
}
