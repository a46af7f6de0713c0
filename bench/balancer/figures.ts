/** From samples to figures, and from figures to Markdown. */

export interface Summary {
  readonly count: number;
  readonly median: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export function summary(samples: readonly number[] | Float64Array): Summary {
  const sorted = Float64Array.from(samples).sort();
  return {
    count: sorted.length,
    median: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
    max: percentile(sorted, 1),
  };
}

/** The nearest rank, so that it is always a value that was measured. */
function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => summary(samples).median;

/** Least and greatest of some rounds. */
export function range(samples: readonly number[], digits: number): string {
  return `${Math.min(...samples).toFixed(digits)} .. ${Math.max(...samples).toFixed(digits)}`;
}

/** A Markdown table that can be read as it stands: words to the left, figures to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows];
  const columns = head.map((_, column) => ({
    width: Math.max(3, ...lines.map((line) => (line[column] ?? '').length)),
    isOfFigures: rows.every((row) => /^(\d|$)/.test(row[column] ?? '')),
  }));
  const written = (line: readonly string[]) =>
    columns.map(({ width, isOfFigures }, column) => {
      const cell = line[column] ?? '';
      return isOfFigures ? cell.padStart(width) : cell.padEnd(width);
    });
  const rule = columns.map(({ width, isOfFigures }) =>
    isOfFigures ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  );
  return [written(head), rule, ...rows.map(written)].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** A latency in the unit in which it is easiest to read. */
export function duration(ms: number): string {
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(2)} s`;
  return ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(2)} ms`;
}
