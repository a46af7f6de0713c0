import { serverId } from './config-names.ts';
import { usersTable } from './config-sticky.ts';
import { refusalStatuses, refusalVariable } from './refusal-pages.ts';
import type { Runtime } from './runtime.ts';
import { parseRows, readSample } from './traffic.ts';
import type { TrafficBook } from './traffic-book.ts';

/**
 * Asks HAProxy for its counts, four times a second, because nobody tells them by himself; and at once when somebody
 * looks at them, so that what he sees when he looks again is new.
 */
const everyMs = 250;
const hurriedMs = 15;
/** More users than this are counted only of an instance that drains. */
const fewUsers = 2_000;

export interface StatusReaderOptions {
  readonly runtime: Runtime;
  readonly book: TrafficBook;
  readonly slots: () => ReadonlyMap<string, number>;
  readonly isDraining: (instance: string) => boolean;
  /** Do users have a cookie by which they are known? */
  readonly hasUsers: boolean;
}

export class StatusReader {
  readonly #runtime: Runtime;
  readonly #book: TrafficBook;
  readonly #slots: () => ReadonlyMap<string, number>;
  readonly #isDraining: (instance: string) => boolean;
  readonly #hasUsers: boolean;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #readMs = 0;
  #knownUsers = 0;
  #refusalsBefore: Readonly<Record<string, number>> = {};
  #refusalsTold: Readonly<Record<string, number>> = {};

  constructor(options: StatusReaderOptions) {
    this.#runtime = options.runtime;
    this.#book = options.book;
    this.#slots = options.slots;
    this.#isDraining = options.isDraining;
    this.#hasUsers = options.hasUsers;
  }

  begin(): void {
    this.#schedule(0);
  }

  /** Somebody looks. */
  hurry(): void {
    const sinceMs = performance.now() - this.#readMs;
    if (this.#timer !== undefined) this.#schedule(Math.max(hurriedMs - sinceMs, 0));
  }

  get refusals(): Readonly<Record<string, number>> {
    const all = { ...this.#refusalsBefore };
    for (const [status, count] of Object.entries(this.#refusalsTold))
      all[status] = (all[status] ?? 0) + count;
    return all;
  }

  /** HAProxy is another one, which counts from nothing. */
  startOver(): void {
    this.#refusalsBefore = this.refusals;
    this.#refusalsTold = {};
    this.#book.startOver();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#read(), ms);
    this.#timer.unref();
  }

  async #read(): Promise<void> {
    this.#timer = undefined;
    try {
      const slots = this.#slots();
      const counted = this.#counted(slots);
      const rows = ['show stat -1 3 -1', ...[...slots.values()].flatMap(serverQuestions)];
      const refused = refusalStatuses.map((status) => `get var proc.${refusalVariable(status)}`);
      const users = counted.map(([, slot]) => `show table ${usersTable} data.gpt0 eq ${slot}`);
      const answers = await this.#runtime.askAll([...rows, ...refused, 'show table', ...users]);
      const sample = readSample(answers.splice(0, rows.length).flatMap(parseRows));
      this.#refusalsTold = countsIn(answers.splice(0, refused.length), sample.unreadable);
      this.#knownUsers = Number(usersInUse.exec(answers.shift() ?? '')?.[1]);
      if (slots === this.#slots()) {
        this.#book.take(sample);
        for (const instance of slots.keys()) this.#book.noteUsers(instance, null);
        for (const [index, [instance]] of counted.entries()) {
          this.#book.noteUsers(instance, answers[index]?.match(/ key=/g)?.length ?? 0);
        }
      }
    } catch {
      // HAProxy is away; what was told last is told again
    }
    this.#readMs = performance.now();
    this.#schedule(everyMs);
  }

  /** Whose users are counted: HAProxy has to walk through all of them for that. */
  #counted(slots: ReadonlyMap<string, number>): [instance: string, slot: number][] {
    if (!this.#hasUsers) return [];
    return [...slots].filter(([instance]) => this.#knownUsers <= fewUsers || this.#isDraining(instance));
  }
}

const usersInUse = new RegExp(`# table: ${usersTable}, .*used:(\\d+)`);

const serverQuestions = (slot: number): string[] =>
  [serverId('main', slot), serverId('reserve', slot)].map((id) => `show stat -1 4 ${id}`);

/** Of the unreadable requests HAProxy counts those that were too slow as well; we count them by ourselves. */
function countsIn(answers: readonly string[], unreadable: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [index, answer] of answers.entries()) {
    const count = Number(/value=<(\d+)>/.exec(answer)?.[1] ?? 0);
    if (count > 0) counts[String(refusalStatuses[index])] = count;
  }
  const bad = (counts[400] ?? 0) + Math.max(unreadable - (counts[408] ?? 0), 0);
  return bad > 0 ? { ...counts, 400: bad } : counts;
}
