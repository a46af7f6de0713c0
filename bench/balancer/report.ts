/** What a part of the benchmark hands over, and how it gets into the documentation. */
import { readFile, writeFile } from 'node:fs/promises';

export interface Target {
  readonly what: string;
  readonly measured: string;
  readonly wanted: string;
  readonly isMet: boolean;
}

export interface PartReport {
  /** Every sample, for `--json`. */
  readonly results: unknown;
  readonly markdown: string;
  readonly targets: readonly Target[];
}

type Written = (value: number) => string;

/** A figure that is not a number was not measured, and is never met. */
export const atMost = (what: string, value: number, limit: number, written: Written): Target => ({
  what,
  measured: written(value),
  wanted: `at most ${written(limit)}`,
  isMet: value <= limit,
});

export const atLeast = (what: string, value: number, limit: number, written: Written): Target => ({
  what,
  measured: written(value),
  wanted: `at least ${written(limit)}`,
  isMet: value >= limit,
});

/** Replaces what stands between the two comments of a part; everything around them stays as it is. */
export async function writeSection(file: URL, part: string, markdown: string): Promise<void> {
  const begin = `<!-- bench balancer ${part}: begin -->`;
  const end = `<!-- bench balancer ${part}: end -->`;
  const document = await readFile(file, 'utf8');
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from)
    throw new Error(`${file.pathname} has no place for "${part}": ${begin} … ${end}`);
  const written = `${document.slice(0, from + begin.length)}\n\n${markdown}\n\n${document.slice(to)}`;
  await writeFile(file, written);
}
