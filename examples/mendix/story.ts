/**
 * What users and the scheduled events of a Mendix application go through in a night in which first the runtime that
 * serves them is killed, and then the host of the one that runs the events freezes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { MendixCluster } from './cluster.ts';

export interface StoryFacts {
  /** How many times each DDL command was executed. */
  readonly ddlTimes: readonly number[];
  readonly user: string;
  /** The process that served the user, and the one that did after it was killed. */
  readonly servedBy: readonly [before: number, after: number];
  readonly userAfterwards: string;
  readonly fileAfterwards: string;
  readonly leaders: readonly [before: string, after: string];
  /** From the freeze of the old leader's agent to the first event that the new one ran. */
  readonly movedWithinMs: number;
  readonly journal: Journal;
}

interface Journal {
  readonly executions: number;
  readonly doubled: number;
  /** Pairs of runtimes that both ran events in one span of time. */
  readonly overlapping: number;
  readonly runtimes: number;
}

export const uploaded = 'the photograph of a dented car';
const patienceMs = 60_000;

export async function tellStory(cluster: MendixCluster, say: (text: string) => void): Promise<StoryFacts> {
  const { application } = cluster;
  const ddl = await application.query<{ times: number }>(
    'select count(*)::int as times from "mendixsystem$ddl" group by command',
  );
  const jar = new Map<string, string>();
  await ask(cluster, jar, '/xas/', { action: 'login', params: { username: 'ann' } });
  const before = await whoServes(cluster, jar);
  await ask(cluster, jar, '/file?name=claim.jpg', uploaded);
  say(`ann is logged in at process ${before.pid} and has uploaded a file; kill -9 ${before.pid}`);
  process.kill(before.pid, 'SIGKILL');
  const after = await whoServes(cluster, jar);
  const file = await (await fetchWith(cluster, jar, '/file?name=claim.jpg')).text();
  say(`${after.user} is still logged in, at process ${after.pid}, and the file is there: ${file}`);

  await until(
    async () => (await cluster.instances()).every(({ state }) => state === 'up'),
    'all are up again',
  );
  const leader = (await until(() => cluster.leader(), 'there is a leader')) ?? '';
  await until(async () => (await journalOf(cluster)).executions >= 2, 'the leader runs events');
  const { agentPid } = (await cluster.instances()).find(({ instance }) => instance === leader) ?? {
    agentPid: 0,
  };
  say(`${leader} runs the scheduled events; its agent freezes, as its host would: kill -STOP ${agentPid}`);
  const startMs = performance.now();
  process.kill(agentPid, 'SIGSTOP');
  const runtimes = (await journalOf(cluster)).runtimes;
  try {
    const next = await until(async () => {
      const now = await cluster.leader();
      return now === leader ? undefined : now;
    }, 'another leader');
    await until(async () => (await journalOf(cluster)).runtimes > runtimes, 'the new leader runs events');
    const movedWithinMs = Math.round(performance.now() - startMs);
    say(`${next} runs them now, ${(movedWithinMs / 1000).toFixed(1)} s later`);
    await delay(2_500);
    return {
      ddlTimes: ddl.map(({ times }) => times),
      user: 'ann',
      servedBy: [before.pid, after.pid],
      userAfterwards: after.user,
      fileAfterwards: file,
      leaders: [leader, next ?? ''],
      movedWithinMs,
      journal: await journalOf(cluster),
    };
  } finally {
    process.kill(agentPid, 'SIGCONT');
  }
}

/** All that the runtimes wrote down of what they ran, judged. */
export async function journalOf({ application }: MendixCluster): Promise<Journal> {
  const [row] = await application.query<Journal>(
    `with spans as (
       select xasid, min(starttime) as first, max(endtime) as last from "system$scheduledeventinformation" group by xasid)
     select count(*)::int as executions,
       (count(*) - count(distinct (name, due)))::int as doubled,
       (select count(*)::int from spans a join spans b on a.xasid < b.xasid and a.first <= b.last and b.first <= a.last)
         as overlapping,
       count(distinct xasid)::int as runtimes
     from "system$scheduledeventinformation"`,
  );
  return row ?? { executions: 0, doubled: 0, overlapping: 0, runtimes: 0 };
}

async function whoServes(
  cluster: MendixCluster,
  jar: Map<string, string>,
): Promise<{ user: string; pid: number }> {
  const response = await fetchWith(cluster, jar, '/xas/');
  return response.ok
    ? ((await response.json()) as { user: string; pid: number })
    : { user: `status ${response.status}`, pid: 0 };
}

async function ask(
  cluster: MendixCluster,
  jar: Map<string, string>,
  path: string,
  body: object | string,
): Promise<void> {
  const response = await fetchWith(cluster, jar, path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
}

async function fetchWith(
  { url }: MendixCluster,
  jar: Map<string, string>,
  path: string,
  options: RequestInit = {},
): Promise<Response> {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
  const response = await fetch(url + path, { ...options, headers: { cookie } });
  for (const line of response.headers.getSetCookie()) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    jar.set(name, value);
  }
  return response;
}

async function until<T>(look: () => Promise<T>, what: string): Promise<T> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > deadlineMs) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await delay(50);
  }
}
