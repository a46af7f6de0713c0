import type { ClientTraffic, InstanceTraffic } from '../engine.ts';
import { combined, emptySample, noTotals, type Sample, type Totals } from './traffic.ts';

/** What is known of each instance over the time that it is in the table, whatever happens to HAProxy meanwhile. */
interface Entry {
  slot: number;
  /** HAProxy's totals for the slot when the instance came, or when HAProxy was started: taken off. */
  base: Totals;
  /** From HAProxies that are gone. */
  carried: Totals;
  /** As HAProxy told last. */
  told: Totals;
  inFlight: number;
  connections: number;
  healthy: boolean;
  ejections: number;
  users: number | null;
  activeMs: number;
  /** Since when it warms up; undefined: it was warm from the start. */
  warmSinceMs: number | undefined;
}

export interface BookOptions {
  readonly slowStartMs: number;
  readonly nowMs: () => number;
  readonly onHealth: (instance: string, healthy: boolean) => void;
}

export class TrafficBook {
  readonly #options: BookOptions;
  #entries = new Map<string, Entry>();
  #order: readonly string[] = [];
  #sample: Sample = emptySample;
  #acceptedBefore = 0;
  #isFirst = true;

  constructor(options: BookOptions) {
    this.#options = options;
  }

  /** The instances that are listed now, with their slots; `returned`: those that may be used again from now on. */
  list(slots: ReadonlyMap<string, number>, order: readonly string[], returned: ReadonlySet<string>): void {
    const nowMs = this.#options.nowMs();
    const entries = new Map<string, Entry>();
    for (const [instance, slot] of slots) {
      const entry = this.#entries.get(instance) ?? this.#newEntry(slot, nowMs);
      if (returned.has(instance) && !this.#isFirst) {
        entry.warmSinceMs = nowMs;
        entry.healthy = true;
      }
      entries.set(instance, entry);
    }
    this.#entries = entries;
    this.#order = order;
    if (order.length > 0) this.#isFirst = false;
  }

  #newEntry(slot: number, nowMs: number): Entry {
    const base = this.#sample.slots.get(slot)?.totals ?? noTotals;
    return {
      slot,
      base,
      carried: noTotals,
      told: base,
      inFlight: 0,
      connections: 0,
      healthy: true,
      ejections: 0,
      users: null,
      activeMs: nowMs,
      warmSinceMs: undefined,
    };
  }

  take(sample: Sample): void {
    this.#sample = sample;
    const nowMs = this.#options.nowMs();
    for (const [instance, entry] of this.#entries) {
      const counts = sample.slots.get(entry.slot);
      if (counts === undefined) continue;
      if (counts.inFlight > 0 || entry.inFlight > 0 || counts.totals.requests !== entry.told.requests) {
        entry.activeMs = nowMs;
      }
      entry.told = counts.totals;
      entry.inFlight = counts.inFlight;
      entry.connections = counts.connections;
      if (counts.healthy !== undefined && counts.healthy !== entry.healthy) {
        this.#turn(instance, entry, counts.healthy, nowMs);
      }
    }
  }

  noteUsers(instance: string, users: number | null): void {
    const entry = this.#entries.get(instance);
    if (entry !== undefined) entry.users = users;
  }

  /** HAProxy is another one, which counts from nothing. */
  startOver(): void {
    for (const entry of this.#entries.values()) {
      entry.carried = combined(entry.carried, combined(entry.told, entry.base, -1), 1);
      entry.base = noTotals;
      entry.told = noTotals;
      entry.inFlight = 0;
      entry.connections = 0;
    }
    this.#acceptedBefore += this.#sample.clients.accepted;
    this.#sample = emptySample;
  }

  #turn(instance: string, entry: Entry, healthy: boolean, nowMs: number): void {
    entry.healthy = healthy;
    if (healthy) entry.warmSinceMs = nowMs;
    else entry.ejections++;
    this.#options.onHealth(instance, healthy);
  }

  traffic(): InstanceTraffic[] {
    const nowMs = this.#options.nowMs();
    return this.#order.flatMap((instance) => {
      const entry = this.#entries.get(instance);
      if (entry === undefined) return [];
      const { healthy, inFlight, connections, users, ejections, activeMs } = entry;
      const totals = combined(entry.carried, combined(entry.told, entry.base, -1), 1);
      const idleMs = inFlight > 0 ? 0 : nowMs - activeMs;
      const warmth = this.#warmth(entry, nowMs);
      return [
        {
          instance,
          healthy,
          inFlight,
          connections,
          idleMs,
          users,
          ...totals,
          ejections,
          latency: null,
          warmth,
        },
      ];
    });
  }

  #warmth({ warmSinceMs }: Entry, nowMs: number): number {
    const { slowStartMs } = this.#options;
    if (warmSinceMs === undefined || slowStartMs === 0) return 1;
    return Math.min(Math.max((nowMs - warmSinceMs) / slowStartMs, 0.01), 1);
  }

  clients(): Omit<ClientTraffic, 'refusals'> {
    const { connections, accepted, waiting } = this.#sample.clients;
    return { connections, accepted: this.#acceptedBefore + accepted, waiting };
  }
}
