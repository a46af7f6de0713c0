/**
 * What the heartbeats of a thousand members cost the arbiter: `node bench/heartbeat/run.ts`. See README.md.
 *
 * The heartbeats are the real statement through the real connection pool, to an embedded PostgreSQL with its usual
 * settings. The server's processor time is what the kernel says of the postmaster and all its children, the ones
 * that have ended included; the number of statements is the server's own count.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '/work/main/src/database/arbiter.ts';
import { startEmbeddedPostgres } from '/work/main/src/database/embedded.ts';
import { migrate } from '/work/main/src/database/migrate.ts';
import {
  heartbeat,
  join as joinAs,
  type MemberFacts,
  type Membership,
} from '/work/main/src/members/membership.ts';

const members = Number(process.env.MEMBERS ?? 1_000);
const heartbeatMs = 1_000;
const ttlMs = 5_000;
const warmUpMs = 6_000; // until every member is a witness: from then on each heartbeat looks for expired leases
const measuredMs = Number(process.env.SECONDS ?? 20) * 1_000;
const connections = 16;

const facts: MemberFacts = {
  host: 'host-1.example.com',
  agentPid: 4711,
  address: { host: '10.0.0.1', port: 8080 },
  pid: 4712,
  revision: 1,
  healthPage: 'http://10.0.0.1:9090/health',
  reason: null,
};

/** Processor time of a process in clock ticks; with `ofChildren` also that of its children that have ended. */
async function ticks(pid: number, ofChildren: boolean): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return user + system + (ofChildren ? childUser + childSystem : 0);
}

async function serverTicks(postmaster: number): Promise<number> {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(postmaster)], { encoding: 'utf8' });
  const living = await Promise.all(
    children
      .trim()
      .split(/\s+/)
      .map((pid) => ticks(Number(pid), false)),
  );
  return (await ticks(postmaster, true)) + living.reduce((sum, one) => sum + one, 0);
}

async function statements(arbiter: Arbiter): Promise<{ heartbeats: number; all: number }> {
  const [row] = await arbiter.query<{ heartbeats: string; all: string }>(
    `select coalesce(sum(calls) filter (where query like '%member_heartbeat%'), 0) as heartbeats, sum(calls) as all
     from pg_stat_statements`,
  );
  return { heartbeats: Number(row?.heartbeats), all: Number(row?.all) };
}

async function joinAll(arbiter: Arbiter): Promise<Membership[]> {
  const joined: Membership[] = [];
  for (let index = 0; index < members; index++) {
    const instance = `shop-${index}`;
    const result = await joinAs(arbiter.query, {
      instance,
      agentId: instance,
      provedDead: [],
      watched: null,
      ttlMs,
      state: 'up',
      facts,
    });
    if (result.outcome === 'joined') joined.push(result.membership);
  }
  return joined;
}

/** Sends every member's heartbeat once each second, spread over the second, until that moment. */
async function beatUntil(
  endMs: number,
  arbiter: Arbiter,
  joined: readonly Membership[],
  latencies: number[],
): Promise<number> {
  let failed = 0;
  const underWay = new Set<Promise<void>>();
  const startMs = performance.now();
  for (let sent = 0; performance.now() < endMs; ) {
    const due = ((performance.now() - startMs) / heartbeatMs) * joined.length;
    for (; sent < due; sent++) {
      const member = joined[sent % joined.length];
      if (!member) break;
      const sentMs = performance.now();
      const beat = heartbeat(arbiter.query, member, ttlMs, { state: null, facts: null }).then(
        ({ outcome }) => {
          latencies.push(performance.now() - sentMs);
          if (outcome !== 'renewed') failed++;
        },
        () => {
          failed++;
        },
      );
      underWay.add(beat);
      void beat.finally(() => underWay.delete(beat));
    }
    await delay(1);
  }
  await Promise.all(underWay);
  return failed;
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const server = await startEmbeddedPostgres(folder, {
  database: 'bench',
  serverFlags: ['-c', 'shared_preload_libraries=pg_stat_statements','-c','fsync=off'],
});
try {
  const arbiter = openArbiter({ url: server.url, max: connections });
  const observer = openArbiter({ url: server.url, max: 1 });
  await migrate(arbiter);
  await observer.query('create extension pg_stat_statements');
  const joined = await joinAll(arbiter);
  await beatUntil(performance.now() + warmUpMs, arbiter, joined, []);

  const [before, countBefore, clientBefore] = [
    await serverTicks(server.pid),
    await statements(observer),
    process.cpuUsage(),
  ];
  const startMs = performance.now();
  const latencies: number[] = [];
  const failed = await beatUntil(startMs + measuredMs, arbiter, joined, latencies);
  const tookMs = performance.now() - startMs;
  const client = process.cpuUsage(clientBefore);
  const [after, countAfter] = [await serverTicks(server.pid), await statements(observer)];

  const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  const serverMs = ((after - before) / ticksPerSecond) * 1_000;
  const others = countAfter.all - countBefore.all - (countAfter.heartbeats - countBefore.heartbeats);
  const sorted = latencies.sort((one, other) => one - other);
  const line = (name: string, value: string) => console.log(`${name.padEnd(34)}${value}`);
  line('members, heartbeat, ttl', `${members}, ${heartbeatMs} ms, ${ttlMs} ms`);
  line('heartbeats answered / failed', `${latencies.length} / ${failed} in ${(tookMs / 1_000).toFixed(1)} s`);
  line(
    'statements per heartbeat',
    ((countAfter.heartbeats - countBefore.heartbeats) / latencies.length).toFixed(3),
  );
  line('other statements', `${others} (two are this program's own counting)`);
  line(
    'PostgreSQL, share of one processor',
    `${((100 * serverMs) / tookMs).toFixed(1)} % (of ${cpus().length} processors)`,
  );
  line(
    'PostgreSQL, per heartbeat',
    `${((1_000 * serverMs) / latencies.length).toFixed(0)} µs of processor time`,
  );
  line('this program, share of one', `${((client.user + client.system) / 10 / tookMs).toFixed(1)} %`);
  line(
    'latency median / p99 / max',
    [0.5, 0.99, 1].map((share) => `${percentile(sorted, share).toFixed(2)} ms`).join(' / '),
  );
  await Promise.all([arbiter.close(), observer.close()]);
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
