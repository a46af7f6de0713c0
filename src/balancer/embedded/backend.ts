import http from 'node:http';
import { assumedHealthy, type HealthState, isInDoubt, observeHealth } from '../../protocol/health.ts';
import { type InstanceState, keepsItsUsers } from '../../protocol/instance-state.ts';
import type { RoutedInstance } from '../../protocol/routing-table.ts';
import type { EngineSettings, InstanceTraffic } from '../engine.ts';
import { HealthCheck } from './health-check.ts';

/**
 * One instance at one address, as this balancer knows it: what its agent says, what our own checks say, its
 * connections and its counters. Two numbers tell a request that failed here whether it may come back:
 * `lifeSigns` rises whenever the instance was seen alive, `births` only when it came back after having been away.
 */
export interface BackendEvents {
  /** Our own checks changed their verdict, or saw the instance alive: whoever waits should look again. */
  news(): void;
}

/** Shorter than the 5 s after which a Node.js server closes an idle connection: ours closes first. */
const poolIdleMs = 3_500;

export class Backend {
  readonly instance: string;
  readonly host: string;
  readonly port: number;
  readonly cookieValue: string;
  /** Kept connections, for requests that can be repeated should such a connection turn out to be stale. */
  readonly pool: http.Agent;
  /** A new connection each time, so that a stale one never decides the fate of what cannot be repeated. */
  readonly fresh: http.Agent;
  lifeSigns = 0;
  births = 0;
  inFlight = 0;
  requests = 0;
  replayed = 0;
  failed = 0;
  #state: InstanceState;
  #health: HealthState = assumedHealthy;
  #lastUsedMs: number;
  readonly #settings: EngineSettings;
  readonly #events: BackendEvents;
  readonly #check: HealthCheck;

  constructor(routed: RoutedInstance, cookieValue: string, settings: EngineSettings, events: BackendEvents) {
    this.instance = routed.instance;
    this.host = routed.host;
    this.port = routed.port;
    this.cookieValue = cookieValue;
    this.#state = routed.state;
    this.#settings = settings;
    this.#events = events;
    this.#lastUsedMs = settings.nowMs();
    this.pool = new http.Agent({
      keepAlive: true,
      timeout: poolIdleMs,
      maxFreeSockets: 64,
      scheduling: 'lifo',
    });
    this.fresh = new http.Agent({ keepAlive: false });
    this.#check = new HealthCheck(routed, settings.health, (ok, reason) => this.#observe(ok, reason));
    if (keepsItsUsers(routed.state)) this.#check.start();
  }

  get state(): InstanceState {
    return this.#state;
  }

  get healthy(): boolean {
    return this.#health.verdict === 'healthy';
  }

  /** Can it be counted on that a request waiting here will be answered? */
  get isGone(): boolean {
    return this.#state === 'down' || this.#state === 'lost' || (keepsItsUsers(this.#state) && !this.healthy);
  }

  /** The agent's word. One who says `up` after having been away is believed, until our own checks say otherwise. */
  setState(state: InstanceState): void {
    const wasRoutable = keepsItsUsers(this.#state);
    this.#state = state;
    if (keepsItsUsers(state) && !wasRoutable) {
      const wasHealthy = this.healthy;
      this.#health = assumedHealthy;
      this.births++;
      this.lifeSigns++;
      this.#check.start();
      if (!wasHealthy) this.#settings.onInstanceHealth(this.instance, true);
    } else if (!keepsItsUsers(state) && wasRoutable) {
      this.#check.stop();
      this.dropIdleConnections();
    }
  }

  /** Traffic saw something odd here. */
  suspect(): void {
    this.#check.checkNow();
  }

  began(): void {
    this.requests++;
    this.inFlight++;
    this.#lastUsedMs = this.#settings.nowMs();
  }

  ended(): void {
    this.inFlight--;
    this.#lastUsedMs = this.#settings.nowMs();
  }

  /** No longer in the table. Requests under way keep their connections. */
  retire(): void {
    this.#check.stop();
    this.dropIdleConnections();
  }

  /** `Agent.destroy` would also cut the connections that are at work. */
  dropIdleConnections(): void {
    for (const sockets of Object.values(this.pool.freeSockets)) {
      for (const socket of sockets ?? []) socket.destroy();
    }
  }

  traffic(): InstanceTraffic {
    const { instance, healthy, inFlight, replayed, failed, requests } = this;
    const idleMs = inFlight > 0 ? 0 : Math.max(0, this.#settings.nowMs() - this.#lastUsedMs);
    return { instance, healthy, inFlight, idleMs, replayed, failed, requests };
  }

  #observe(ok: boolean, reason: string): { inDoubt: boolean } {
    const before = this.#health.verdict;
    this.#health = observeHealth(this.#health, ok, this.#settings.health);
    const { instance, healthy } = this;
    const changed = before !== this.#health.verdict;
    if (ok) this.lifeSigns++;
    if (changed && healthy) this.births++;
    if (changed && !healthy) {
      this.dropIdleConnections();
      this.#settings.log.warn({ instance, reason }, 'the instance does not answer health checks');
    } else if (changed) {
      this.#settings.log.info({ instance }, 'the instance answers health checks again');
    }
    if (changed) this.#settings.onInstanceHealth(instance, healthy);
    if (changed || ok) this.#events.news();
    return { inDoubt: isInDoubt(this.#health) };
  }
}
