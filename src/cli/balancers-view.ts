/**
 * The balancers as `status` shows them: a line of figures each, and beneath it only what somebody should know: where
 * the users are, what the latest deaths of instances cost, and which certificate ends soon. A balancer of another
 * version may report less; what it does not say is a dash.
 */
import { describeLoss } from '../balancer/kill-ledger.ts';
import type { BalancerFacts, ReportedTraffic } from '../members/balancers.ts';
import { plain, zoneTime } from './events-times.ts';
import { type Style, styled, table } from './output.ts';

export interface BalancerRow extends Partial<BalancerFacts> {
  readonly balancer: string;
  readonly state: string;
}

const mostLosses = 3;
const soonDays = 30;
const urgentDays = 7;

export function balancersText(balancers: readonly BalancerRow[]): string {
  if (balancers.length === 0) return styled('red', '  no balancer');
  const [head = '', ...lines] = table([heading, ...balancers.map(figures)]).split('\n');
  const withNotes = balancers.flatMap((one, index) => [
    lines[index] ?? '',
    ...notes(one).map((note) => `    ${note}`),
  ]);
  return [head, ...withNotes].join('\n');
}

const heading = [
  '  balancer',
  'state',
  'address',
  'engine',
  '2xx',
  '3xx',
  '4xx',
  '5xx',
  'replayed',
  'failed',
  'unknown fate',
].map((title) => styled('dim', title));

function figures(one: BalancerRow): string[] {
  const traffic = Object.values(one.traffic ?? {});
  const total = (figure: (instance: Partial<ReportedTraffic>) => number | undefined): number | undefined =>
    traffic.reduce<number | undefined>((sum, instance) => {
      const value = figure(instance);
      return sum === undefined || value === undefined ? undefined : sum + value;
    }, 0);
  return [
    `  ${one.balancer}`,
    styled(one.state === 'up' ? 'green' : 'red', one.state),
    one.listen ?? '–',
    one.engine ?? '–',
    ...[1, 2, 3, 4].map((index) => counted(total(({ responses }) => responses?.[index]))),
    counted(total(({ replayed }) => replayed)),
    counted(
      total(({ failed }) => failed),
      'yellow',
    ),
    counted(
      total(({ unknown }) => unknown),
      'yellow',
    ),
  ];
}

/** Digits in groups; in a colour where it is one too many. */
function counted(count: number | undefined, style?: Style): string {
  if (count === undefined) return '–';
  const text = count.toLocaleString('en');
  return style !== undefined && count > 0 ? styled(style, text) : text;
}

function notes(one: BalancerRow): string[] {
  const users = Object.entries(one.traffic ?? {})
    .filter(([, { users: some }]) => typeof some === 'number')
    .map(([instance, { users: some }]) => `${instance} ${some}`);
  const losses = (one.losses ?? [])
    .slice(-mostLosses)
    .map((loss) =>
      styled(
        loss.failed > 0 ? 'yellow' : 'dim',
        `${zoneTime(loss.atWallMs, 'UTC')} ${plain(describeLoss(loss))}`,
      ),
    );
  const ending = (one.certificates ?? [])
    .filter(({ daysLeft }) => daysLeft < soonDays)
    .map(({ certificate, names, daysLeft }) =>
      styled(
        daysLeft < urgentDays ? 'red' : 'yellow',
        `${plain(certificate)} (${plain(names.join(', '))}) ${endsIn(daysLeft)}`,
      ),
    );
  return [...(users.length > 0 ? [`users: ${users.join(', ')}`] : []), ...losses, ...ending];
}

function endsIn(daysLeft: number): string {
  if (daysLeft < 0) return 'has ended: browsers refuse it';
  return daysLeft === 0 ? 'ends today' : `ends in ${daysLeft} ${daysLeft === 1 ? 'day' : 'days'}`;
}
