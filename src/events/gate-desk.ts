/**
 * For applications with a scheduler of their own that fires on every instance: each asks its agent, and one is told
 * yes. Their clocks differ a little from the arbiter's, so whoever asks a moment too early waits for the moment.
 */
import type { EventDefinition } from './definition.ts';
import { claimOf, duesBetween, gatePatienceMs } from './due-watch.ts';
import type { Claim, ClaimAnswer, Grant, Waiting } from './ledger.ts';

export type GateAnswer =
  | { readonly outcome: 'yes'; readonly grant: Grant }
  | { readonly outcome: 'no'; readonly reason: string }
  /** The lease is not proved, or the arbiter does not answer. */
  | { readonly outcome: 'away' }
  | { readonly outcome: 'unknown' };

interface GateDeskOptions {
  arbiterNowMs(): number | undefined;
  sleep(ms: number): Promise<void>;
  waiting(): Promise<readonly Waiting[]>;
  /** `begin` takes the run on; undefined: no answer. */
  claim(wanted: Claim): Promise<{ answer: ClaimAnswer; begin: () => void } | undefined>;
}

/** By how much an application's clock may be ahead of the arbiter's. */
const earlyMs = 5_000;
/** More missed ones than this are left to the watch, which records them. */
const duesAtOnce = 1_000;
const triesAtMost = 5;

export class GateDesk {
  readonly #options: GateDeskOptions;
  /** The last cursor that was heard of, for each event. */
  readonly #cursors = new Map<string, number>();

  constructor(options: GateDeskOptions) {
    this.#options = options;
  }

  async ask(definition: EventDefinition): Promise<GateAnswer> {
    try {
      const waits = (await this.#options.waiting()).find(({ event }) => event === definition.name);
      if (waits) {
        const { event, place, occurrence } = waits;
        const taken = await this.#options.claim({ event, place, occurrence });
        if (taken?.answer.outcome === 'granted') return this.#granted(taken.answer, taken.begin);
      }
      return await this.#askForDue(definition);
    } catch {
      return { outcome: 'away' }; // the arbiter did not answer; the application asks again or does without
    }
  }

  async #askForDue(definition: EventDefinition): Promise<GateAnswer> {
    const { arbiterNowMs, sleep, claim } = this.#options;
    for (let tries = 0; tries < triesAtMost; tries++) {
      const nowMs = arbiterNowMs();
      if (nowMs === undefined) return { outcome: 'away' };
      const cursorMs = this.#cursors.get(definition.name) ?? nowMs - gatePatienceMs;
      const { dues, complete } = duesBetween(definition, cursorMs, nowMs + earlyMs, duesAtOnce);
      const dueMs = dues.findLast((one) => one <= nowMs) ?? dues[0];
      if (dueMs === undefined || !complete || dueMs < nowMs - gatePatienceMs)
        return { outcome: 'no', reason: 'another instance was told to run it, or it is not due' };
      if (dueMs > nowMs) await sleep(dueMs - nowMs);
      const before = dues.filter((one) => one < dueMs);
      const [firstMs] = before;
      const missed =
        firstMs === undefined
          ? null
          : {
              firstMs,
              lastMs: before.at(-1) ?? firstMs,
              count: before.length,
              reason: 'no instance asked for it',
            };
      const plan = { toMs: dueMs, missed, dueMs: [dueMs], inLine: false };
      const asked = await claim(claimOf({ definition, cursorMs, dueMs }, plan));
      if (!asked) return { outcome: 'away' };
      const { answer } = asked;
      switch (answer.outcome) {
        case 'granted':
          this.#cursors.set(definition.name, dueMs);
          return this.#granted(answer, asked.begin);
        case 'moved':
          this.#cursors.set(definition.name, answer.cursorMs);
          break;
        case 'early':
          await sleep(answer.waitMs);
          break;
        case 'recorded':
        case 'skipped':
          this.#cursors.set(definition.name, dueMs);
          return { outcome: 'no', reason: answer.reason ?? 'the one before it still runs' };
        case 'changed':
        case 'taken':
          return {
            outcome: 'no',
            reason: 'another revision of the configuration has another schedule for it',
          };
      }
    }
    return { outcome: 'away' };
  }

  #granted(grant: Grant, begin: () => void): GateAnswer {
    begin();
    return { outcome: 'yes', grant };
  }
}
