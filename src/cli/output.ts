/** What the commands share in speaking to people: errors, tables, colours where there is a terminal. */
import { readFileSync } from 'node:fs';
import { styleText } from 'node:util';
import type { HoldfastError } from '../support/errors.ts';

export type Style = Parameters<typeof styleText>[0];

/** Coloured on a terminal, plain elsewhere and with NO_COLOR. */
export const styled = (style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string =>
  styleText(style, text, { stream });

export function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Says what is wrong and what to do, on standard error, and sets the exit code. No stack: it is the user's error. */
export function failWith(error: HoldfastError): void {
  process.stderr.write(`${styled('red', 'error', process.stderr)} ${error.message}\n`);
  if (error.remedy) process.stderr.write(`${styled('dim', `  → ${error.remedy}`, process.stderr)}\n`);
  process.exitCode = error.exitCode;
}

export const printJson = (value: unknown): boolean =>
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);

/** Columns as wide as their widest cell; the last one is not padded. Cells may hold colours. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries())
      widths[index] = Math.max(widths[index] ?? 0, visibleLength(cell));
  }
  return rows
    .map((row) =>
      row
        .map((cell, index) =>
          index === row.length - 1 ? cell : cell + ' '.repeat((widths[index] ?? 0) - visibleLength(cell)),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what colours begin with
const visibleLength = (text: string): number => text.replace(/\x1b\[[0-9;]*m/g, '').length;
