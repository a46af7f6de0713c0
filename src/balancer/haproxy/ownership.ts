import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeWhole } from './whole-file.ts';

/**
 * Who answers for the HAProxy of a folder: whoever came last. When a new process takes it over from an old one, the old
 * one finds another name here than its own, and neither stops nor restarts what is not its any more.
 */
export class Ownership {
  readonly #path: string;
  readonly #name = `${process.pid} ${randomUUID()}`;

  constructor(path: string) {
    this.#path = path;
  }

  take(): Promise<void> {
    return writeWhole(this.#path, this.#name);
  }

  /** At once, because it is asked when a process ends as well. */
  get isOurs(): boolean {
    try {
      return readFileSync(this.#path, 'utf8') === this.#name;
    } catch {
      return true; // nobody else has said that it is his
    }
  }
}
