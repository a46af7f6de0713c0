/**
 * Who was here lately, in two generations: whoever comes is written into the new one; from time to time the old one is
 * forgotten and the new one grows old. So each user is known for at least one and at most two of these times, and
 * nothing has to be swept. A newcomer is known, but not counted before the second request: programs that keep no
 * cookies are newcomers each time.
 */
export class Census {
  /** True for those who came again. */
  #recent = new Map<number, boolean>();
  #earlier = new Map<number, boolean>();
  #turnedMs: number;
  readonly #rememberMs: number;

  /** A user who was not seen for `rememberMs` is forgotten, once more as much later at the latest. */
  constructor(rememberMs: number, nowMs: number) {
    this.#rememberMs = rememberMs;
    this.#turnedMs = nowMs;
  }

  /** More than this many are not told apart, so that no flood of invented users fills the memory. */
  static readonly most = 100_000;

  greet(newcomer: string, nowMs: number): void {
    this.#turn(nowMs);
    if (this.#recent.size < Census.most) this.#recent.set(keyOf(newcomer), false);
  }

  note(user: string, nowMs: number): void {
    this.#turn(nowMs);
    if (this.#recent.size < Census.most) this.#recent.set(keyOf(user), true);
  }

  has(user: string, nowMs: number): boolean {
    this.#turn(nowMs);
    const key = keyOf(user);
    return this.#recent.has(key) || this.#earlier.has(key);
  }

  forget(user: string): void {
    const key = keyOf(user);
    this.#recent.delete(key);
    this.#earlier.delete(key);
  }

  count(nowMs: number): number {
    this.#turn(nowMs);
    let count = 0;
    for (const cameAgain of this.#recent.values()) if (cameAgain) count++;
    for (const [key, cameAgain] of this.#earlier) if (cameAgain && this.#recent.get(key) !== true) count++;
    return count;
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#turnedMs;
    if (passedMs < this.#rememberMs) return;
    const isNext = passedMs < 2 * this.#rememberMs;
    this.#earlier = isNext ? this.#recent : new Map();
    this.#recent = new Map();
    this.#turnedMs = isNext ? this.#turnedMs + this.#rememberMs : nowMs;
  }
}

/**
 * Users by a number (FNV-1a): a hundred thousand texts that live for some seconds would keep the collector of garbage
 * busy. Two of so many users may share one, which a count does not notice.
 */
function keyOf(user: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < user.length; index++)
    hash = Math.imul(hash ^ user.charCodeAt(index), 0x01000193);
  return hash | 0;
}
