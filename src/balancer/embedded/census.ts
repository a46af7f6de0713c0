/**
 * Who was here lately, in two generations: whoever comes is written into the new one; from time to time the old one is
 * forgotten and the new one grows old. So each user is known for at least one and at most two of these times, and
 * nothing has to be swept.
 */
export class Census {
  #recent = new Set<string>();
  #earlier = new Set<string>();
  #turnedMs: number;
  readonly #rememberMs: number;

  /** A user who was not seen for `rememberMs` is forgotten, half of it later at the latest. */
  constructor(rememberMs: number, nowMs: number) {
    this.#rememberMs = rememberMs;
    this.#turnedMs = nowMs;
  }

  /** More than this many are not told apart, so that no flood of invented users fills the memory. */
  static readonly most = 100_000;

  note(user: string, nowMs: number): void {
    this.#turn(nowMs);
    if (this.#recent.size < Census.most) this.#recent.add(user);
  }

  has(user: string, nowMs: number): boolean {
    this.#turn(nowMs);
    return this.#recent.has(user) || this.#earlier.has(user);
  }

  forget(user: string): void {
    this.#recent.delete(user);
    this.#earlier.delete(user);
  }

  count(nowMs: number): number {
    this.#turn(nowMs);
    let count = this.#recent.size;
    for (const user of this.#earlier) if (!this.#recent.has(user)) count++;
    return count;
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#turnedMs;
    if (passedMs < this.#rememberMs) return;
    this.#earlier = passedMs < 2 * this.#rememberMs ? this.#recent : new Set();
    this.#recent = new Set();
    this.#turnedMs = nowMs;
  }
}
