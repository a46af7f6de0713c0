/** What the doctor found, as data and as text: pure functions of its results. */
import type { CheckGroup, Verdict } from '../doctor/check.ts';
import { type Counts, countVerdicts, type Result } from '../doctor/examine.ts';
import { plain, wrapped } from './events-times.ts';
import { type Style, styled } from './output.ts';

const looks: Readonly<Record<Verdict, { readonly mark: string; readonly style: Style }>> = {
  green: { mark: '✓', style: 'green' },
  yellow: { mark: '!', style: 'yellow' },
  red: { mark: '✗', style: 'red' },
  'not checked': { mark: '–', style: 'dim' },
};

export const groupTitles: Readonly<Record<CheckGroup, string>> = {
  arbiter: 'Arbiter',
  instances: 'Instances',
  traffic: 'Traffic',
  events: 'Scheduled events',
  hosts: 'Hosts',
};

const arrow = (text: string): string => text.replace(/^ {8}/, '      → ');

/** One result as a paragraph: verdict, claim, evidence, and what to do. Evidence may hold what others have written. */
export function resultText(result: Result, width: number): string {
  const { id, verdict, claim, evidence, remedy } = result;
  const { mark, style } = looks[verdict];
  const title = verdict === 'not checked' ? `${claim}: not checked` : claim;
  return [
    `  ${styled(style, mark)} ${styled(verdict === 'green' ? 'reset' : style, title)}  ${styled('dim', id)}`,
    ...evidence.map((sentence) => wrapped(plain(sentence), width, '      ')),
    ...(remedy === undefined ? [] : [styled('cyan', arrow(wrapped(plain(remedy), width, '        ')))]),
  ].join('\n');
}

export function summaryText(results: readonly Result[], tookMs: number): string {
  const counts = countVerdicts(results);
  const part = (verdict: Verdict) =>
    styled(counts[verdict] > 0 ? looks[verdict].style : 'dim', `${counts[verdict]} ${verdict}`);
  const verdicts: readonly Verdict[] = ['green', 'yellow', 'red', 'not checked'];
  const seconds = (tookMs / 1_000).toFixed(1);
  const reds = results.filter(({ verdict }) => verdict === 'red').map(({ id }) => id);
  return [
    `${verdicts.map(part).join(', ')}  ${styled('dim', `in ${seconds} s; what each means: docs/doctor.md`)}`,
    ...(reds.length > 0 ? [styled('red', `red: ${reds.join(', ')}`)] : []),
  ].join('\n');
}

export interface Report {
  readonly cluster: string | null;
  readonly at: string;
  readonly counts: Counts;
  readonly checks: readonly Result[];
}

export const reportJson = (cluster: string | null, at: Date, results: readonly Result[]): Report => ({
  cluster,
  at: at.toISOString(),
  counts: countVerdicts(results),
  checks: results,
});
