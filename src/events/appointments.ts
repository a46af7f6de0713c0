/**
 * Designated events: one instance is appointed for each, and stays so for as long as it lives. For applications in
 * which scheduling can only be on or off for a whole instance.
 *
 * The appointment is a named lease, so it has the member's heartbeat and the member's deadline. Two hooks tell the
 * application: `appointed` before it counts, `dismissed` before anybody else may be appointed. An instance that
 * cannot be told that it is dismissed is stopped, because nobody can know what it goes on doing (P1).
 */
import type { Query } from '../database/arbiter.ts';
import { acquireLease, releaseLease } from '../leases/named-lease.ts';
import type { Membership } from '../members/membership.ts';
import { rendezvousOrder } from '../protocol/affinity.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import type { EventDefinition } from './definition.ts';
import { turnDelayMs } from './due-watch.ts';
import { onInstanceDeath } from './execution/instance-death.ts';
import { membersUp } from './ledger.ts';

export type AppointmentChange = 'appointed' | 'dismissed';

export interface AppointmentsOptions {
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  readonly instance: string;
  /** The designated ones. */
  readonly definitions: readonly EventDefinition[];
  readonly lease: {
    readonly membership: Membership | undefined;
    mayAct(): boolean;
  };
  isEligible(): boolean;
  /** Tells the application; undefined: it knows, else why it could not be told, at the latest after `limitMs`. */
  tell(
    definition: EventDefinition,
    change: AppointmentChange,
    facts: { readonly token: bigint; readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<string | undefined>;
  /** Resolves when the present process of the instance has ended. */
  readonly instanceDied: () => Promise<void>;
  /** How long the application has to stop when the lease is over. */
  readonly stopWorkMs: number;
  /** The application could not be dismissed. */
  stopInstance(why: string): Promise<void>;
  onAppointed(definition: EventDefinition): void;
}

interface Appointment {
  readonly definition: EventDefinition;
  held: { readonly token: bigint; readonly memberToken: bigint } | undefined;
  /** The application may know that it is appointed, and nobody has told it otherwise. */
  isTold: boolean;
  /** It has said that it knows. */
  isReady: boolean;
  /** Ends the telling that is under way. */
  telling: AbortController;
  /** A lease that is given back, of which the arbiter may not know yet. */
  toRelease: bigint | undefined;
  /** The lease must be asked for again, to see whether a new primary knows of it. */
  isDoubtful: boolean;
  lookAtMs: number;
  /** Stops waiting for the instance's death. */
  forgetDeath: () => void;
}

const leaseName = ({ name }: EventDefinition): string => `event:${name}`;
const retryMs = 1_000;
const hookRetryMs = 10_000;
const hookLimitMs = 30_000;
/** For the application of an agent that stops: it is stopped next. */
const farewellMs = 3_000;

export class Appointments {
  readonly #options: AppointmentsOptions;
  readonly #appointments: readonly Appointment[];
  readonly #stop = new AbortController();
  #members: readonly string[] = [];
  #change: number | undefined;
  #timeline: number | undefined;
  #isResigning = false;
  /** One thing at a time: asking, telling and dismissing do not overtake each other. */
  #turn: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(options: AppointmentsOptions) {
    this.#options = options;
    this.#appointments = options.definitions.map((definition) => ({
      definition,
      held: undefined,
      isTold: false,
      isReady: false,
      telling: new AbortController(),
      toRelease: undefined,
      isDoubtful: false,
      lookAtMs: Number.POSITIVE_INFINITY,
      forgetDeath: () => undefined,
    }));
  }

  /** Whether this instance is the appointed one, and may act on it now. */
  holds({ name }: EventDefinition): boolean {
    const found = this.#appointments.find(({ definition }) => definition.name === name);
    const { lease } = this.#options;
    return (
      found?.isReady === true &&
      found.held !== undefined &&
      found.held.memberToken === lease.membership?.token &&
      lease.mayAct()
    );
  }

  /** A heartbeat has succeeded. */
  renewed({ timeline, change }: { timeline: number; change: number }): void {
    if (this.#appointments.length === 0) return;
    if (this.#timeline !== undefined && timeline !== this.#timeline)
      for (const one of this.#appointments) one.isDoubtful = one.held !== undefined;
    this.#timeline = timeline;
    if (change === this.#change && !this.#appointments.some(({ isDoubtful }) => isDoubtful)) return;
    this.#change = change;
    this.#inTurn(() => this.#lookAgain());
  }

  /** The right to act is over (P4). */
  expired(why: string): void {
    this.#change = undefined; // should it be renewed after all, look again
    // Not in turn, and all at once: what is under way may take longer than there is time. Half of the time is for
    // the application to understand, the other half for stopping it.
    for (const one of this.#appointments) {
      one.telling.abort();
      void this.#dismiss(one, why, this.#options.stopWorkMs / 2);
    }
  }

  /** Runs until `close`. */
  async run(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#stop.signal.aborted) {
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      const nextMs = Math.min(...this.#appointments.map(({ lookAtMs }) => lookAtMs));
      const pauseMs = Math.min(60_000, Math.max(10, nextMs - clock.monotonicMs()));
      await clock.sleep(pauseMs, AbortSignal.any([woken.signal, this.#stop.signal]));
      if (!this.#stop.signal.aborted) await this.#inTurn(() => this.#applyWhereDue());
    }
  }

  /** Gives every appointment back, the application being told first. */
  async resign(why: string, limitMs = hookLimitMs): Promise<void> {
    this.#isResigning = true;
    await this.#inTurn(async () => {
      await Promise.all(
        this.#appointments.map(async (one) => {
          one.toRelease = one.held?.token ?? one.toRelease;
          await this.#dismiss(one, why, limitMs);
          await this.#release(one);
        }),
      );
    });
  }

  /** Takes appointments again after `resign`. */
  resume(): void {
    if (!this.#isResigning) return;
    this.#isResigning = false;
    this.#inTurn(() => this.#lookAgain());
  }

  async close(): Promise<void> {
    for (const { telling } of this.#appointments) telling.abort();
    await this.resign('its agent stops', farewellMs);
    this.#stop.abort();
    await this.#turn;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const { log, instance } = this.#options;
    this.#turn = this.#turn
      .then(work)
      .catch((error: Error) =>
        log.debug({ instance, error: error.message }, 'appointments wait for the arbiter'),
      )
      .finally(() => this.#wake());
    return this.#turn;
  }

  async #lookAgain(): Promise<void> {
    const { query, clock, instance } = this.#options;
    try {
      this.#members = await membersUp(query);
    } catch (error) {
      this.#change = undefined; // the next heartbeat brings us here again
      throw error;
    }
    const nowMs = clock.monotonicMs();
    for (const one of this.#appointments) {
      const order = rendezvousOrder(leaseName(one.definition), this.#members);
      const rank = Math.max(0, order.indexOf(instance));
      one.lookAtMs = one.isDoubtful ? nowMs : nowMs + turnDelayMs(rank);
    }
    await this.#applyWhereDue();
  }

  async #applyWhereDue(): Promise<void> {
    const { clock, lease, isEligible } = this.#options;
    for (const one of this.#appointments) {
      if (clock.monotonicMs() < one.lookAtMs) continue;
      one.lookAtMs = Number.POSITIVE_INFINITY;
      await this.#release(one);
      const member = lease.membership;
      const wanted = one.isDoubtful || (!one.held && isEligible() && !this.#isResigning);
      if (member && lease.mayAct() && wanted) await this.#apply(one, member);
    }
  }

  async #apply(one: Appointment, member: Membership): Promise<void> {
    const { query, clock, instance, log } = this.#options;
    const { definition } = one;
    one.lookAtMs = clock.monotonicMs() + retryMs; // unless an answer comes
    const answer = await acquireLease(query, leaseName(definition), member);
    one.lookAtMs = Number.POSITIVE_INFINITY;
    if (answer.outcome === 'granted') {
      one.held = { token: answer.token, memberToken: member.token };
      one.isDoubtful = false;
      one.toRelease = undefined; // the new grant has ended the old one
      if (!one.isTold) await this.#appoint(one, answer.token);
      return;
    }
    const isOurs = answer.outcome === 'held' && answer.holder === instance && one.held !== undefined;
    if (isOurs) {
      one.isDoubtful = false;
      return;
    }
    if (one.held) {
      log.warn(
        { instance, event: definition.name },
        'the arbiter failed over and has no record of the appointment',
      );
      await this.#dismiss(one, 'the arbiter has no record of it', this.#options.stopWorkMs);
    }
    if (answer.outcome === 'held' && answer.holder === '') one.lookAtMs = clock.monotonicMs() + retryMs;
  }

  async #appoint(one: Appointment, token: bigint): Promise<void> {
    const { clock, log, instance, lease, onAppointed } = this.#options;
    const { definition } = one;
    if (!lease.mayAct()) {
      one.held = undefined;
      one.lookAtMs = clock.monotonicMs() + retryMs;
      return;
    }
    one.isTold = true; // from now on it may believe so, whatever it answers
    one.forgetDeath = onInstanceDeath(this.#options.instanceDied, () => {
      void this.#inTurn(() => this.#vacate(one));
    });
    const problem = await this.#tell(one, 'appointed', token, hookLimitMs);
    if (one.held?.token !== token) return; // the lease was over before it answered
    if (problem === undefined) {
      one.isReady = true;
      log.info({ instance, event: definition.name }, `${instance} is appointed for ${definition.name}`);
      onAppointed(definition);
      return;
    }
    log.warn(
      { instance, event: definition.name, problem },
      `${instance} could not be appointed for ${definition.name}: ${problem}`,
    );
    one.toRelease = token;
    await this.#dismiss(one, 'the appointment failed', hookLimitMs);
    one.lookAtMs = clock.monotonicMs() + hookRetryMs;
    await this.#release(one);
  }

  /** A dead application does nothing any more, and the one that is started in its place knows of no appointment. */
  async #vacate(one: Appointment): Promise<void> {
    const { log, instance } = this.#options;
    const { held, definition } = one;
    if (!held) return;
    one.held = undefined;
    one.isTold = false;
    one.isReady = false;
    one.toRelease = held.token;
    log.warn(
      { instance, event: definition.name },
      `${instance} died and is no longer appointed for ${definition.name}`,
    );
    await this.#release(one);
  }

  /** Gives the lease back, if one is to be given back; without an answer it is tried again. */
  async #release(one: Appointment): Promise<void> {
    const { query, clock } = this.#options;
    const token = one.toRelease;
    if (token === undefined) return;
    const againAtMs = clock.monotonicMs() + retryMs;
    try {
      await releaseLease(query, leaseName(one.definition), token);
      if (one.toRelease === token) one.toRelease = undefined;
    } catch {
      one.lookAtMs = Math.min(one.lookAtMs, againAtMs); // the arbiter is away
    }
  }

  async #tell(
    one: Appointment,
    change: AppointmentChange,
    token: bigint,
    limitMs: number,
  ): Promise<string | undefined> {
    one.telling = new AbortController();
    const { signal } = one.telling;
    return this.#options.tell(one.definition, change, { token, limitMs, signal });
  }

  async #dismiss(one: Appointment, why: string, limitMs: number): Promise<void> {
    const { log, instance, stopInstance } = this.#options;
    const { definition, held } = one;
    one.forgetDeath();
    one.held = undefined;
    one.isDoubtful = false;
    if (!one.isTold || !held) return;
    one.isTold = false;
    one.isReady = false;
    log.info(
      { instance, event: definition.name, why },
      `${instance} is dismissed from ${definition.name}: ${why}`,
    );
    const problem = await this.#tell(one, 'dismissed', held.token, limitMs);
    if (problem === undefined) return;
    log.error(
      { instance, event: definition.name, problem },
      'the application could not be dismissed; it is stopped',
    );
    await stopInstance(`it could not be dismissed from ${definition.name}: ${problem}`);
  }
}
