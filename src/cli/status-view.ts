/** `status` as data and as a picture: pure functions from what the arbiter says. */
import type { ClusterView } from '../members/cluster.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import { takeoverWorstCaseMs } from '../protocol/lease.ts';
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
    },
    balancers: view.balancers
      .filter((balancer) => balancer.seenAgoMs < 60_000)
      .map(({ name, seenAgoMs, facts }) => ({
        balancer: name,
        state: seenAgoMs < 5_000 ? 'up' : 'silent',
        seenAgoMs,
        ...facts,
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
  const safe = arbiter.synchronousStandbys.length > 0;
  const durability = safe
    ? `commits wait for ${arbiter.synchronousStandbys.join(', ')}`
    : 'no synchronous standby: a failover may lose the last moments';
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
    one.reason ?? '',
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
  const balancers = status.balancers.map((one) => [
    `  ${one.balancer}`,
    styled(one.state === 'up' ? 'green' : 'red', one.state),
    String((one as { listen?: string }).listen ?? '–'),
    String((one as { engine?: string }).engine ?? ''),
  ]);
  return [
    `${styled('bold', status.cluster ?? 'no cluster')}   a silent member's work is taken over within ${(status.takeoverWorstCaseMs / 1000).toFixed(1)} s at worst`,
    '',
    table([head.map((title) => styled('dim', title)), ...instances]),
    '',
    balancers.length > 0 ? table(balancers) : styled('red', '  no balancer'),
    '',
    `  arbiter  PostgreSQL ${arbiter.version} at ${arbiter.address}, timeline ${arbiter.timeline}, ${arbiter.roundTripMs.toFixed(1)} ms`,
    `           ${durability}`,
  ].join('\n');
}
