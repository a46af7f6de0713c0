/** The arbiter: is it there, what survives its loss, and how soon is the work of a lost member taken over? */
import { durabilityOf, type ReplicationView, viewReplication } from '../members/durability.ts';
import { takeoverWorstCaseMs } from '../protocol/lease.ts';
import type { Configuration } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Check, counted, type Finding, green, red, yellow } from './check.ts';
import { clusterFacts } from './cluster-facts.ts';
import type { DoctorContext } from './context.ts';

/** As agents set it for their heartbeats and declarations. */
const queryDeadlineMs = 3_000;

async function primary({ arbiter, arbiterAddress }: DoctorContext): Promise<Finding> {
  try {
    const [row] = await arbiter.query<{ version: string; timeline: number; upMs: number; readOnly: string }>(
      `select current_setting('server_version') as version, holdfast.timeline() as timeline,
         (extract(epoch from clock_timestamp() - pg_postmaster_start_time()) * 1000)::float8 as "upMs",
         current_setting('default_transaction_read_only') as "readOnly"`,
    );
    if (!row) throw new Error('a select of constants is one row');
    const { version, timeline, upMs } = row;
    const seen = `PostgreSQL ${version} at ${arbiterAddress}, timeline ${timeline}, up for ${hours(upMs)}.`;
    return green(['It is a primary, and it can be written to.', seen], {
      timeline,
      upSeconds: Math.round(upMs / 1000),
    });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return red([error.message], error.remedy ?? 'Check that PostgreSQL runs and that its address is right.');
  }
}

const hours = (ms: number): string =>
  ms < 3_600_000 ? counted(Math.round(ms / 60_000), 'minute') : counted(Math.round(ms / 3_600_000), 'hour');

/** Pure, so that each kind of durability is one line of a test. */
export function judgeStandby(replication: ReplicationView, hosts: number): Finding {
  const { kind, promise } = durabilityOf(replication);
  const evidence = [`${promise[0]?.toUpperCase()}${promise.slice(1)}.`];
  const oneHost = 'The address names one host: unless that address moves, nobody finds the promoted standby.';
  switch (kind) {
    case 'synchronous':
      if (hosts > 1) return green(evidence, { hosts });
      return yellow([...evidence, oneHost], 'Name every host: postgres://holdfast@db1,db2/shop.', { hosts });
    case 'stalled':
      return red(
        evidence,
        'Start the standby, or take it out of synchronous_standby_names: until then no lease can be renewed.',
      );
    case 'asynchronous':
      return yellow(
        evidence,
        "Set synchronous_standby_names, or accept that a failover may forget the last moments; Patroni's synchronous_mode does it.",
      );
    case 'none':
      return yellow(
        evidence,
        'Give PostgreSQL a standby with an automatic failover, such as Patroni, and name every host in the database URL.',
      );
    case 'hidden':
      return yellow(evidence, 'Grant the role pg_monitor: grant pg_monitor to holdfast.');
  }
}

/** Beyond this a user of an event would ask what is wrong. */
const slowTakeoverMs = 30_000;

export function judgeTakeover({
  lease,
  fence,
  app,
}: Pick<Configuration, 'lease' | 'fence' | 'app'>): Finding {
  const fenceMs = fence?.timeoutMs ?? 0;
  const worstMs = takeoverWorstCaseMs(lease, queryDeadlineMs) + fenceMs;
  const { health } = app;
  const unhealthyMs = health.unhealthyAfter * health.everyMs + health.timeoutMs;
  const seconds = (ms: number) => `${Math.round(ms / 100) / 10} s`;
  const parts = [
    `lease ${seconds(lease.ttlMs)}`,
    `heartbeat ${seconds(lease.heartbeatMs)}`,
    `two statements of at most ${seconds(queryDeadlineMs)}`,
    ...(fence ? [`fence ${seconds(fenceMs)}`] : []),
  ];
  const evidence = [
    `Work of a silent member is taken over within ${seconds(worstMs)} at worst: ${parts.join(', ')}.`,
    `Users of a silent instance are moved after ${seconds(unhealthyMs)}, those of a dead one at once.`,
  ];
  const figures = { worstCaseMs: worstMs, usersMovedAfterMs: unhealthyMs };
  if (worstMs <= slowTakeoverMs) return green(evidence, figures);
  return yellow(evidence, 'Shorten lease.ttl, or fence.timeout, until you can live with the sum.', figures);
}

export const arbiterChecks: readonly Check[] = [
  { id: 'arbiter.primary', claim: 'The arbiter answers and can be written to', run: primary },
  {
    id: 'arbiter.standby',
    claim: 'What was committed survives the loss of its host',
    run: async ({ arbiter, arbiterHosts }) =>
      judgeStandby(await viewReplication(arbiter.query), arbiterHosts),
  },
  {
    id: 'arbiter.takeover',
    claim: 'The work of a lost member is taken over soon',
    run: async (context) => judgeTakeover((await clusterFacts(context)).configuration),
  },
];
