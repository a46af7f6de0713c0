/**
 * What may happen to a request of the soak, and what may not. A request that may be repeated has no excuse. A response
 * that had begun may be cut, and what must not be done twice may end unanswered, but only while the instance that
 * worked on it was killed, frozen or taken away.
 */
export interface Strike {
  /** Who was struck. */
  readonly instance: string;
  /** Only WebSockets end: the instance is being drained. */
  readonly isGentle: boolean;
  untilMs: number;
}

/** What a client saw of one request. */
export interface Sight {
  /** 0: no answer came. */
  readonly status: number;
  /** Who answered; undefined: the balancer itself, or nobody. */
  readonly instance: string | undefined;
  /** Of an answer that was broken off, or never came: why. */
  readonly broken?: string;
  /** Of an answer that is complete and not as it should be. */
  readonly wrong?: string;
  readonly startedMs: number;
}

export interface Tally {
  done: number;
  /** Cut or unanswered for a good reason. */
  excused: number;
  failed: number;
}

const mostFailures = 30;
/** A client may notice a little later than it happened. */
const noticeMs = 100;

export class Judge {
  readonly byKind: Record<string, Tally> = {};
  readonly failures: string[] = [];
  readonly #strikes: Strike[] = [];

  /** It goes on until its `untilMs` is set. */
  strike(instance: string, { isGentle = false } = {}): Strike {
    const strike: Strike = { instance, isGentle, untilMs: Number.POSITIVE_INFINITY };
    this.#strikes.push(strike);
    return strike;
  }

  done(kind: string): void {
    this.#of(kind).done++;
  }

  /** Judges what is not plainly right. */
  judge(kind: string, sight: Sight, mayRepeat: boolean): void {
    const problem = sight.wrong ?? sight.broken ?? `status ${sight.status}`;
    const hadBegun = sight.status !== 0 && sight.instance !== undefined;
    const canBeCut = sight.broken !== undefined && hadBegun;
    // The fate of what must not be repeated may be unknown; the balancer says so with 502.
    const canBeUnknown = !mayRepeat && sight.instance === undefined && [0, 502].includes(sight.status);
    const isExcused =
      sight.wrong === undefined &&
      (canBeCut || canBeUnknown) &&
      this.wasStruck(sight.instance, sight.startedMs);
    if (isExcused) this.#of(kind).excused++;
    else this.fail(kind, `${problem}${sight.instance ? ` from ${sight.instance}` : ''}`);
  }

  fail(kind: string, problem: string): void {
    this.#of(kind).failed++;
    if (this.failures.length < mostFailures) this.failures.push(`${kind}: ${problem}`);
  }

  excuse(kind: string): void {
    this.#of(kind).excused++;
  }

  /** Was this instance, or anyone if it is not known, struck since then? */
  wasStruck(instance: string | undefined, sinceMs: number, { gentlyToo = false } = {}): boolean {
    return this.#strikes.some(
      (strike) =>
        (instance === undefined || strike.instance === instance) &&
        (gentlyToo || !strike.isGentle) &&
        strike.untilMs + noticeMs >= sinceMs,
    );
  }

  total(): Tally {
    const all = Object.values(this.byKind);
    const sum = (of: (one: Tally) => number) => all.reduce((total, one) => total + of(one), 0);
    return {
      done: sum(({ done }) => done),
      excused: sum((one) => one.excused),
      failed: sum((one) => one.failed),
    };
  }

  #of(kind: string): Tally {
    this.byKind[kind] ??= { done: 0, excused: 0, failed: 0 };
    return this.byKind[kind];
  }
}
