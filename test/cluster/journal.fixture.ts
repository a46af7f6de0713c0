/**
 * The journal of the event tests: what executors do, written by themselves, a line of JSON each, appended at once,
 * so that it outlives whoever is killed. It is the account that does not come from the ledger.
 *
 * Work is made of steps, one every few milliseconds. A step that is in the journal was done, so an execution lasted
 * at least until its last one; and one that is dead, or was told to stop and obeyed, did nothing after it. Two
 * executions at once are seen if they overlap by more than one step.
 */
import { appendFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { processIdentity } from '../../src/platform/index.ts';
import type { JournalEntry } from '../../src/testing/ledger-checker.ts';

export const stepMs = 30;

/** What a payload asks of the work. */
export interface WorkOrder {
  readonly workMs?: number;
  /** For the second attempt and later ones. */
  readonly laterMs?: number;
  /** Works that long only if it is due at a multiple of this, else not at all. */
  readonly onlyEveryMs?: number;
  /** So many attempts fail before one succeeds. */
  readonly failures?: number;
  /** Writes a row into `public.effects`, in the transaction of the run. */
  readonly commit?: boolean;
  /** Does not listen to anybody who wants to end it. */
  readonly stubborn?: boolean;
  /** Of a command: starts another one that works as long. */
  readonly child?: boolean;
}

export interface WorkFacts {
  readonly event: string;
  readonly place: string;
  readonly dueMs: number;
  readonly attempt: number;
  readonly token: string;
  readonly agent: string;
  readonly cause: 'schedule' | 'manual';
}

export type Deed = 'began' | 'step' | 'completed' | 'failed' | 'aborted' | 'refused' | 'child';

export interface Note extends WorkFacts {
  readonly what: Deed;
  readonly atMs: number;
  readonly pid: number;
  /** With `aborted` and `refused`: why; with `began`: what came as the payload. */
  readonly detail?: unknown;
}

export function openJournal(folder: string, facts: WorkFacts): (what: Deed, detail?: unknown) => void {
  const file = join(folder, `${facts.agent}.jsonl`);
  return (what, detail) => {
    const note = { ...facts, pid: process.pid, what, atMs: Date.now(), detail };
    appendFileSync(file, `${JSON.stringify(note)}\n`);
  };
}

export function workMsOf(order: WorkOrder, { attempt, dueMs }: Pick<WorkFacts, 'attempt' | 'dueMs'>): number {
  const { workMs = 0, laterMs = workMs, onlyEveryMs = 1 } = order;
  if (dueMs % onlyEveryMs !== 0) return 0;
  return attempt > 1 ? laterMs : workMs;
}

export async function readNotes(folder: string): Promise<Note[]> {
  const notes: Note[] = [];
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.jsonl'))) {
    for (const line of (await readFile(join(folder, file), 'utf8')).split('\n'))
      if (line) notes.push(JSON.parse(line) as Note);
  }
  return notes.sort((one, other) => one.atMs - other.atMs);
}

/** `committed`: the tokens whose effects are in the database, for executors that died before they could say so. */
export function executionsOf(notes: readonly Note[], committed: ReadonlySet<string>): JournalEntry[] {
  const executions = new Map<string, Note[]>();
  for (const note of notes) {
    if (note.what === 'child') continue;
    const key = `${note.token} ${note.pid}`;
    executions.set(key, [...(executions.get(key) ?? []), note]);
  }
  return [...executions.values()].flatMap((ofOne) => {
    const [first] = ofOne;
    return first ? [{ ...first, beganMs: first.atMs, ...endOf(ofOne, committed.has(first.token)) }] : [];
  });
}

function endOf(notes: readonly Note[], isCommitted: boolean): Pick<JournalEntry, 'endedMs' | 'how'> {
  const lastWork = notes.findLast(({ what }) => what === 'began' || what === 'step');
  const endedMs = lastWork?.atMs;
  // The commit ends the run: what the handler does afterwards, such as saying so, is no part of it.
  if (isCommitted) return { endedMs, how: 'completed' };
  const completed = notes.find(({ what }) => what === 'completed');
  if (completed) return { endedMs: completed.atMs, how: 'completed' };
  if (notes.some(({ what }) => what === 'failed')) return { endedMs, how: 'failed' };
  if (notes.some(({ what }) => what === 'aborted' || what === 'refused')) return { endedMs, how: 'aborted' };
  const lives = lastWork !== undefined && processIdentity(lastWork.pid) !== undefined;
  return lives ? { endedMs: undefined, how: undefined } : { endedMs, how: 'died' };
}
