/**
 * A check is data and a question: what is claimed, and a function that looks for evidence and judges it. Checks know
 * nothing of each other. What several of them need is observed once, in their context.
 *
 * Green: proved just now. Yellow: it holds, with a limit that somebody should know. Red: users will notice, now or
 * at the next failure. Not checked: it could not be seen from here, and why; that is no proof of anything.
 */
import type { DoctorContext } from './context.ts';

export type Verdict = 'green' | 'yellow' | 'red' | 'not checked';

export interface Finding {
  readonly verdict: Verdict;
  /** What was seen, a sentence each, the important one first. */
  readonly evidence: readonly string[];
  /** What to do; always there unless the verdict is green. */
  readonly remedy?: string;
  /** The figures of the evidence, for scripts. */
  readonly figures?: Readonly<Record<string, number>>;
}

export const checkGroups = ['arbiter', 'instances', 'traffic', 'events', 'hosts'] as const;
export type CheckGroup = (typeof checkGroups)[number];

export interface Check {
  /** The group, a dot and a word; its section in docs/doctor.md has the same name. */
  readonly id: `${CheckGroup}.${string}`;
  /** What is so when it is green. */
  readonly claim: string;
  readonly run: (context: DoctorContext) => Promise<Finding>;
}

export const groupOf = ({ id }: Pick<Check, 'id'>): CheckGroup => id.split('.')[0] as CheckGroup;

type Figures = Readonly<Record<string, number>>;

export const green = (evidence: readonly string[], figures?: Figures): Finding => ({
  verdict: 'green',
  evidence,
  ...(figures ? { figures } : {}),
});

const withRemedy =
  (verdict: Exclude<Verdict, 'green'>) =>
  (evidence: readonly string[], remedy: string, figures?: Figures | undefined): Finding => ({
    verdict,
    evidence,
    remedy,
    ...(figures ? { figures } : {}),
  });

export const yellow = withRemedy('yellow');
export const red = withRemedy('red');
export const notChecked = withRemedy('not checked');

/** `shop-1, shop-2 and shop-3`. */
export const listed = (names: readonly string[]): string =>
  names.length < 2 ? (names[0] ?? 'none') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** `1 instance`, `2 instances`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
