/**
 * What the clock of this machine shows, finer than a millisecond. All processes of the benchmark and PostgreSQL live
 * on one machine, so their readings can be compared. The finer reading counts on from the process's start and could
 * drift from the system's clock when that is slewed; it is therefore never let out of the system's own millisecond.
 */
export function wallMs(): number {
  const fineMs = performance.timeOrigin + performance.now();
  const coarseMs = Date.now();
  return Math.min(Math.max(fineMs, coarseMs), coarseMs + 0.999);
}
