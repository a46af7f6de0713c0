/** What happened in a run: counted for tests, in words for people, and as a digest that tells whether two were equal. */
import { createHash } from 'node:crypto';
import type { Execution } from './arbiter.ts';

export class Chronicle {
  readonly happened = new Map<string, number>();
  readonly trace: string[] = [];
  readonly #digest = createHash('sha256');
  readonly #nowMs: () => number;
  readonly #lines: number;
  #violation: Error | undefined;

  constructor(nowMs: () => number, lines: number) {
    this.#nowMs = nowMs;
    this.#lines = lines;
  }

  /** The first one: what comes after it may follow from it. */
  get violation(): Error | undefined {
    return this.#violation;
  }

  note(line: string): void {
    const text = `${this.#nowMs().toFixed(3).padStart(10)} ${line}`;
    this.#digest.update(text);
    this.trace.push(text);
    if (this.trace.length > this.#lines) this.trace.shift();
  }

  count(kind: string, times = 1): void {
    this.happened.set(kind, (this.happened.get(kind) ?? 0) + times);
  }

  violate(error: Error): void {
    if (this.#violation) return;
    this.#violation = error;
    this.note(`-- ${error.message}`);
  }

  /** To be called once, at the end. */
  digest(): string {
    return this.#digest.digest('hex');
  }

  executed({ caller, text, values, rows: [row] }: Execution): void {
    const call = callOf(text);
    const asked = call === 'event_claim' || call === 'event_finish' ? values.at(-1) : '';
    this.note(`${caller.agentId} ${call} ${asked} ${JSON.stringify(row)}`);
    if (call === 'event_claim') {
      const answer = row?.answer as { outcome: string; answers?: { outcome: string }[] };
      if (answer.outcome !== 'answered') this.count(`claims ${answer.outcome}`);
      for (const { outcome } of answer.answers ?? []) this.count(`claim ${outcome}`);
    } else if (call === 'event_finish') {
      for (const { outcome } of (row?.answers as { outcome: string }[] | undefined) ?? [])
        this.count(`result ${outcome}`);
    }
  }
}

/** The function or table that a statement is about. */
export const callOf = (text: string): string | undefined => /holdfast\.(?!ms)(\w+)/.exec(text)?.[1];
