/**
 * Runs checks one after the other, so that none disturbs the measurements of another, and gives each a deadline. A
 * check that takes too long or throws is a finding like any other: it would be strange if what is broken could keep
 * the doctor from saying so.
 */
import type { Clock } from '../support/clock.ts';
import { formatDuration } from '../support/duration.ts';
import { HoldfastError } from '../support/errors.ts';
import {
  type Check,
  type CheckGroup,
  type Finding,
  groupOf,
  notChecked,
  red,
  type Verdict,
} from './check.ts';
import type { DoctorContext } from './context.ts';

export interface Result extends Finding {
  readonly id: string;
  readonly group: CheckGroup;
  readonly claim: string;
  readonly tookMs: number;
}

export interface ExamineOptions {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>;
  readonly deadlineMs: number;
  readonly onBegin?: (check: Check) => void;
  readonly onResult?: (result: Result) => void;
}

export async function examine(
  checks: readonly Check[],
  context: DoctorContext,
  { clock, deadlineMs, onBegin, onResult }: ExamineOptions,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const check of checks) {
    onBegin?.(check);
    const startedMs = clock.monotonicMs();
    const finding = await findingOf(check, context, { clock, deadlineMs });
    const tookMs = Math.round(clock.monotonicMs() - startedMs);
    const result = { id: check.id, group: groupOf(check), claim: check.claim, ...finding, tookMs };
    results.push(result);
    onResult?.(result);
  }
  return results;
}

async function findingOf(
  check: Check,
  context: DoctorContext,
  { clock, deadlineMs }: Pick<ExamineOptions, 'clock' | 'deadlineMs'>,
): Promise<Finding> {
  const over = new AbortController();
  const late = clock
    .sleep(deadlineMs, over.signal)
    .then(() =>
      red(
        [`The check had no result within ${formatDuration(deadlineMs)}.`],
        'Something that it asked neither answers nor refuses. Look at the checks around it, then run this one alone with --only.',
      ),
    );
  try {
    return await Promise.race([check.run(context).catch(asFinding), late]);
  } finally {
    over.abort();
  }
}

/** No such table, or function. */
const missingStates = ['42P01', '42883'];

/** An arbiter that is away is one finding, that of `arbiter.primary`, and not thirty; so is a table that is missing. */
function asFinding(error: unknown): Finding {
  if (error instanceof HoldfastError && error.code.startsWith('ARBITER_')) {
    return notChecked([`The arbiter was needed for it: ${error.message}`], 'See arbiter.primary.');
  }
  const { message = String(error), code } = error as Error & { code?: string };
  if (code !== undefined && missingStates.includes(code)) {
    return notChecked([`The arbiter lacks what was needed for it: ${message}.`], 'See arbiter.tables.');
  }
  return red(
    [`The check itself failed: ${message}`],
    'If the message does not say what to do, report it with the output of --json.',
  );
}

export type Counts = Readonly<Record<Verdict, number>>;

export function countVerdicts(results: readonly Pick<Result, 'verdict'>[]): Counts {
  const counts = { green: 0, yellow: 0, red: 0, 'not checked': 0 };
  for (const { verdict } of results) counts[verdict]++;
  return counts;
}
