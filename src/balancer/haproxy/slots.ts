/**
 * Which instance has which slot. An instance keeps its slot as long as it is in the table, because its connections and
 * its counts are there. A newcomer gets the first free one; one that was given up lately only when no other is left,
 * so that what still runs there is not counted as somebody else's.
 */
export interface SlotPlan {
  readonly slots: ReadonlyMap<string, number>;
  /** Instances for which there is none. */
  readonly without: readonly string[];
}

export function assignSlots(
  held: ReadonlyMap<string, number>,
  instances: readonly string[],
  count: number,
): SlotPlan {
  const slots = new Map<string, number>();
  for (const instance of instances) {
    const slot = held.get(instance);
    if (slot !== undefined && slot <= count) slots.set(instance, slot);
  }
  const taken = new Set(slots.values());
  const lately = new Set(held.values());
  const numbers = Array.from({ length: count }, (_, index) => index + 1).filter((slot) => !taken.has(slot));
  const free = [
    ...numbers.filter((slot) => !lately.has(slot)),
    ...numbers.filter((slot) => lately.has(slot)),
  ];
  const without: string[] = [];
  for (const instance of instances) {
    if (slots.has(instance)) continue;
    const slot = free.shift();
    if (slot === undefined) without.push(instance);
    else slots.set(instance, slot);
  }
  return { slots, without };
}
