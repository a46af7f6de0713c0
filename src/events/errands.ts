/**
 * What an agent asks the arbiter now and then: one statement of a kind at a time, and another look at everything when
 * its answer is there. One that failed is not asked again at once.
 */
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';

const retryMs = 250;

export interface ErrandsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  onIdle(): void;
}

export class Errands<Kind extends string> {
  readonly #options: ErrandsOptions;
  readonly #underWay = new Set<Kind>();

  constructor(options: ErrandsOptions) {
    this.#options = options;
  }

  isUnderWay(kind: Kind): boolean {
    return this.#underWay.has(kind);
  }

  /** Does nothing while one of its kind is under way. */
  run(kind: Kind, errand: () => Promise<void>): void {
    if (this.#underWay.has(kind)) return;
    this.#underWay.add(kind);
    const { clock, log, signal, onIdle } = this.#options;
    void errand()
      .catch(async (error: Error) => {
        log.debug({ kind, error: error.message }, 'no answer from the arbiter; trying again');
        await clock.sleep(retryMs, signal);
      })
      .finally(() => {
        this.#underWay.delete(kind);
        onIdle();
      });
  }
}
