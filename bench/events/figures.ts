/** From samples to figures, and from figures to tables. */

export interface Summary {
  readonly count: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export function summary(samplesMs: readonly number[]): Summary {
  const sorted = [...samplesMs].sort((one, other) => one - other);
  return {
    count: sorted.length,
    medianMs: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  };
}

/** The nearest rank, so that it is always a value that was measured. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export const ms = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0)} ms`;

/** Words to the left, figures to the right: a column of figures has one in every row. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows];
  const columns = head.map((_, column) => ({
    width: Math.max(...lines.map((line) => (line[column] ?? '').length)),
    isOfFigures: rows.every((row) => /^\d/.test(row[column] ?? '')),
  }));
  return lines
    .map((line) =>
      columns
        .map(({ width, isOfFigures }, column) => {
          const cell = line[column] ?? '';
          return isOfFigures ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
