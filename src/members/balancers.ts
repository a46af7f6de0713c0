/** Balancers report what they see and are told where the instances are: one statement for both. */
import type { CertificateLife } from '../balancer/certificates.ts';
import type { ClientTraffic, InstanceTraffic } from '../balancer/engine.ts';
import type { Loss } from '../balancer/kill-ledger.ts';
import type { Query } from '../database/arbiter.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';

type Figures =
  | 'healthy'
  | 'inFlight'
  | 'users'
  | 'requests'
  | 'responses'
  | 'replayed'
  | 'failed'
  | 'unknown';

/** What a balancer knows of the traffic to one instance. */
export interface ReportedTraffic extends Pick<InstanceTraffic, Figures> {
  /** Since its last request began or ended, or since the instance was listed. */
  readonly idleMs: number;
  /** The state that this balancer routes by. */
  readonly state: InstanceState;
}

export interface BalancerFacts {
  readonly listen: string;
  readonly engine: string;
  readonly pid: number;
  readonly host: string;
  /** The address of its admin page; null: it has none. */
  readonly admin: string | null;
  readonly traffic: Readonly<Record<string, ReportedTraffic>>;
  readonly clients: ClientTraffic;
  /** What the latest deaths of instances cost, oldest first. */
  readonly losses: readonly Loss[];
  readonly certificates: readonly CertificateLife[];
}

/** Rows of balancers that have been silent this long are removed by the others. */
const forgetAfterSeconds = 3_600;

export async function balancerHeartbeat(
  query: Query,
  name: string,
  facts: BalancerFacts,
): Promise<RoutingTable> {
  const [row] = await query<{ routing: RoutingTable }>(
    `with seen as (
       insert into holdfast.balancer (name, facts, seen_at) values ($1, $2, holdfast.now())
       on conflict (name) do update set facts = excluded.facts, seen_at = excluded.seen_at),
     forgotten as (
       delete from holdfast.balancer
       where seen_at < holdfast.now() - ${forgetAfterSeconds} * interval '1 second' and name <> $1)
     select jsonb_build_object(
       'cluster', c.name, 'stickyKey', c.sticky_key,
       'instances', (select coalesce(jsonb_agg(jsonb_build_object(
           'instance', m.instance, 'state', m.state,
           'host', m.facts->'address'->>'host', 'port', (m.facts->'address'->>'port')::int) order by m.instance), '[]')
         from holdfast.member m where m.facts->'address' <> 'null')) as routing
     from holdfast.cluster c`,
    [name, facts],
  );
  return row?.routing ?? { cluster: '', stickyKey: '', instances: [] };
}

export async function balancerLeave(query: Query, name: string): Promise<void> {
  await query('delete from holdfast.balancer where name = $1', [name]);
}

/** How far an instance that drains has come. */
export interface DrainProgress {
  /** Nobody is sent there any more, and nobody would miss it. */
  readonly isDrained: boolean;
  readonly inFlight: number;
  /** Sticky users who are still there; null where no balancer can tell. Who came by two balancers counts twice. */
  readonly users: number | null;
}

/**
 * Has every balancer that is alive seen that this instance drains, and has none a request in flight or a user there?
 * A balancer that cannot tell users apart has none when no request came within `quietMs`. Balancers report each
 * second; one that was silent for five is not asked.
 */
export async function drainProgress(query: Query, instance: string, quietMs: number): Promise<DrainProgress> {
  const [row] = await query<DrainProgress>(
    `with seen as (
       select facts->'traffic'->$1->>'state' as state,
         coalesce((facts->'traffic'->$1->>'inFlight')::int, 0) as in_flight,
         coalesce((facts->'traffic'->$1->>'idleMs')::float8, $2) as idle_ms,
         (facts->'traffic'->$1->>'users')::int as users
       from holdfast.balancer where seen_at > holdfast.now() - interval '5 seconds')
     select coalesce(bool_and(state is distinct from 'up' and in_flight = 0
         and case when users is null then idle_ms >= $2 else users = 0 end), true) as "isDrained",
       coalesce(sum(in_flight), 0)::int as "inFlight", sum(users)::int as users
     from seen`,
    [instance, quietMs],
  );
  return row ?? { isDrained: true, inFlight: 0, users: null };
}
