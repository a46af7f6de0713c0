/** Whose arbiter this is, and what the whole cluster looks like in one statement. */
import type { Query } from '../database/arbiter.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import { HoldfastError } from '../support/errors.ts';
import type { MemberFacts } from './membership.ts';

/**
 * Makes the arbiter this cluster's at the first call, and refuses (CLUSTER_MISMATCH) a cluster of another name.
 * `newStickyKey` is used only at the first call.
 */
export async function claimCluster(query: Query, name: string, newStickyKey: string): Promise<void> {
  const [row] = await query<{ name: string }>(
    `with claimed as (
       insert into holdfast.cluster (name, sticky_key) values ($1, $2) on conflict do nothing returning name)
     select name from claimed union all select name from holdfast.cluster limit 1`,
    [name, newStickyKey],
  );
  if (row && row.name !== name) {
    throw new HoldfastError(
      'CLUSTER_MISMATCH',
      `The arbiter belongs to the cluster "${row.name}", not "${name}".`,
      {
        remedy: 'Use a database of its own for each cluster, or correct `cluster:` in the configuration.',
      },
    );
  }
}

/** The key from which balancers make their cookies, and whatever else the parts of a cluster know each other by. */
export async function stickyKeyOf(query: Query): Promise<string> {
  const [row] = await query<{ key: string }>('select sticky_key as key from holdfast.cluster');
  return row?.key ?? '';
}

interface MemberView {
  readonly instance: string;
  readonly state: InstanceState;
  readonly incarnation: number;
  readonly token: string;
  /** Negative when the lease ran out and nobody has declared it lost yet. */
  readonly leaseRemainingMs: number;
  readonly left: boolean;
  readonly endedBecause: string | null;
  readonly maintenance: readonly string[];
  readonly facts: MemberFacts;
}

interface BalancerView {
  readonly name: string;
  readonly seenAgoMs: number;
  readonly facts: Record<string, unknown>;
}

interface ArbiterView {
  readonly version: string;
  readonly timeline: number;
  readonly startedAt: string;
  /** Names of the standbys that a commit waits for; empty: a failover may lose the last commits. */
  readonly synchronousStandbys: readonly string[];
}

export interface ClusterView {
  readonly cluster: string | null;
  readonly arbiter: ArbiterView;
  readonly members: readonly MemberView[];
  readonly balancers: readonly BalancerView[];
  readonly revision: number | null;
}

export async function viewCluster(query: Query): Promise<ClusterView> {
  const [row] = await query<{ view: ClusterView }>(`select jsonb_build_object(
    'cluster', (select name from holdfast.cluster),
    'revision', (select max(number) from holdfast.revision),
    'arbiter', jsonb_build_object(
      'version', current_setting('server_version'),
      'timeline', holdfast.timeline(),
      'startedAt', pg_postmaster_start_time(),
      'synchronousStandbys', (select coalesce(jsonb_agg(application_name), '[]')
        from pg_stat_replication where sync_state in ('sync', 'quorum'))),
    'members', (select coalesce(jsonb_agg(jsonb_build_object(
        'instance', instance, 'state', state, 'incarnation', incarnation, 'token', token::text,
        'leaseRemainingMs', round(extract(epoch from lease_until - holdfast.now()) * 1000),
        'left', left_at is not null, 'endedBecause', ended_because,
        'maintenance', to_jsonb(maintenance), 'facts', facts) order by instance), '[]')
      from holdfast.member),
    'balancers', (select coalesce(jsonb_agg(jsonb_build_object(
        'name', name, 'seenAgoMs', round(extract(epoch from holdfast.now() - seen_at) * 1000),
        'facts', facts) order by name), '[]')
      from holdfast.balancer)) as view`);
  if (!row) throw new HoldfastError('ARBITER_UNAVAILABLE', 'The arbiter gave no answer about the cluster.');
  return row.view;
}
