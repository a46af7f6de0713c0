import type { Backend } from './backend.ts';

/**
 * What a request has been through: the instances that failed it, and how. None of them gets it again unless things have
 * changed since: one that took no connection may be asked again once it was seen alive, one that broke off must have
 * been away and come back. A request that broke too many of them is not carried to the next.
 */
interface Setback {
  readonly sent: boolean;
  readonly births: number;
  readonly lifeSigns: number;
}

const mostSends = 3;

/** One object serves all requests of a connection, one after the other. */
export class Setbacks {
  #sends = 0;
  #seen: Map<Backend, Setback> | undefined;

  clear(): void {
    this.#sends = 0;
    if (this.#seen !== undefined) this.#seen = undefined;
  }

  /** `sent`: it had gone out when the instance failed. */
  note(backend: Backend, sent: boolean): void {
    const { births, lifeSigns } = backend.view;
    if (sent) this.#sends++;
    this.#seen ??= new Map();
    this.#seen.set(backend, { sent, births, lifeSigns });
  }

  get areTooMany(): boolean {
    return this.#sends >= mostSends;
  }

  readonly exclude = (backend: Backend): boolean => {
    const setback = this.#seen?.get(backend);
    if (setback === undefined) return false;
    const { births, lifeSigns } = backend.view;
    return setback.sent ? setback.births === births : setback.lifeSigns === lifeSigns;
  };

  /** Were all of them seen alive after they had broken off? Then it is the request, and waiting will not help. */
  haveBroken(backends: readonly Backend[]): boolean {
    if (this.#seen === undefined || backends.length === 0) return false;
    return backends.every((backend) => {
      const setback = this.#seen?.get(backend);
      const wasSeen = setback?.sent === true && setback.lifeSigns !== backend.view.lifeSigns;
      return wasSeen && this.exclude(backend);
    });
  }
}
