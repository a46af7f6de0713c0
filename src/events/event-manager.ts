/**
 * The scheduled event cluster manager, as every agent runs it: there is no leader.
 *
 * One loop. It sleeps until something is due on the arbiter's clock, or somebody gives it a hint, and then sends what
 * has gathered: all claims in one statement, all results in one. Whoever claims first works; the ledger says who that
 * was. What a claim's lost answer granted, and what a failover forgot, comes to light with the next heartbeat, which
 * brings the arbiter's idea of what runs here.
 *
 * Nothing is begun without a proved lease (P9), and everything is aborted when it cannot be proved any more (P4).
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import { rendezvousOrder } from '../protocol/affinity.ts';
import { ArbiterTime } from '../protocol/arbiter-time.ts';
import type { EventNews } from '../protocol/event-news.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { ClaimQueue } from './claim-queue.ts';
import type { EventDefinition } from './definition.ts';
import { DueWatch, rankAmong, type Watched } from './due-watch.ts';
import { Errands } from './errands.ts';
import type { Executor } from './execution/execution.ts';
import { type GateAnswer, GateDesk } from './gate-desk.ts';
import { type Claim, type ClaimAnswer, type Grant, membersUp, waiting } from './ledger.ts';
import { ResultQueue } from './result-queue.ts';
import { orderOf, Runs } from './runs.ts';
import { WaitingWatch } from './waiting-watch.ts';
import { watchEvents } from './watch-events.ts';

interface EventLease {
  readonly membership: Membership | undefined;
  mayAct(): boolean;
  remainingMs(): number;
}

export interface EventManagerOptions {
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  readonly instance: string;
  readonly revision: number;
  readonly definitions: readonly EventDefinition[];
  /** The outcomes that somebody wants to be told of. */
  readonly alarm: readonly string[];
  readonly lease: EventLease;
  /** Whether this instance takes on work: it is up, and nobody asked it to drain. */
  isEligible(): boolean;
  /** For events that only an appointed instance runs: whether this is the one. */
  isAppointed(definition: EventDefinition): boolean;
  executorOf(definition: EventDefinition): Executor;
}

const retryMs = 250;
/** How long a closing manager tries to report what it has ended. */
const farewellMs = 2_000;

export class EventManager {
  readonly #options: EventManagerOptions;
  readonly #definitions: ReadonlyMap<string, EventDefinition>;
  readonly #time = new ArbiterTime();
  readonly #runs: Runs;
  readonly #gates: GateDesk;
  readonly #stop = new AbortController();
  #watch = new DueWatch();
  #members: readonly string[] = [];
  #timeline: number | undefined;
  #isDefined = false;
  #change: number | undefined;
  #seenChange: number | undefined;
  readonly #claims: ClaimQueue;
  readonly #results: ResultQueue;
  readonly #errands: Errands<'define' | 'members' | 'waiting'>;
  readonly #waiting: WaitingWatch;
  #hasHint = false;
  /** Takes on nothing any more, and ends what it has. */
  #isClosing = false;
  #wake: () => void = () => undefined;

  constructor(options: EventManagerOptions) {
    this.#options = options;
    this.#definitions = new Map(options.definitions.map((one) => [one.name, one]));
    const { query, clock, log, instance } = options;
    const onIdle = () => this.hint();
    this.#errands = new Errands({ clock, log: log.child({ instance }), signal: this.#stop.signal, onIdle });
    this.#results = new ResultQueue({ query, clock, log, onIdle });
    this.#claims = new ClaimQueue({
      query,
      clock,
      log,
      onIdle,
      onAnswered: (events) => this.#roomFor(events),
      onArbiterTime: (nowMs, isBehind) => {
        if (isBehind) this.#time.forget();
        this.#time.observe(nowMs, clock.monotonicMs());
      },
    });
    this.#runs = new Runs({
      clock,
      log,
      instance,
      proof: { remainingMs: () => options.lease.remainingMs() },
      executorOf: options.executorOf,
      onResult: (result, definition) => {
        this.#results.add(result);
        this.#roomFor(new Set([definition.name]));
        this.hint();
      },
    });
    this.#waiting = new WaitingWatch({
      query,
      clock,
      instance,
      definitions: this.#definitions,
      claims: this.#claims,
      members: () => this.#members,
      hasRoom: (definition) => this.#hasRoom(definition),
      isAppointed: options.isAppointed,
      begin: (definition, grant, member) => this.#begin(definition, grant, member),
    });
    this.#gates = new GateDesk({
      arbiterNowMs: () => this.#time.nowMs(options.clock.monotonicMs()),
      sleep: (ms) => options.clock.sleep(ms, this.#stop.signal),
      waiting: () => waiting(options.query, options.instance),
      claim: (wanted) => this.#ask(wanted),
    });
  }

  get running(): Runs {
    return this.#runs;
  }

  /** Runs until `close`. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#hasHint = false;
      this.#step();
      await this.#pause();
    }
  }

  /** Something may have changed: look now. */
  hint(): void {
    this.#hasHint = true;
    this.#wake();
  }

  /** Somebody says that something waits, or that members changed. Whether it is so is read. */
  notified(): void {
    this.#waiting.in(0);
    this.hint();
  }

  /** A heartbeat has succeeded. */
  renewed({ events: news, timeline }: { events: EventNews; timeline: number }): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (timeline !== this.#timeline) {
      this.#timeline = timeline;
      this.#isDefined = false; // the new primary may not have received it
      this.#seenChange = undefined;
      this.#time.forget();
    }
    this.#time.observe(news.nowMs, nowMs);
    this.#change = news.change;
    if (news.waitingMs !== null) this.#waiting.in(news.waitingMs);
    this.#runs.renewed(this.#options.lease.remainingMs());
    this.#runs.abortUnknown(news.runs, timeline);
    if (!this.#claims.isBusy) {
      // else an answer may be on its way
      for (const token of news.runs) if (!this.#runs.has(token)) this.#results.sendAgain(token);
    }
    this.hint();
  }

  /** The right to act is over (P4). */
  expired(why: string): void {
    this.#runs.abortAll(`aborted: ${why}`);
  }

  /** This instance was appointed for an event that only the appointed one runs. */
  appointed(event: string): void {
    this.#watch.released(({ name }) => name === event);
    this.notified();
  }

  /** An application asks whether it may run an event that its own scheduler has fired. */
  ask(event: string): Promise<GateAnswer> {
    const definition = this.#definitions.get(event);
    if (definition?.settings.run?.kind !== 'gate') return Promise.resolve({ outcome: 'unknown' });
    if (!this.#options.lease.mayAct()) return Promise.resolve({ outcome: 'away' });
    if (!this.#takesWork())
      return Promise.resolve({ outcome: 'no', reason: 'this instance takes on no work' });
    return this.#gates.ask(definition);
  }

  /** Gives what still runs here to others, each to one that is known to be there; what nobody can take goes on. */
  async handOver(): Promise<void> {
    const { query, instance } = this.#options;
    const others = (await membersUp(query)).filter((one) => one !== instance);
    for (const { definition, order } of this.#runs.list()) {
      const { on, run } = definition.settings;
      if (definition.place !== '' || on.kind === 'designated' || run?.kind === 'gate') continue;
      if (definition.settings.lost.reruns === 0) continue; // it must not be begun a second time
      const [to] = rendezvousOrder(order.occurrence, others);
      if (to !== undefined) this.#runs.abort(String(order.token), { kind: 'handed over', to });
    }
  }

  /** Resolves when nothing runs here any more and all results are in the ledger, or when the signal is aborted. */
  async settled(signal: AbortSignal): Promise<void> {
    const isBusy = (): boolean => this.#runs.size > 0 || this.#claims.isBusy || !this.#results.isEmpty;
    while (!signal.aborted && isBusy()) await this.#options.clock.sleep(20, signal);
  }

  /** Takes on nothing any more, and aborts what runs. */
  abort(): void {
    this.#isClosing = true;
    this.#claims.close();
    this.#runs.abortAll('aborted: its agent stops');
  }

  /** Aborts what runs, reports it, ends. */
  async close(): Promise<void> {
    this.abort();
    const { clock } = this.#options;
    const limit = new AbortController();
    void clock.sleep(farewellMs, limit.signal).then(() => limit.abort());
    await this.settled(limit.signal);
    limit.abort();
    this.#stop.abort();
    this.#wake();
  }

  #takesWork(): boolean {
    return !this.#isClosing && this.#options.isEligible();
  }

  #step(): void {
    const { lease } = this.#options;
    this.#results.send();
    const member = lease.membership;
    if (!member || !lease.mayAct()) return;
    if (!this.#isDefined) this.#define(member);
    if (this.#seenChange !== this.#change) this.#readMembers();
    if (!this.#isDefined || this.#options.clock.monotonicMs() < this.#claims.notBeforeMs) return;
    if (this.#takesWork()) {
      this.#collectDue();
      this.#readWaiting();
    }
    this.#claims.send(member);
  }

  async #pause(): Promise<void> {
    if (this.#hasHint || this.#stop.signal.aborted) return;
    const { clock, lease } = this.#options;
    const nowMs = clock.monotonicMs();
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const { notBeforeMs } = this.#claims;
    let wakeAtMs = notBeforeMs > nowMs ? notBeforeMs : Number.POSITIVE_INFINITY;
    const arbiterNowMs = this.#time.nowMs(nowMs);
    const dueAtMs = this.#watch.nextAtMs();
    // What is due while we may not act, or wait for an answer, is looked at when that changes: a hint says so.
    if (lease.mayAct() && this.#takesWork() && this.#isDefined && wakeAtMs === Number.POSITIVE_INFINITY) {
      if (dueAtMs !== undefined && arbiterNowMs !== undefined && !this.#claims.isFull)
        wakeAtMs = nowMs + dueAtMs - arbiterNowMs;
      if (!this.#errands.isUnderWay('waiting')) wakeAtMs = Math.min(wakeAtMs, this.#waiting.atMs);
    }
    const pauseMs = Math.min(Math.max(wakeAtMs - nowMs, 0), 60_000);
    await clock.sleep(pauseMs, AbortSignal.any([woken.signal, this.#stop.signal]));
  }

  #define(member: Membership): void {
    const { clock } = this.#options;
    this.#errands.run('define', async () => {
      const timeline = this.#timeline;
      const { watch, isComplete } = await watchEvents(this.#options, member);
      this.#watch = watch;
      this.#isDefined = isComplete && timeline === this.#timeline;
      if (!isComplete) await clock.sleep(retryMs, this.#stop.signal);
    });
  }

  #readMembers(): void {
    const { query } = this.#options;
    const change = this.#change;
    this.#errands.run('members', async () => {
      this.#members = await membersUp(query);
      this.#seenChange = change;
    });
  }

  #collectDue(): void {
    const { clock, isAppointed } = this.#options;
    const nowMs = this.#time.nowMs(clock.monotonicMs());
    if (nowMs === undefined || this.#claims.isFull) return;
    const due = this.#watch.collect(nowMs, {
      rank: (definition, key) => {
        const { on } = definition.settings;
        if (on.kind === 'designated') return isAppointed(definition) ? 0 : undefined;
        return definition.place === '' ? this.#rank(key, on) : 0;
      },
      hasRoom: (definition) => this.#hasRoom(definition),
    });
    for (const { watched, claim } of due) {
      const watch = this.#watch;
      this.#claims.add({
        claim,
        answered: (answer, member) => this.#answeredDue(watch, watched, answer, member),
        unanswered: () => watch.again(watched, nowMs),
      });
    }
  }

  /** A run or a claim of theirs is over: what there was no room for may have it now. */
  #roomFor(events: ReadonlySet<string>): void {
    this.#watch.released(({ name }) => events.has(name));
    this.#waiting.roomFor(events);
  }

  #hasRoom({ name, settings }: EventDefinition): boolean {
    return this.#runs.countOf(name) + this.#claims.countOf(name) < settings.limit;
  }

  #rank(key: string, on: EventDefinition['settings']['on']): number {
    const first = on.kind === 'prefer' ? on.instance : undefined;
    return rankAmong(this.#members, this.#options.instance, key, first);
  }

  #answeredDue(watch: DueWatch, watched: Watched, answer: ClaimAnswer, member: Membership): void {
    const { definition } = watched;
    switch (answer.outcome) {
      case 'granted':
        watch.settled(watched, answer.cursorMs ?? answer.dueMs);
        this.#begin(definition, answer, member);
        return;
      case 'skipped':
        this.#options.log.info({ event: definition.name }, `${definition.name} skipped: ${answer.reason}`);
        watch.settled(watched, answer.cursorMs);
        return;
      case 'recorded':
      case 'moved':
        watch.settled(watched, answer.cursorMs);
        return;
      case 'early': {
        const nowMs = this.#time.nowMs(this.#options.clock.monotonicMs()) ?? watched.dueMs;
        watch.again(watched, nowMs + answer.waitMs);
        return;
      }
      case 'changed':
      case 'taken':
        this.#isDefined = false; // read again what the arbiter has
        return;
    }
  }

  #begin(definition: EventDefinition, grant: Grant, member: Membership): void {
    const { lease } = this.#options;
    if (this.#isClosing || !lease.mayAct() || lease.membership?.token !== member.token) {
      this.#results.giveBack(grant.token, 'granted when its agent could not begin it any more');
      return;
    }
    this.#runs.start(definition, orderOf(definition, grant), grant.failures);
  }

  #readWaiting(): void {
    if (this.#options.clock.monotonicMs() < this.#waiting.atMs) return;
    this.#errands.run('waiting', () => this.#waiting.read());
  }

  /** One claim with the others that are under way; undefined when it is not known what became of it. */
  async #ask(wanted: Claim): Promise<{ answer: ClaimAnswer; begin: () => void } | undefined> {
    const asked = this.#claims.ask(wanted);
    this.hint();
    const answered = await asked;
    if (!answered) return undefined;
    const { answer, member } = answered;
    const definition = this.#definitions.get(wanted.event);
    const begin = (): void => {
      if (definition && answer.outcome === 'granted') this.#begin(definition, answer, member);
    };
    return { answer, begin };
  }
}
