/**
 * One agent of a simulation: the real LeaseKeeper and the real EventManager on a simulated machine, an application
 * beside them, and a little work under a named lease.
 */
import type { Query } from '../../database/arbiter.ts';
import { defineEvent } from '../../events/definition.ts';
import type { EventManager, EventManagerOptions } from '../../events/event-manager.ts';
import type { LeaseKeeper, LeaseKeeperOptions } from '../../members/lease-keeper.ts';
import { openCalendar } from '../../protocol/calendar/calendar.ts';
import { stopWorkMs } from '../../protocol/lease.ts';
import type { HoldfastError } from '../../support/errors.ts';
import { silentLog } from '../../support/log.ts';
import { type SimulatedApplication, simulatedApplication } from './application.ts';
import type { Caller } from './arbiter.ts';
import type { SimulatedEvent } from './definitions.ts';
import type { Journal } from './journal.ts';
import { type Machine, simulatedMachine } from './machine.ts';
import { type NamedWork, namedWork } from './named-work.ts';
import type { Random } from './random.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface LeaseTiming {
  readonly ttlMs: number;
  readonly heartbeatMs: number;
}

/** What a mutant replaces. */
export interface Parts {
  keeper(options: LeaseKeeperOptions): LeaseKeeper;
  manager(options: EventManagerOptions): EventManager;
}

export interface SimulatedAgent extends Caller {
  readonly instance: string;
  readonly revision: number;
  readonly provedDead: readonly string[];
  readonly keeper: LeaseKeeper;
  readonly manager: EventManager;
  readonly application: SimulatedApplication;
  /** `refused`: another live agent has the name. `left`: it was closed. */
  ended: 'no' | 'refused' | 'leaving' | 'left';
  isDraining: boolean;
  /** Believes that it may act and has not been told otherwise. */
  working: boolean;
  /** Until when a fault that hit this very agent may explain that it did not renew. */
  troubledUntilMs: number;
  lastActedMs: number;
  idleSinceMs: number | undefined;
  readonly slot: NamedWork;
  readonly isEligible: boolean;
  /** Whether it could work on one more run of that event. */
  hasRoom(event: string): boolean;
  /** Of its process alone (`freeze`), or of the machine with all that runs on it. */
  freeze(): void;
  suspend(): void;
  wake(): void;
  die(): void;
  /** Its instance is up, or down, or drains: says so. */
  changed(): void;
  leave(): Promise<void>;
}

export interface AgentOptions {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly lease: LeaseTiming;
  readonly instance: string;
  readonly agentId: string;
  readonly provedDead: readonly string[];
  readonly revision: number;
  readonly events: readonly SimulatedEvent[];
  readonly journal: Journal;
  readonly parts: Parts;
  readonly usesSlot: boolean;
  /** What its wall clock shows at the beginning of time. */
  readonly wallOffsetMs: number;
  queryFor(caller: Caller): Query;
  arbiterNowMs(): number;
  onEvent(kind: string): void;
  onViolation(text: string): void;
}

export function startAgent(options: AgentOptions): SimulatedAgent {
  const { time, random, agentId, onEvent, lease } = options;
  const clocks = { rate: random.between(0.997, 1.003), wallOffsetMs: options.wallOffsetMs };
  const agent = new Agent(options, simulatedMachine(time, clocks), simulatedMachine(time, clocks));
  void agent.keeper.run().catch((error: HoldfastError) => {
    agent.ended = 'refused';
    onEvent(error.code === 'INSTANCE_HELD' ? 'refused: held by a live agent' : `ended: ${error}`);
    agent.die();
  });
  void agent.manager
    .run()
    .catch((error) => options.onViolation(`P9: ${agentId}'s manager ended: ${error.stack}`));
  agent.runSchedulers(options);
  if (options.usesSlot) agent.slot.use(lease);
  return agent;
}

class Agent implements SimulatedAgent {
  readonly instance: string;
  readonly agentId: string;
  readonly revision: number;
  readonly provedDead: readonly string[];
  readonly machine: Machine;
  readonly host: Machine;
  readonly keeper: LeaseKeeper;
  readonly manager: EventManager;
  readonly application: SimulatedApplication;
  readonly slot: NamedWork;
  network: Caller['network'] = 'whole';
  ended: SimulatedAgent['ended'] = 'no';
  isDraining = false;
  working = false;
  troubledUntilMs = Number.NEGATIVE_INFINITY;
  lastActedMs = Number.NEGATIVE_INFINITY;
  idleSinceMs: number | undefined;
  readonly #events: readonly SimulatedEvent[];

  constructor(options: AgentOptions, machine: Machine, host: Machine) {
    const { random, instance, agentId, provedDead, revision, lease, events, parts, onEvent } = options;
    this.instance = instance;
    this.agentId = agentId;
    this.revision = revision;
    this.#events = events;
    this.provedDead = provedDead;
    this.machine = machine;
    this.host = host;
    const query = options.queryFor(this);
    const { clock } = machine;
    this.application = simulatedApplication({
      ...options,
      machine,
      host,
      stopWorkMs: stopWorkMs(lease.ttlMs) * 0.95,
      workloadOf: (name) => {
        const found = events.find(({ settings }) => settings.name === name);
        return found?.workload ?? { usualMs: 100, slowChance: 0, failChance: 0 };
      },
      memberToken: () => (this.keeper.mayAct() ? this.keeper.membership?.token : undefined),
    });
    this.keeper = parts.keeper({
      ...{ query, clock, random: random.next, log: silentLog, instance, agentId, provedDead, lease },
      report: () => ({ state: this.#state, facts: factsOf(agentId, revision) }),
      on: {
        joined: () => onEvent('joined'),
        renewed: (result) => {
          this.slot.renewed(result.timeline);
          this.manager.renewed(result);
        },
        expired: (why) => {
          this.working = false;
          onEvent(why.includes('failed over') ? 'failed over while the lease was out' : 'expired');
          this.manager.expired(why);
        },
      },
    });
    this.manager = parts.manager({
      ...{ query, clock, log: silentLog, instance, revision, alarm: [], lease: this.keeper },
      definitions: events.map(({ settings }) => defineEvent(settings, instance)),
      isEligible: () => this.isEligible,
      isAppointed: () => false,
      executorOf: (definition) => this.application.executorOf(definition),
    });
    this.slot = namedWork({
      query,
      clock,
      random,
      keeper: this.keeper,
      onEvent,
      isOver: () => this.ended !== 'no',
    });
  }

  /** The application's own schedulers, on clocks that differ a little from the arbiter's. */
  runSchedulers({ random, arbiterNowMs, onEvent }: AgentOptions): void {
    const skewMs = random.between(-1_500, 1_500);
    for (const { settings } of this.#events) {
      if (settings.run?.kind !== 'gate' || !settings.calendar) continue;
      const { next } = openCalendar(settings.calendar);
      const fire = async (): Promise<void> => {
        // What failed or was lost last waits for somebody who asks, so they go on asking when nothing is due any more.
        for (let due = next(arbiterNowMs()); this.ended === 'no'; due = due && next(due)) {
          await this.machine.clock.sleep(due === undefined ? 10_000 : due - arbiterNowMs() + skewMs);
          if (this.ended !== 'no' || !this.application.isUp) continue;
          void this.manager.ask(settings.name).then(({ outcome }) => onEvent(`gate ${outcome}`));
        }
      };
      void fire();
    }
  }

  get #state(): 'up' | 'down' | 'draining' {
    if (!this.application.isUp) return 'down';
    return this.isDraining ? 'draining' : 'up';
  }

  get isEligible(): boolean {
    return this.#state === 'up';
  }

  hasRoom(event: string): boolean {
    const found = this.#events.find(({ settings }) => settings.name === event);
    return found !== undefined && this.manager.running.countOf(event) < found.settings.limit;
  }

  notified(channel: string): void {
    if (channel === 'holdfast_events') this.manager.notified();
  }

  changed(): void {
    this.keeper.announce();
    this.manager.hint();
  }

  freeze(): void {
    this.machine.freeze();
  }

  suspend(): void {
    this.host.suspend();
    this.machine.suspend();
  }

  wake(): void {
    this.machine.wake();
    this.host.wake();
  }

  die(): void {
    this.host.die();
    this.machine.die();
  }

  async leave(): Promise<void> {
    this.ended = 'leaving';
    await this.manager.close();
    await this.keeper.close();
    this.ended = 'left';
    this.die();
  }
}

const factsOf = (agentId: string, revision: number) => ({
  ...{ host: agentId, agentPid: 1, address: null, pid: null, revision, healthPage: null, reason: null },
});
