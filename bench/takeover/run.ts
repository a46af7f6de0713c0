/**
 * How long work stands still when who does it is lost: `node bench/takeover/run.ts [--json]`. See README.md.
 *
 * Three real agents with an instance each, one real PostgreSQL. An occurrence runs for longer than the measurement;
 * then its instance is killed, or its whole host (agent and instance at once, and nobody starts them again until it
 * is measured). The delay goes from the kill to the moment at which another instance's handler has begun, by its
 * own word. All processes are on this machine, so there is one clock.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parseDuration } from '../../src/support/duration.ts';
import { startTestPostgres } from '../../src/testing/postgres.ts';
import { type Agents, startAgents } from '../../test/cluster/agents.fixture.ts';
import { type EventsView, eventsFolder, never, openView } from '../../test/cluster/events.fixture.ts';

const { values: options } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    hosts: { type: 'string', default: '10' },
    ttl: { type: 'string', default: '5s' },
    heartbeat: { type: 'string', default: '1s' },
    json: { type: 'boolean', default: false },
  },
});
const ttlMs = parseDuration(options.ttl) ?? 5_000;
const heartbeatMs = parseDuration(options.heartbeat) ?? 1_000;

const targets = {
  killMedianMs: 200,
  hostMaxMs: ttlMs + heartbeatMs + 300,
} as const;

interface Loss {
  /** False where the killed instance was started again so soon that it took its own work back. */
  readonly elsewhere: boolean;
  /** From the kill to the first word of the next attempt's handler. */
  readonly delayMs: number;
  /** The same to the moment at which the arbiter granted the next attempt. */
  readonly grantedMs: number;
  /** From the end of the lost lease on the arbiter's clock to that first word; negative: too early. */
  readonly afterLeaseMs: number;
}

const progress = (text: string): void => {
  if (!options.json) process.stderr.write(text);
};

async function lose(view: EventsView, agents: Agents, wholeHost: boolean): Promise<Loss> {
  await agents.allUp(60_000);
  const { occurrence } = await view.trigger('work', { workMs: 60_000, laterMs: 10 });
  const first = await view.begun(occurrence, 1);
  await delay(300 + Math.random() * heartbeatMs); // at any point between two heartbeats
  const agent = agents.get(first.agent);
  if (wholeHost) agent.signal('SIGKILL');
  process.kill(first.pid, 'SIGKILL');
  const killedMs = Date.now();
  const { renewedMs } = await agents.member(first.agent);
  const second = await view.begun(occurrence, 2, targets.hostMaxMs + 20_000);
  if (wholeHost && second.agent === first.agent) throw new Error(`attempt 2 began on ${first.agent} again`);
  await view.done(occurrence);
  const [, granted] = await view.runsOf(occurrence);
  progress('.');
  return {
    elsewhere: second.agent !== first.agent,
    delayMs: second.beganMs - killedMs,
    grantedMs: (granted?.startedMs ?? 0) - killedMs,
    afterLeaseMs: second.beganMs - (renewedMs + ttlMs),
  };
}

async function measure(): Promise<{ kills: Loss[]; hosts: Loss[] }> {
  const postgres = await startTestPostgres();
  const database = await postgres.createDatabase();
  const folder = await eventsFolder({
    database,
    ttl: options.ttl,
    heartbeat: options.heartbeat,
    events: { work: `${never}, run: {post: /holdfast/events/work}` },
  });
  const view = openView(folder, database);
  const agents = await startAgents(folder, view);
  const [kills, hosts]: [Loss[], Loss[]] = [[], []];
  try {
    for (let round = 0; round < Number(options.kills); round++) kills.push(await lose(view, agents, false));
    for (let round = 0; round < Number(options.hosts); round++) hosts.push(await lose(view, agents, true));
    await agents.allUp(60_000);
    await view.assertAllIsWell();
  } finally {
    await agents.dispose();
    await view.close();
    await folder.remove();
    await postgres.stop();
  }
  progress('\n');
  return { kills, hosts };
}

function figures(losses: readonly Loss[], wholeHost: boolean) {
  const of = (key: Exclude<keyof Loss, 'elsewhere'>) =>
    losses.map((loss) => loss[key]).sort((one, other) => one - other);
  const delays = of('delayMs');
  return {
    count: losses.length,
    elsewhere: losses.filter(({ elsewhere }) => elsewhere).length,
    medianMs: Math.round(delays[Math.floor(delays.length / 2)] ?? 0),
    maxMs: Math.round(delays.at(-1) ?? 0),
    grantedMedianMs: Math.round(of('grantedMs')[Math.floor(losses.length / 2)] ?? 0),
    // A death that was seen waits for no lease.
    ...(wholeHost ? { earliestAfterLeaseMs: Math.round(of('afterLeaseMs')[0] ?? 0) } : {}),
  };
}

const { kills, hosts } = await measure();
const [killed, lost] = [figures(kills, false), figures(hosts, true)];
const met =
  (killed.count === 0 || killed.medianMs <= targets.killMedianMs) &&
  (lost.count === 0 || (lost.maxMs <= targets.hostMaxMs && (lost.earliestAfterLeaseMs ?? 0) >= 0));
if (options.json) {
  const lease = { ttlMs, heartbeatMs };
  process.stdout.write(
    `${JSON.stringify({ lease, targets, killed, lost, met, losses: { kills, hosts } }, null, 2)}\n`,
  );
} else {
  const row = (...cells: (string | number)[]) => cells.map((cell) => String(cell).padStart(16)).join('');
  process.stdout.write(
    `${[
      `ttl ${options.ttl}, heartbeat ${options.heartbeat}; from the kill to the first word of the next attempt elsewhere`,
      `${''.padEnd(18)}${row('times', 'elsewhere', 'median', 'max', 'granted median', 'after the lease', 'wanted')}`,
      `${'instance killed'.padEnd(18)}${row(killed.count, killed.elsewhere, `${killed.medianMs} ms`, `${killed.maxMs} ms`, `${killed.grantedMedianMs} ms`, '', `median ≤ ${targets.killMedianMs}`)}`,
      `${'host lost'.padEnd(18)}${row(lost.count, lost.elsewhere, `${lost.medianMs} ms`, `${lost.maxMs} ms`, `${lost.grantedMedianMs} ms`, `≥ ${lost.earliestAfterLeaseMs} ms`, `max ≤ ${targets.hostMaxMs}`)}`,
      met ? 'as wanted' : 'NOT as wanted',
    ].join('\n')}\n`,
  );
}
process.exitCode = met ? 0 : 1;
