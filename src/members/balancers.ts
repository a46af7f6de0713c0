/** Balancers report what they see and are told where the instances are: one statement for both. */
import type { Query } from '../database/arbiter.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import type { RoutingTable } from '../protocol/routing-table.ts';

/** What a balancer knows of the traffic to one instance. */
interface ReportedTraffic {
  readonly inFlight: number;
  /** Since its last request began or ended, or since the instance was listed. */
  readonly idleMs: number;
  /** The state that this balancer routes by. */
  readonly state: InstanceState;
  /** The balancer's own verdict. */
  readonly healthy: boolean;
  readonly requests: number;
  readonly replayed: number;
  readonly failed: number;
}

export interface BalancerFacts {
  readonly listen: string;
  readonly engine: string;
  readonly pid: number;
  readonly host: string;
  readonly traffic: Readonly<Record<string, ReportedTraffic>>;
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

/**
 * Has every balancer that is alive seen that this instance drains, and has none a request in flight or a user who
 * came within `quietMs`? Balancers report each second; one that was silent for five is not asked.
 */
export async function isDrained(query: Query, instance: string, quietMs: number): Promise<boolean> {
  const [row] = await query<{ drained: boolean }>(
    `select coalesce(bool_and(
       facts->'traffic'->$1->>'state' is distinct from 'up'
       and coalesce((facts->'traffic'->$1->>'inFlight')::int, 0) = 0
       and coalesce((facts->'traffic'->$1->>'idleMs')::float8, $2) >= $2), true) as drained
     from holdfast.balancer where seen_at > holdfast.now() - interval '5 seconds'`,
    [instance, quietMs],
  );
  return row?.drained ?? true;
}
