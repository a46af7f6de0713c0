/**
 * Keeps one membership: joins, renews, and knows at every moment whether its agent may still act.
 *
 * Two loops. One renews, and treats every failure alike: the deadline goes on counting from the last renewal that
 * is known to have succeeded. The other only watches that deadline, because the first may be waiting for an
 * answer. Time, randomness and the arbiter are arguments, so the same code runs in the simulator.
 */
import type { Query } from '../database/arbiter.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import { clockRateTolerance, elapsedMs, type Moment, remainingMs, stopWorkMs } from '../protocol/lease.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import {
  declareLost,
  type HeartbeatResult,
  type Holder,
  heartbeat,
  join,
  leave,
  type MemberFacts,
  type Membership,
} from './membership.ts';

export interface LeaseKeeperOptions {
  readonly query: Query;
  readonly clock: Clock;
  /** 0 ≤ x < 1: spreads the heartbeats of many agents. */
  readonly random: () => number;
  readonly log: Log;
  readonly instance: string;
  /** Unique to this process. */
  readonly agentId: string;
  /** Agents proved dead on this host, with their instances. */
  readonly provedDead: readonly string[];
  readonly lease: { readonly ttlMs: number; readonly heartbeatMs: number };
  readonly report: () => { readonly state: InstanceState; readonly facts: MemberFacts };
  readonly on: {
    joined(membership: Membership): void;
    renewed(result: Extract<HeartbeatResult, { outcome: 'renewed' }>): void;
    /** The right to act is over (P4): stop what runs, now. It may come back by a later renewal or by joining anew. */
    expired(why: string): void;
  };
}

/** Longest wait between two tries while the arbiter is away. */
const retryMs = 500;

export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  #membership: Membership | undefined;
  /** Just before the last renewal that succeeded was sent. */
  #renewedAt: Moment | undefined;
  /** The timeline of the last answer. */
  #timeline = 0;
  /** Monotonic: not before then, because a grant that a failover lost may still be acted upon elsewhere. */
  #graceEndsMs = Number.NEGATIVE_INFINITY;
  #expiredTold = true;
  #reported = '';
  #wake: () => void = () => undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  get membership(): Membership | undefined {
    return this.#membership;
  }

  /** What is left of the right to act, in ms; zero or less: none. Reads the clocks each time, so a thaw cannot fool it. */
  remainingMs(): number {
    if (!this.#membership || !this.#renewedAt) return 0;
    if (this.#options.clock.monotonicMs() < this.#graceEndsMs) return 0;
    const { ttlMs } = this.#options.lease;
    const leftMs = remainingMs(this.#renewedAt, this.#now(), { ttlMs, stopWorkMs: stopWorkMs(ttlMs) });
    if (leftMs <= 0) this.#renewedAt = undefined; // over is over, even if somebody sets the wall clock back
    return leftMs;
  }

  /** The member whose lease may be acted upon now. */
  mayAct(): boolean {
    return this.remainingMs() > 0;
  }

  /** Says at once what changed, instead of at the next heartbeat. */
  announce(): void {
    this.#wake();
  }

  /** Runs until `close`. Rejects with INSTANCE_HELD when another live agent has the name. */
  async run(): Promise<void> {
    const watching = this.#watchDeadline();
    try {
      while (!this.#stopped) {
        await this.#joinPatiently();
        if (!this.#stopped) await this.#renewUntilFenced();
      }
    } finally {
      this.#stop.abort();
      this.#wake();
      await watching;
      this.#expire('the membership has ended');
    }
  }

  /** Leaves, so that the name is free at once; an arbiter that is away learns of it by the lease running out. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    const member = this.#membership;
    this.#membership = undefined;
    if (!member) return;
    await leave(this.#options.query, member).catch((error) =>
      this.#options.log.warn(
        { instance: member.instance, error: String(error) },
        'could not say goodbye to the arbiter',
      ),
    );
  }

  get #stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  #now(): Moment {
    const { clock } = this.#options;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
  }

  /**
   * Joins. A name that is held is waited for only until it is known whether its holder lives: if it renews, we are
   * refused; if its lease ran out and we have watched it silent for one ttl without a gap, we take over.
   */
  async #joinPatiently(): Promise<void> {
    const { query, clock, lease, log, instance } = this.#options;
    let watchedSince: { holder: Holder; fromMs: number; lastAnswer: Moment } | undefined;
    while (!this.#stopped) {
      const sentAt = this.#now();
      // Two kinds of time, each the cautious one: the watch may seem shorter than it was, and a gap longer.
      const unbroken = watchedSince && elapsedMs(watchedSince.lastAnswer, sentAt) <= lease.ttlMs / 2;
      const watchedLongEnough =
        watchedSince &&
        unbroken &&
        sentAt.monotonicMs - watchedSince.fromMs > lease.ttlMs * (1 + clockRateTolerance);
      const { state, facts } = this.#options.report();
      try {
        const result = await join(query, {
          instance,
          agentId: this.#options.agentId,
          provedDead: this.#options.provedDead,
          watched: watchedSince && watchedLongEnough ? watchedSince.holder.renewedAt : null,
          ttlMs: lease.ttlMs,
          state,
          facts,
        });
        if (this.#stopped && result.outcome === 'joined') {
          await leave(query, result.membership);
          return;
        }
        if (result.outcome === 'joined') {
          this.#membership = result.membership;
          this.#timeline = result.timeline;
          if (result.graceMs > 0) {
            this.#graceEndsMs = clock.monotonicMs() + result.graceMs * (1 + clockRateTolerance);
          }
          this.#reported = JSON.stringify({ state, facts });
          this.#renewed(sentAt);
          this.#options.on.joined(result.membership);
          return;
        }
        const { holder } = result;
        const known = watchedSince?.holder;
        const same = known && known.renewedAt === holder.renewedAt && known.timeline === holder.timeline;
        if (known && !same && known.timeline === holder.timeline) throw heldBy(instance, holder);
        const answeredAt = this.#now();
        if (!known)
          log.info(
            { instance, holder: holder.facts },
            `${instance} is held; waiting to see whether its holder lives`,
          );
        watchedSince = {
          holder,
          fromMs: same && unbroken && watchedSince ? watchedSince.fromMs : answeredAt.monotonicMs,
          lastAnswer: answeredAt,
        };
      } catch (error) {
        if (!isAway(error)) throw error;
        log.warn({ instance, error: (error as Error).message }, 'the arbiter is away; waiting to join');
      }
      await clock.sleep(Math.min(lease.heartbeatMs, retryMs), this.#stop.signal);
    }
  }

  async #renewUntilFenced(): Promise<void> {
    const { query, lease, log, instance } = this.#options;
    let away = false;
    while (!this.#stopped && this.#membership) {
      const member = this.#membership;
      const report = this.#options.report();
      const said = JSON.stringify(report);
      const news = said === this.#reported ? { state: null, facts: null } : report;
      const sentAt = this.#now();
      try {
        const result = await heartbeat(query, member, lease.ttlMs, news, Math.min(3_000, lease.ttlMs / 2));
        if (result.outcome === 'fenced') {
          log.warn({ instance, because: result.because }, `the membership has ended: ${result.because}`);
          this.#membership = undefined;
          this.#expire(result.because);
          return;
        }
        if (result.timeline !== this.#timeline && !this.mayAct()) {
          log.warn({ instance }, 'the arbiter failed over while the lease was out; joining anew');
          this.#membership = undefined;
          this.#expire('the arbiter failed over while the lease was out');
          return;
        }
        this.#timeline = result.timeline;
        if (away) log.info({ instance }, 'the arbiter is back');
        away = false;
        this.#reported = said;
        this.#renewed(sentAt);
        this.#options.on.renewed(result);
        for (const expired of result.expired) await this.#declareLost(member, expired);
      } catch (error) {
        // Whatever it was: an agent with a membership goes on trying, and its deadline goes on counting.
        if (!away) log.warn({ instance, error: (error as Error).message }, 'the arbiter is away');
        away = true;
      }
      if (away) await this.#options.clock.sleep(Math.min(lease.heartbeatMs, retryMs), this.#stop.signal);
      else await this.#pauseSince(sentAt);
    }
  }

  async #declareLost(witness: Membership, expired: { instance: string; token: bigint }): Promise<void> {
    if (await declareLost(this.#options.query, witness, expired)) {
      this.#options.log.warn(
        { instance: expired.instance, by: witness.instance },
        `declared ${expired.instance} lost`,
      );
    }
  }

  /** Until the next heartbeat is due, or somebody has news. A tenth of jitter keeps agents apart. */
  async #pauseSince(sentAt: Moment): Promise<void> {
    if (this.#stopped || JSON.stringify(this.#options.report()) !== this.#reported) {
      await this.#options.clock.sleep(10, this.#stop.signal); // news came while we were renewing
      return;
    }
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const pauseMs =
      this.#options.lease.heartbeatMs * (0.95 + 0.1 * this.#options.random()) -
      elapsedMs(sentAt, this.#now());
    await this.#options.clock.sleep(
      Math.max(10, pauseMs),
      AbortSignal.any([woken.signal, this.#stop.signal]),
    );
  }

  #renewed(sentAt: Moment): void {
    this.#renewedAt = sentAt;
    if (this.mayAct()) this.#expiredTold = false;
  }

  #expire(why: string): void {
    if (this.#expiredTold) return;
    this.#expiredTold = true;
    this.#options.on.expired(why);
  }

  async #watchDeadline(): Promise<void> {
    const { clock, lease } = this.#options;
    while (!this.#stopped) {
      const leftMs = this.remainingMs();
      if (leftMs > 0) this.#expiredTold = false;
      else this.#expire('the lease could not be renewed in time');
      // Often enough that a machine which was suspended learns soon after it wakes.
      await clock.sleep(
        leftMs > 0 ? Math.min(leftMs, lease.heartbeatMs / 4) : retryMs / 5,
        this.#stop.signal,
      );
    }
  }
}

/** The arbiter is away, or refuses for now (a password changed, a server that is starting): try again. */
const isAway = (error: unknown): boolean =>
  error instanceof HoldfastError &&
  (error.code === 'ARBITER_UNAVAILABLE' || error.code === 'ARBITER_REFUSED');

function heldBy(instance: string, { facts, incarnation }: Holder): HoldfastError {
  return new HoldfastError(
    'INSTANCE_HELD',
    `${instance} is held by a live agent: process ${facts.agentPid} on ${facts.host} (incarnation ${incarnation}).`,
    { remedy: 'Give this agent another instance name, or stop that one first.' },
  );
}
