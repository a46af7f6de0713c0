/** `status` as data and as a picture: pure functions from what the arbiter says. */
import type { EventTotals } from '../events/administration.ts';
import type { ClusterView } from '../members/cluster.ts';
import { type Durability, durabilityOf, type ReplicationView } from '../members/durability.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import { takeoverWorstCaseMs } from '../protocol/lease.ts';
import { type BalancerRow, balancersText } from './balancers-view.ts';
import { type TotalsJson, totalsJson, totalsLines } from './events-totals-view.ts';
import { type Style, styled, table } from './output.ts';

export interface StatusInput {
  readonly view: ClusterView;
  /** The arbiter's address without its password. */
  readonly address: string;
  readonly roundTripMs: number;
  readonly lease: { readonly ttlMs: number; readonly heartbeatMs: number };
  readonly queryDeadlineMs: number;
  readonly sessions: Readonly<Record<string, number>>;
  readonly expected: readonly string[];
  readonly replication: ReplicationView;
  readonly events: EventTotals | { readonly unreadable: string };
}

export function statusJson(input: StatusInput) {
  const { view } = input;
  const members = new Map(view.members.map((member) => [member.instance, member]));
  const names = [...new Set([...input.expected, ...members.keys()])];
  return {
    cluster: view.cluster,
    arbiter: {
      ...view.arbiter,
      address: input.address,
      roundTripMs: input.roundTripMs,
      revision: view.revision,
      durability: durabilityOf(input.replication),
    },
    events: 'unreadable' in input.events ? input.events : totalsJson(input.events),
    balancers: view.balancers
      .filter((balancer) => balancer.seenAgoMs < 60_000)
      .map(({ name, seenAgoMs, facts }): BalancerRow & { readonly seenAgoMs: number } => ({
        ...facts,
        balancer: name,
        state: seenAgoMs < 5_000 ? 'up' : 'silent',
        seenAgoMs,
      })),
    instances: names.map((name) => {
      const member = members.get(name);
      const facts = member?.facts;
      const living = member !== undefined && !member.left && member.state !== 'lost';
      return {
        instance: name,
        state: (member?.state ?? 'down') as InstanceState,
        reason: member ? (living ? facts?.reason : member.endedBecause) : 'never joined',
        address: facts?.address ? `${facts.address.host}:${facts.address.port}` : null,
        pid: living ? (facts?.pid ?? null) : null,
        agentPid: living ? (facts?.agentPid ?? null) : null,
        host: facts?.host ?? null,
        incarnation: member?.incarnation ?? 0,
        leaseRemainingMs: living ? Math.max(0, member.leaseRemainingMs) : 0,
        revision: facts?.revision ?? null,
        sessions: input.sessions[name] ?? 0,
        healthPage: living ? (facts?.healthPage ?? null) : null,
        ...(living && facts?.leader ? { leader: true } : {}),
      };
    }),
    takeoverWorstCaseMs: takeoverWorstCaseMs(input.lease, input.queryDeadlineMs),
  };
}

export type Status = ReturnType<typeof statusJson>;

/** Exit code 0: everything that should be up is. */
export const isFine = (status: Status): boolean =>
  status.instances.length > 0 &&
  status.instances.every(({ state }) => state === 'up') &&
  status.balancers.some(({ state }) => state === 'up');

const stateStyles: Record<InstanceState, Style> = {
  up: 'green',
  starting: 'yellow',
  draining: 'yellow',
  maintenance: 'cyan',
  down: 'red',
  lost: 'red',
};

export function statusText(status: Status): string {
  const { arbiter } = status;
  const instances = status.instances.map((one) => [
    `  ${one.instance}`,
    styled(stateStyles[one.state], one.state),
    one.address ?? '–',
    String(one.pid ?? '–'),
    String(one.agentPid ?? '–'),
    String(one.incarnation),
    one.leaseRemainingMs > 0 ? `${(one.leaseRemainingMs / 1000).toFixed(1)} s` : '–',
    String(one.revision ?? '–'),
    String(one.sessions),
    one.reason ?? (one.leader ? 'leader' : ''),
  ]);
  const head = [
    '  instance',
    'state',
    'address',
    'pid',
    'agent',
    'incarnation',
    'lease',
    'revision',
    'sessions',
    '',
  ];
  return [
    `${styled('bold', status.cluster ?? 'no cluster')}   a silent member's work is taken over within ${(status.takeoverWorstCaseMs / 1000).toFixed(1)} s at worst`,
    '',
    table([head.map((title) => styled('dim', title)), ...instances]),
    '',
    balancersText(status.balancers),
    '',
    `  arbiter  PostgreSQL ${arbiter.version} at ${arbiter.address}, timeline ${arbiter.timeline}, ${arbiter.roundTripMs.toFixed(1)} ms`,
    `           ${styledPromise(arbiter.durability)}`,
    '',
    ...eventLines(status.events),
  ].join('\n');
}

const durabilityStyles: Record<Durability['kind'], Style> = {
  synchronous: 'green',
  asynchronous: 'yellow',
  none: 'yellow',
  stalled: 'red',
  hidden: 'yellow',
};

const styledPromise = ({ kind, promise }: Durability): string => styled(durabilityStyles[kind], promise);

function eventLines(events: TotalsJson | { readonly unreadable: string }): string[] {
  const lines =
    'unreadable' in events ? [styled('yellow', `cannot be read: ${events.unreadable}`)] : totalsLines(events);
  return lines.map((line, index) => `${index === 0 ? '  events   ' : '           '}${line}`);
}
