import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { jsonFields, lineSplitter } from '../protocol/lines.ts';
import type { OutputLine } from './platform.ts';

export interface OutputReader {
  /** Takes what is still to be read, the unfinished last line included, and reads no more. */
  finish(): Promise<void>;
}

/** A process that left the group may hold the stream open for ever: its words are not waited for. */
const lastWordsMs = 500;

/** Passes on what a stream brings, line by line. */
export function readLines(
  stream: OutputLine['stream'],
  readable: Readable,
  onOutput: (line: OutputLine) => void,
): OutputReader {
  const splitter = lineSplitter();
  const pass = (lines: readonly string[]): void => {
    for (const line of lines) {
      const fields = jsonFields(line);
      onOutput(fields ? { stream, line, fields } : { stream, line });
    }
  };
  const closed = new Promise<void>((resolve) => readable.once('close', () => resolve()));
  readable.on('data', (bytes: Buffer) => pass(splitter.push(bytes)));
  // What was read before a read error counts; the stream closes, and that is waited for.
  readable.on('error', () => undefined);

  return {
    async finish() {
      const limit = new AbortController();
      await Promise.race([
        closed,
        sleep(lastWordsMs, undefined, { signal: limit.signal }).catch(() => undefined),
      ]);
      limit.abort();
      readable.destroy();
      pass(splitter.end());
    },
  };
}
