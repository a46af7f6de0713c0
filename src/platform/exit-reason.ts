import { constants } from 'node:os';
import type { ExitReason } from './platform.ts';

/** Exit codes in which the shell itself speaks, rather than the command. */
const shellCodes: Readonly<Record<number, string>> = {
  126: 'the command cannot be executed',
  127: 'command not found',
};

/** What `wait` said, in words. A shell reports a child that died of signal n as code 128 + n. */
export function exitReason(code: number | null, signal: string | null): ExitReason {
  return { code, signal, description: describe(code, signal) };
}

function describe(code: number | null, signal: string | null): string {
  if (signal !== null) return `was killed by ${signal}`;
  if (code === null) return 'ended in an unknown way';
  const meaning = shellCodes[code] ?? childSignal(code);
  return meaning === undefined ? `exited with code ${code}` : `exited with code ${code} (${meaning})`;
}

function childSignal(code: number): string | undefined {
  const found = Object.entries(constants.signals).find(([, number]) => number === code - 128);
  return found ? `a process of its own was killed by ${found[0]}` : undefined;
}
