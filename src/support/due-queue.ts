/** What comes next, earliest first: a binary heap, because there may be ten thousand of them. */
export class DueQueue<Item> {
  readonly #heap: Entry<Item>[] = [];
  #pushed = 0;

  /** Equal moments come out in the order in which they came in. */
  push(atMs: number, item: Item): void {
    const heap = this.#heap;
    const entry = { atMs, order: this.#pushed++, item };
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  /** Undefined when empty. */
  nextAtMs(): number | undefined {
    return this.#heap[0]?.atMs;
  }

  /** The earliest one, if its moment is not later than `untilMs`. */
  pop(untilMs = Number.POSITIVE_INFINITY): { readonly atMs: number; readonly item: Item } | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > untilMs) return undefined;
    const last = this.#heap.pop();
    if (last !== undefined && last !== first) this.#sink(last);
    return first;
  }

  #sink(last: Entry<Item>): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      const left = heap[2 * index + 1];
      const right = heap[2 * index + 2];
      const smaller = right && left && isBefore(right, left) ? right : left;
      if (!smaller || !isBefore(smaller, last)) break;
      heap[index] = smaller;
      index = smaller === left ? 2 * index + 1 : 2 * index + 2;
    }
    heap[index] = last;
  }
}

interface Entry<Item> {
  readonly atMs: number;
  readonly order: number;
  readonly item: Item;
}

const isBefore = (one: Entry<unknown>, other: Entry<unknown>): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
