import { type InstanceState, keepsItsUsers } from '../../protocol/instance-state.ts';
import { type InstanceTraffic, latencyBucketsMs } from '../engine.ts';
import type { EngineSettings } from '../options.ts';
import { Census } from './census.ts';
import type { Candidate } from './choice.ts';
import type { LoopClock } from './loop-clock.ts';
import { Upstream } from './upstream.ts';

/** What is known of one instance: where it is, what its agent says, what our own checks say. Plain data. */
export interface InstanceView {
  readonly instance: string;
  readonly host: string;
  readonly port: number;
  readonly state: InstanceState;
  readonly cookieValue: string;
  readonly healthy: boolean;
  /**
   * Two numbers tell a request that failed here whether it may come back: `lifeSigns` rises whenever the instance was
   * seen alive, `births` only when it came back after having been away.
   */
  readonly births: number;
  readonly lifeSigns: number;
  readonly ejections: number;
}

/** Shorter than the 5 s after which a Node.js server closes an idle connection: ours closes first. */
const poolIdleMs = 4_000;
/** Of what the instance says itself, this much is left for the way there. */
const idleReserveMs = 1_000;
/** So many kept connections are never too many; more only as far as they were needed of late. */
const fewestIdle = 8;
/** The share of new users with which a recovering instance begins. */
const coldestWarmth = 0.1;
/** So often half of the assigned users are forgotten: they count less the longer they are here. */
const fadeEveryMs = 10_000;
/** Of the newest latency in the moving average. */
const latencyShare = 0.1;

/** One instance as the data path of one process sees it: its view, its connections and its counters. */
export class Backend implements Candidate {
  view: InstanceView;
  inFlight = 0;
  connections = 0;
  requests = 0;
  replayed = 0;
  failed = 0;
  unknown = 0;
  latencyMs = 0;
  /** New users of late; halved from time to time. */
  assigned = 0;
  readonly responses: [number, number, number, number, number] = [0, 0, 0, 0, 0];
  readonly latencyCounts: number[] = new Array<number>(latencyBucketsMs.length + 1).fill(0);
  latencySumMs = 0;
  readonly weight: number;
  readonly census: Census;
  readonly #settings: EngineSettings;
  readonly #clock: LoopClock;
  readonly #onRoom: () => void;
  readonly #idle: Upstream[] = [];
  #warmSinceMs: number;
  #lastUsedMs: number;
  #fadedMs: number;
  #peakInFlight = 0;
  /** When it was first seen draining; undefined while it is not. */
  #drainingSinceMs: number | undefined;
  isRetired = false;

  constructor(
    view: InstanceView,
    settings: EngineSettings,
    clock: LoopClock,
    onRoom: () => void,
    isWarm: boolean,
  ) {
    const { nowMs } = clock;
    this.#clock = clock;
    this.view = view;
    this.#settings = settings;
    this.#onRoom = onRoom;
    this.weight = settings.weights[view.instance] ?? 1;
    this.census = new Census(settings.drain.idleMs, nowMs);
    this.#lastUsedMs = nowMs;
    this.#fadedMs = nowMs;
    this.#warmSinceMs = isWarm ? Number.NEGATIVE_INFINITY : nowMs;
    if (view.state === 'draining') this.#drainingSinceMs = nowMs;
  }

  get state(): InstanceState {
    return this.view.state;
  }

  get healthy(): boolean {
    return this.view.healthy;
  }

  get warmth(): number {
    const { slowStartMs } = this.#settings;
    const passedMs = this.#clock.nowMs - this.#warmSinceMs;
    return passedMs >= slowStartMs ? 1 : Math.max(coldestWarmth, passedMs / slowStartMs);
  }

  /** Can it be counted on that a request waiting here will be answered? */
  get isGone(): boolean {
    const { state, healthy } = this.view;
    return this.isRetired || state === 'down' || state === 'lost' || (keepsItsUsers(state) && !healthy);
  }

  /** Healthy, and there for its users. */
  get isReady(): boolean {
    return this.view.healthy && keepsItsUsers(this.view.state);
  }

  get isFull(): boolean {
    return this.inFlight >= this.#settings.limits.requestsPerInstance;
  }

  /** News of the instance. It begins to warm up anew when it comes back. */
  see(view: InstanceView): void {
    const wasReady = this.isReady;
    if (view.births !== this.view.births) this.#warmSinceMs = this.#clock.nowMs;
    this.view = view;
    if (view.state !== 'draining') this.#drainingSinceMs = undefined;
    else this.#drainingSinceMs ??= this.#clock.nowMs;
    if (wasReady && !this.isReady) this.dropIdle();
  }

  /** While it drains: how long it will keep its users; otherwise for ever. */
  get drainRemainingMs(): number {
    if (this.#drainingSinceMs === undefined) return Number.POSITIVE_INFINITY;
    return this.#drainingSinceMs + this.#settings.drain.deadlineMs - this.#clock.nowMs;
  }

  /** May this user stay here? While it drains, only until the deadline, and only who was here lately. */
  keeps(user: string): boolean {
    if (this.#drainingSinceMs === undefined) return true;
    if (this.drainRemainingMs <= 0) return false;
    const { workers, drain } = this.#settings;
    const { nowMs } = this.#clock;
    // Other processes may have seen users whom this one has not. Who is still about will come in this time.
    if (workers > 1 && nowMs - this.#drainingSinceMs < drain.idleMs) return true;
    return user === '' || this.census.has(user, nowMs);
  }

  began(): void {
    this.requests++;
    this.inFlight++;
    if (this.inFlight > this.#peakInFlight) this.#peakInFlight = this.inFlight;
    this.#lastUsedMs = this.#clock.nowMs;
  }

  ended(): void {
    this.inFlight--;
    this.#lastUsedMs = this.#clock.nowMs;
    this.#onRoom();
  }

  /** The first byte of a response came so long after the request was sent. */
  answered(status: number, tookMs: number): void {
    const group = Math.floor(status / 100) - 1;
    if (group >= 0 && group < 5) this.responses[group as 0 | 1 | 2 | 3 | 4]++;
    let bucket = 0;
    while (bucket < latencyBucketsMs.length && tookMs > (latencyBucketsMs[bucket] as number)) bucket++;
    this.latencyCounts[bucket] = (this.latencyCounts[bucket] as number) + 1;
    this.latencySumMs += tookMs;
    this.latencyMs += (tookMs - this.latencyMs) * latencyShare;
  }

  /** A kept connection, or a new one; `fresh` takes a new one in any case. */
  connect(fresh: boolean, proxyHeader: Buffer | undefined): Upstream {
    if (!fresh && proxyHeader === undefined) {
      const nowMs = this.#clock.nowMs;
      for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
        if (nowMs < kept.usableUntilMs && kept.isUsable) return kept;
        kept.destroy();
      }
    }
    return new Upstream(this, this.#clock, proxyHeader);
  }

  /** A connection whose response is complete. `keepAliveMs`: how long the instance says that it keeps it; 0: nothing. */
  keep(upstream: Upstream, keepAliveMs: number): void {
    const idleMs = keepAliveMs > 0 ? keepAliveMs - idleReserveMs : poolIdleMs;
    const mostIdle = Math.max(fewestIdle, this.#peakInFlight);
    // One that told the instance of a client is of no use to another.
    const isAnybodys = this.#settings.proxyProtocolTo === undefined;
    const isWanted = isAnybodys && this.#idle.length < mostIdle && !this.isGone && idleMs > 0;
    if (!isWanted) {
      upstream.destroy();
      return;
    }
    upstream.usableUntilMs = this.#clock.nowMs + idleMs;
    this.#idle.push(upstream);
  }

  /** Called regularly: closes what has been idle for too long, and lets old assignments fade. */
  tick(nowMs: number): void {
    if (nowMs - this.#fadedMs >= fadeEveryMs) {
      this.#fadedMs = nowMs;
      this.assigned /= 2;
      this.#peakInFlight = this.inFlight;
    }
    while (this.#idle.length > 0 && (this.#idle[0] as Upstream).usableUntilMs <= nowMs)
      this.#idle.shift()?.destroy();
  }

  forgetIdle(upstream: Upstream): void {
    const index = this.#idle.indexOf(upstream);
    if (index >= 0) this.#idle.splice(index, 1);
  }

  dropIdle(): void {
    for (const upstream of this.#idle.splice(0)) upstream.destroy();
  }

  /** No longer in the table. Requests under way keep their connections. */
  retire(): void {
    this.isRetired = true;
    this.dropIdle();
  }

  traffic(): InstanceTraffic {
    const nowMs = this.#clock.nowMs;
    const { requests, replayed, failed, unknown, inFlight, connections, warmth } = this;
    const isSticky = this.#settings.sticky.kind === 'cookie' || this.#settings.sticky.kind === 'application';
    return {
      instance: this.view.instance,
      healthy: this.view.healthy,
      inFlight,
      connections,
      idleMs: inFlight > 0 ? 0 : Math.max(0, nowMs - this.#lastUsedMs),
      users: isSticky ? this.census.count(nowMs) : null,
      requests,
      responses: [...this.responses],
      replayed,
      failed,
      unknown,
      ejections: this.view.ejections,
      latency: { counts: [...this.latencyCounts], sumMs: this.latencySumMs },
      warmth,
    };
  }
}
