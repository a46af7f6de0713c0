/**
 * One run of the simulation: some names, their agents, one arbiter, the events of one seed and its faults. What must
 * hold is checked after every step; at the end everything must have settled, and the ledger is compared with the
 * calendars and with the journal of what was really done.
 */
import { gatePatienceMs } from '../../events/due-watch.ts';
import { EventManager } from '../../events/event-manager.ts';
import { LeaseKeeper } from '../../members/lease-keeper.ts';
import type { LedgerVerdict } from '../ledger-checker.ts';
import { type LeaseTiming, type Parts, type SimulatedAgent, startAgent } from './agent.ts';
import { type Execution, type MessageFault, type SimulatedArbiter, simulatedArbiter } from './arbiter.ts';
import { Chronicle, callOf } from './chronicle.ts';
import type { SimulatedDatabase } from './database.ts';
import { type DefinedEvents, definedEvents } from './defined-events.ts';
import {
  type FaultKind,
  type FaultTiming,
  faultKinds,
  type MessageFaultWindow,
  planFaults,
} from './faults.ts';
import { Interventions } from './interventions.ts';
import { type Invariants, invariants } from './invariants.ts';
import { type Journal, openJournal } from './journal.ts';
import { type CalmWhile, judge } from './judging.ts';
import { planOperator, planPeople } from './people.ts';
import { type Random, seededRandom } from './random.ts';
import { type RunInvariants, runInvariants } from './run-invariants.ts';
import type { Scenario } from './scenario.ts';
import { checkLine, checkNames, suspects } from './settling.ts';
import { type VirtualTime, virtualTime } from './virtual-time.ts';

export interface World {
  readonly time: VirtualTime;
  readonly arbiter: SimulatedArbiter;
  readonly agents: readonly SimulatedAgent[];
  readonly names: readonly string[];
  readonly lease: LeaseTiming;
  readonly faults: FaultTiming;
  readonly messageFaults: MessageFaultWindow[];
  readonly faultKinds: readonly FaultKind[];
  readonly eventNames: readonly string[];
  /** That of the agents which start now, and how many there are. */
  readonly revision: number;
  readonly revisions: number;
  arbiterBusyUntilMs: number;
  /** The id of the agent that is added next. */
  idOfNext(instance: string): string;
  /** Answers its id. */
  addAgent(instance: string, provedDead: readonly string[]): string;
  roll(): void;
  readonly interventions: Interventions;
  cutReplication(): Promise<void>;
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
  /** Undefined where a violation came first. */
  readonly verdict: LedgerVerdict | undefined;
}

export interface SimulationOptions {
  readonly parts?: Partial<Parts>;
  /** Only these. */
  readonly faultKinds?: readonly FaultKind[];
  /** How many lines of the trace are kept. */
  readonly traceLines?: number;
  /** Every so often, for a person who waits. */
  onProgress?(virtualMs: number): void;
}

type Draw = (random: Random) => Scenario;

export async function runScenario(
  seed: number,
  database: SimulatedDatabase,
  draw: Draw,
  options: SimulationOptions = {},
): Promise<RunResult> {
  await database.reset();
  const run = new Run(seed, database, draw, options);
  await run.toEnd();
  return run.result();
}

class Run implements World {
  readonly time = virtualTime();
  readonly agents: SimulatedAgent[] = [];
  readonly messageFaults: MessageFaultWindow[] = [];
  readonly interventions = new Interventions();
  readonly arbiter: SimulatedArbiter;
  readonly lease: LeaseTiming;
  readonly faults: FaultTiming;
  readonly names: readonly string[];
  revision = 1;
  arbiterBusyUntilMs = 0;
  readonly #seed: number;
  readonly #database: SimulatedDatabase;
  readonly #options: SimulationOptions;
  readonly #random: Random;
  readonly #scenario: Scenario;
  readonly #journal: Journal;
  readonly #always: Invariants;
  readonly #runs: RunInvariants;
  readonly #defined: DefinedEvents = definedEvents();
  readonly #chronicle: Chronicle;
  #asked = { second: 0, counts: new Map<string, number>() };
  readonly #lostTimelines = new Set<number>();
  #verdict: LedgerVerdict | undefined;

  constructor(seed: number, database: SimulatedDatabase, draw: Draw, options: SimulationOptions) {
    this.#seed = seed;
    this.#database = database;
    this.#options = options;
    this.#random = seededRandom(seed);
    this.#chronicle = new Chronicle(() => this.time.nowMs(), options.traceLines ?? 80);
    this.#scenario = draw(this.#random);
    const { lease, faults, names, plan } = this.#scenario;
    this.lease = lease;
    this.faults = faults;
    this.names = names;
    const violate = (text: string): void => this.#chronicle.violate(new Error(text));
    this.#journal = openJournal({
      // In one revision at least: what that one made due may go on beside what the next one does.
      mayOverlap: (event) =>
        plan.revisions.flat().some(({ settings }) => settings.name === event && settings.overlap === 'allow'),
      onViolation: violate,
      note: (line) => this.#chronicle.note(line),
    });
    this.#always = invariants(this.agents, lease, (kind) => this.happened(kind));
    const look = (text: string) => this.#look(text);
    this.#runs = runInvariants({ journal: this.#journal, lease, viewOf: this.#always.viewOf, look });
    this.arbiter = simulatedArbiter({
      ...{ time: this.time, random: this.#random, database, epochMs: plan.epochMs },
      listeners: () => this.agents.filter(({ machine }) => !machine.isDead),
      nextFault: ({ agentId }) => this.#nextFault(agentId),
      held: (caller, text) => {
        this.#checkStorm(caller.agentId);
        return this.interventions.held(caller, text);
      },
      onExecution: (execution) => this.#executed(execution),
    });
  }

  get eventNames(): readonly string[] {
    return [...new Set(this.#scenario.plan.revisions.flat().map(({ settings }) => settings.name))];
  }

  get revisions(): number {
    return this.#scenario.plan.revisions.length;
  }

  idOfNext(instance: string): string {
    return `${instance}#${this.agents.length + 1}`;
  }

  addAgent(instance: string, provedDead: readonly string[]): string {
    const { plan, usesSlot } = this.#scenario;
    const agentId = this.idOfNext(instance);
    this.#chronicle.note(`${agentId} starts with revision ${this.revision}, knows to be dead: ${provedDead}`);
    this.agents.push(
      startAgent({
        ...{ time: this.time, random: this.#random, lease: this.lease, journal: this.#journal },
        ...{ instance, agentId, provedDead, usesSlot, revision: this.revision },
        events: plan.revisions[this.revision - 1] ?? [],
        parts: {
          keeper: (options) => new LeaseKeeper(options),
          manager: (options) => new EventManager(options),
          ...this.#options.parts,
        },
        wallOffsetMs: plan.epochMs + this.#random.between(-1e7, 1e7),
        queryFor: this.arbiter.queryFor,
        arbiterNowMs: this.arbiter.nowMs,
        onEvent: (kind) => {
          this.#chronicle.note(agentId);
          this.happened(kind);
        },
        onViolation: (text) => this.#chronicle.violate(new Error(text)),
      }),
    );
    return agentId;
  }

  get faultKinds(): readonly FaultKind[] {
    return this.#options.faultKinds ?? faultKinds;
  }

  roll(): void {
    this.revision++;
  }

  async cutReplication(): Promise<void> {
    await this.arbiter.cutReplication();
    this.#defined.snapshot();
  }

  async promote(clockOffsetMs: number): Promise<void> {
    this.#lostTimelines.add(this.arbiter.timeline);
    await this.arbiter.promote(clockOffsetMs);
    this.#defined.restoreSnapshot();
    this.#always.resetView((await this.#members()) as never);
    this.#runs.promoted(this.time.nowMs());
  }

  happened(kind: string): void {
    this.#chronicle.count(kind);
    this.#chronicle.note(`-- ${kind}`);
  }

  async toEnd(): Promise<void> {
    try {
      for (const name of this.names) this.addAgent(name, []);
      planFaults(this, this.#random);
      const { people } = this.#scenario;
      if (people === 'busy') planPeople(this, this.#random);
      else planOperator(this, people.restartEveryMs);
      await this.#runUntil(this.faults.endMs);
      this.#chronicle.note('-- the faults have ended');
      await this.#settle();
      await this.#finish();
      await this.#judge();
    } catch (error) {
      this.#chronicle.violate(error as Error);
    }
  }

  result(): RunResult {
    const { happened, violation, trace } = this.#chronicle;
    const digest = this.#chronicle.digest();
    return { seed: this.#seed, happened, violation, trace, digest, verdict: this.#verdict };
  }

  /** Two lease times (P9), a request that hangs until its deadline, and the heartbeats with which they begin and end. */
  get #settledMs(): number {
    const { ttlMs, heartbeatMs } = this.lease;
    return this.faults.endMs + 2 * ttlMs + 3_000 + 2.5 * heartbeatMs;
  }

  async #settle(): Promise<void> {
    const { heartbeatMs } = this.lease;
    const settledMs = this.#settledMs;
    await this.#runUntil(settledMs);
    checkNames(this.agents, (await this.#members()) as never);
    const look = (text: string) => this.#look(text);
    const before = await suspects(this.agents, this.#journal, look);
    await this.#runUntil(settledMs + 2.5 * heartbeatMs);
    const after = await suspects(this.agents, this.#journal, look);
    for (const text of after) if (before.has(text)) throw new Error(`P9: ${text}`);
  }

  /** Until all that was due is done, as long as that may take. */
  async #finish(): Promise<void> {
    const { lastsMs, patienceMs, plan } = this.#scenario;
    const hasGate = plan.revisions.flat().some(({ settings }) => settings.run?.kind === 'gate');
    await this.#runUntil(lastsMs + (hasGate ? gatePatienceMs : 0) + 3_000);
    const latestMs = lastsMs + patienceMs;
    while (this.time.nowMs() < latestMs) {
      const open = await this.#look(`select event, place from holdfast.occurrence where state <> 'done'`);
      const isOpen = open.some(({ place }) => place === '' || this.#isThere(String(place)));
      if (!isOpen && this.#journal.live.size === 0) return;
      await this.#runUntil(this.time.nowMs() + 1_000);
    }
  }

  async #judge(): Promise<void> {
    const { verdict, runs } = await judge({
      ...{ defined: this.#defined, journal: this.#journal.entries, lostTimelines: this.#lostTimelines },
      query: <Row>(text: string) => this.#look(text) as Promise<Row[]>,
      calm: this.#calmWhiles(),
      isThere: (instance) => this.#isThere(instance),
    });
    this.#verdict = verdict;
    const { outcomes, repeated, forgotten } = verdict.counts;
    for (const [outcome, count] of Object.entries(outcomes))
      this.#chronicle.count(`outcome ${outcome}`, count);
    for (const outcome of runs) this.#chronicle.count(`run ${outcome}`);
    if (repeated > 0) this.happened('work repeated');
    if (forgotten > 0) this.happened('work forgotten by a failover');
    if (verdict.violations.length > 0) throw new Error(verdict.violations.slice(0, 5).join('\n'));
  }

  /** Before the first fault, and when all has settled after the last one. */
  #calmWhiles(): readonly CalmWhile[] {
    const { plan, lastsMs, names } = this.#scenario;
    const { heartbeatMs } = this.lease;
    const able = this.agents.filter(
      ({ instance, isEligible, keeper, revision }) =>
        this.#isThere(instance) && isEligible && keeper.mayAct() && revision === this.revision,
    );
    const before = {
      ...{ fromMs: 3 * heartbeatMs, untilMs: this.faults.beginMs - 1.5 * heartbeatMs },
      ...{
        offsetMs: plan.epochMs,
        agents: this.agents.slice(0, names.length),
        events: plan.revisions[0] ?? [],
      },
    };
    const after = {
      ...{ fromMs: this.#settledMs, untilMs: lastsMs, offsetMs: this.arbiter.nowMs() - this.time.nowMs() },
      ...{ agents: able, events: plan.revisions[this.revision - 1] ?? [] },
    };
    return [before, after];
  }

  async #runUntil(endMs: number): Promise<void> {
    const checkEveryMs = this.lease.ttlMs;
    for (let now = this.time.nowMs(); now < endMs; now = this.time.nowMs()) {
      await this.time.runUntil(Math.min(endMs, now + checkEveryMs), () => {
        if (this.#chronicle.violation) throw this.#chronicle.violation;
        this.#always.check(this.time.nowMs());
        this.#runs.check(this.time.nowMs());
      });
      await checkLine((text) => this.#look(text));
      this.#options.onProgress?.(this.time.nowMs());
    }
  }

  async #executed(execution: Execution): Promise<void> {
    this.#chronicle.executed(execution);
    try {
      this.#defined.executed(execution);
      if (callOf(execution.text) === 'event_define') await this.#readRetired();
      this.#always.executed(execution);
      await this.#runs.executed(execution);
    } catch (error) {
      this.#chronicle.violate(error as Error);
    }
    this.interventions.executed(execution);
  }

  /** Nobody may ask the arbiter without end: a loop that is too eager would take it down when it comes back. */
  #checkStorm(agentId: string): void {
    const second = Math.floor(this.time.nowMs() / 1_000);
    if (second !== this.#asked.second) this.#asked = { second, counts: new Map() };
    const count = (this.#asked.counts.get(agentId) ?? 0) + 1;
    this.#asked.counts.set(agentId, count);
    const { stormPerSecond } = this.#scenario;
    if (count === stormPerSecond)
      this.#chronicle.violate(new Error(`P9: ${agentId} asks ${stormPerSecond} times in a second`));
  }

  async #readRetired(): Promise<void> {
    const rows = await this.#look(`select c.event, c.place, holdfast.ms(c.cursor) as cursor
      from holdfast.event_cursor c join holdfast.event e on e.name = c.event where e.retired`);
    for (const { event, place, cursor } of rows)
      this.#defined.retired(String(event), String(place), Number(cursor));
  }

  #nextFault(agentId: string): MessageFault | undefined {
    const now = this.time.nowMs();
    const window = this.messageFaults.find(
      ({ agents: hit, startMs, endMs }) => hit.has(agentId) && now >= startMs && now < endMs,
    );
    if (!window || !this.#random.chance(window.probability)) return undefined;
    const fault = this.#random.pick(window.kinds);
    this.happened(`message ${fault}`);
    const agent = this.agents.find((one) => one.agentId === agentId);
    if (agent) agent.troubledUntilMs = Math.max(agent.troubledUntilMs, now + 7_100);
    return fault;
  }

  #isThere(name: string): boolean {
    return this.agents.some(
      ({ instance, machine, ended }) => instance === name && !machine.isDead && ended === 'no',
    );
  }

  async #look(text: string): Promise<Record<string, unknown>[]> {
    const at = { nowMs: this.arbiter.nowMs(), timeline: this.arbiter.timeline };
    return (await this.#database.run(text, [], at)).rows;
  }

  #members(): Promise<Record<string, unknown>[]> {
    return this.#look(
      `select instance, agent_id, token::text, state = 'lost' or left_at is not null as ended from holdfast.member`,
    );
  }
}
