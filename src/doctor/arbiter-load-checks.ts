/** How the arbiter is reached: enough connections, soon enough, and by a way on which notifications arrive. */
import { poolSizes } from '../database/pools.ts';
import { type Check, counted, type Finding, green, red, yellow } from './check.ts';
import { clusterFacts } from './cluster-facts.ts';
import type { DoctorContext } from './context.ts';

interface Connections {
  readonly max: number;
  readonly reserved: number;
  /** Client connections by application_name, of every database of the server. */
  readonly used: readonly { readonly name: string; readonly count: number }[];
}

async function viewConnections({ arbiter }: DoctorContext): Promise<Connections> {
  const [row] = await arbiter.query<Connections>(
    `select current_setting('max_connections')::int as max,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true), '0')::int as reserved,
       (select coalesce(jsonb_agg(jsonb_build_object('name', a.application_name, 'count', a.count)), '[]')
        from (select application_name, count(*) from pg_stat_activity
          where backend_type = 'client backend'
            or backend_type is null and datid is not null -- another role's, seen without the rights of pg_monitor
          group by application_name) a) as used`,
  );
  if (!row) throw new Error('the figures of the connections are one row');
  return row;
}

export interface Budget extends Connections {
  readonly instances: number;
  readonly balancers: number;
  readonly hasKeys: boolean;
}

/** A pool and, beside it, the connection that listens. */
const withListener = (pool: number): number => pool + 1;

export function judgeConnections({ max, reserved, used, instances, balancers, hasKeys }: Budget): Finding {
  const usable = max - reserved;
  const inUse = used.reduce((sum, { count }) => sum + count, 0);
  const isOurs = (name: string) => name.startsWith('holdfast');
  const others = used.filter(({ name }) => !isOurs(name)).reduce((sum, { count }) => sum + count, 0);
  const perInstance = withListener(poolSizes.agent) + withListener(poolSizes.sessions) + poolSizes.events;
  const perBalancer = withListener(poolSizes.balancer) + (hasKeys ? poolSizes.balancerKeys : 0);
  const atMost = instances * perInstance + balancers * perBalancer;
  const figures = { inUse, usable, maxConnections: max, reserved, poolsAtMost: atMost, others };
  const evidence = [
    `${inUse} of ${usable} usable connections are open (max_connections ${max}, ${reserved} reserved).`,
    `At their limits Holdfast's pools hold ${atMost}: ${counted(instances, 'instance')} with ${perInstance} each (agent, sessions, events), ${counted(balancers, 'balancer')} with ${perBalancer}.`,
    `Others hold ${others} now, the application's own pools among them.`,
  ];
  const remedy =
    'Raise max_connections (with a restart of PostgreSQL), or give the application smaller pools of its own.';
  if (inUse >= usable * 0.9) return red(evidence, remedy, figures);
  if (atMost + others > usable) return red(evidence, remedy, figures);
  if (atMost + others > usable * 0.8) return yellow(evidence, remedy, figures);
  return green(evidence, figures);
}

async function connections(context: DoctorContext): Promise<Finding> {
  const { configuration, view } = await clusterFacts(context);
  return judgeConnections({
    ...(await viewConnections(context)),
    instances: Math.max(configuration.app.instances.length, view.members.filter(({ left }) => !left).length),
    balancers: Math.max(1, view.balancers.filter(({ seenAgoMs }) => seenAgoMs < 60_000).length),
    hasKeys: configuration.balancer.idempotency !== undefined,
  });
}

export interface Latencies {
  readonly readMs: readonly number[];
  readonly commitMs: readonly number[];
  readonly heartbeatMs: number;
}

/** The smallest value that so many per cent of them do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const value = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
  return Math.round(value * 10) / 10;
}

export function judgeLatency({ readMs, commitMs, heartbeatMs }: Latencies): Finding {
  const [commitP50, commitP99, readP50, readP99] = [
    percentile(commitMs, 50),
    percentile(commitMs, 99),
    percentile(readMs, 50),
    percentile(readMs, 99),
  ];
  const evidence = [
    `A commit takes ${commitP50} ms (median), ${percentile(commitMs, 95)} ms (95 %), ${commitP99} ms (99 %) of ${commitMs.length}.`,
    `A read takes ${readP50} ms (median), ${readP99} ms (99 %) of ${readMs.length}. A heartbeat, which is a commit, is due each ${heartbeatMs} ms.`,
  ];
  const figures = { commitP50Ms: commitP50, commitP99Ms: commitP99, readP50Ms: readP50, readP99Ms: readP99 };
  const remedy =
    'Look at the disk of the arbiter (WAL on a slow or busy one), its network, and a synchronous standby that is far away; or lengthen lease.heartbeat and lease.ttl.';
  if (commitP99 > heartbeatMs) return red(evidence, remedy, figures);
  if (commitP99 > heartbeatMs / 4) return yellow(evidence, remedy, figures);
  return green(evidence, figures);
}

/** Waits for disk and standby as a heartbeat does, and leaves nothing behind but a message in the log. */
const commitNothing = `select pg_logical_emit_message(true, 'holdfast doctor', '')`;

async function latency(context: DoctorContext): Promise<Finding> {
  const { configuration } = await clusterFacts(context);
  const { arbiter, clock } = context;
  const measured = async (statement: string, times: number) => {
    const tookMs: number[] = [];
    for (let i = 0; i < times; i++) {
      const sentMs = clock.monotonicMs();
      await arbiter.query(statement);
      tookMs.push(clock.monotonicMs() - sentMs);
    }
    return tookMs;
  };
  await arbiter.query('select 1'); // the connection is not what is measured
  const readMs = await measured('select 1', 100);
  return judgeLatency({
    readMs,
    commitMs: await measured(commitNothing, 50),
    heartbeatMs: configuration.lease.heartbeatMs,
  });
}

const heardWithinMs = 3_000;

/**
 * Whether notifications arrive on the way that was configured. A pooler in transaction mode accepts LISTEN and lends
 * the connection to somebody else, so that nothing is ever heard. It is found by trying, not by its name.
 */
async function notifications({ arbiter, clock, newMark }: DoctorContext): Promise<Finding> {
  await arbiter.query('select 1'); // an arbiter that is away is another finding
  const channel = `holdfast_doctor_${newMark()}`;
  const heard = new AbortController();
  const connected = new AbortController();
  let sentMs = 0;
  let tookMs = 0;
  const listener = arbiter.listen([channel], {
    onNotify() {
      tookMs = Math.round((clock.monotonicMs() - sentMs) * 10) / 10;
      heard.abort();
    },
    onConnect: () => connected.abort(),
  });
  try {
    await clock.sleep(heardWithinMs, connected.signal);
    if (!connected.signal.aborted) {
      return red(
        [`No connection that listens could be opened within ${heardWithinMs} ms.`],
        'Look at arbiter.connections, and at what stands between here and PostgreSQL.',
      );
    }
    sentMs = clock.monotonicMs();
    await arbiter.query('select pg_notify($1, $2)', [channel, 'heard?']);
    await clock.sleep(heardWithinMs, heard.signal);
  } finally {
    await listener.close();
  }
  if (heard.signal.aborted)
    return green([`A notification arrived after ${tookMs} ms.`], { heardAfterMs: tookMs });
  return red(
    [
      `LISTEN was accepted, and a notification did not arrive within ${heardWithinMs} ms. PgBouncer does this with pool_mode = transaction.`,
    ],
    'Connect to PostgreSQL directly, or through a pool with pool_mode = session. Without notifications no session is served from memory, and every change waits for the next heartbeat.',
  );
}

export const arbiterLoadChecks: readonly Check[] = [
  {
    id: 'arbiter.connections',
    claim: 'There are connections for everybody, also when all pools are full',
    run: connections,
  },
  { id: 'arbiter.latency', claim: 'It answers well within a heartbeat', run: latency },
  { id: 'arbiter.notifications', claim: 'Notifications arrive on the way to it', run: notifications },
];
