/**
 * Watches what waits in the ledger: retries, reruns, what stands in line, what a person asked for. It is read when its
 * moment has come or somebody gives a hint, never on the chance; and like due moments it is taken in turns.
 */
import type { Query } from '../database/arbiter.ts';
import type { Membership } from '../members/membership.ts';
import type { Clock } from '../support/clock.ts';
import type { ClaimQueue } from './claim-queue.ts';
import type { EventDefinition } from './definition.ts';
import { rankAmong, turnDelayMs } from './due-watch.ts';
import { type Grant, type Waiting, waiting } from './ledger.ts';

export interface WaitingWatchOptions {
  readonly query: Query;
  readonly clock: Clock;
  readonly instance: string;
  readonly definitions: ReadonlyMap<string, EventDefinition>;
  readonly claims: ClaimQueue;
  members(): readonly string[];
  hasRoom(definition: EventDefinition): boolean;
  isAppointed(definition: EventDefinition): boolean;
  begin(definition: EventDefinition, grant: Grant, member: Membership): void;
}

export class WaitingWatch {
  readonly #options: WaitingWatchOptions;
  #atMs = Number.POSITIVE_INFINITY;
  /** Occurrences that we have asked for. */
  readonly #wanted = new Set<string>();
  /** Events of which something waits that there was no room for. */
  readonly #turnedAway = new Set<string>();

  constructor(options: WaitingWatchOptions) {
    this.#options = options;
  }

  /** Monotonic: when something may be claimed. */
  get atMs(): number {
    return this.#atMs;
  }

  /** Something may be claimed so long from now. */
  in(ms: number): void {
    this.#atMs = Math.min(this.#atMs, this.#options.clock.monotonicMs() + Math.max(0, ms));
  }

  /** A run or a claim of these has ended here. */
  roomFor(events: ReadonlySet<string>): void {
    for (const event of events) if (this.#turnedAway.delete(event)) this.in(0);
  }

  async read(): Promise<void> {
    this.#atMs = Number.POSITIVE_INFINITY;
    for (const found of await waiting(this.#options.query, this.#options.instance)) this.#consider(found);
  }

  #consider(found: Waiting): void {
    const { definitions, claims, hasRoom, isAppointed, begin } = this.#options;
    const { event, place, occurrence } = found;
    const definition = definitions.get(event);
    if (!definition || definition.place !== place || this.#wanted.has(occurrence)) return;
    const { on, run } = definition.settings;
    if (run?.kind === 'gate') return; // only who asks at the gate can have it
    if (on.kind === 'designated' && !isAppointed(definition)) return;
    if (!hasRoom(definition)) {
      this.#turnedAway.add(event);
      return;
    }
    const delayMs = turnDelayMs(place === '' ? this.#rankOf(found, on) : 0) - found.sinceMs;
    if (delayMs > 0) {
      this.in(delayMs);
      return;
    }
    this.#wanted.add(occurrence);
    claims.add({
      claim: { event, place, occurrence },
      answered: (answer, member) => {
        this.#wanted.delete(occurrence);
        if (answer.outcome === 'granted') begin(definition, answer, member);
      },
      unanswered: () => {
        this.#wanted.delete(occurrence);
        this.in(0);
      },
    });
  }

  /** Whoever lost it last may be dead, or about to start anew: it comes last, and the others need not wait for it. */
  #rankOf({ occurrence, attempts, prefer, lostBy }: Waiting, on: EventDefinition['settings']['on']): number {
    const { instance } = this.#options;
    const members = this.#options.members();
    if (lostBy === instance && members.length > 1) return members.length;
    const first = prefer ?? (on.kind === 'prefer' ? on.instance : undefined);
    const candidates = members.filter((one) => one !== lostBy);
    return rankAmong(candidates, instance, `${occurrence}/${attempts}`, first);
  }
}
