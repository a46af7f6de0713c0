/**
 * Scheduled events, measured: how late they start beside pg-boss and graphile-worker, how many a second three agents
 * work off, what each costs, and what ten thousand cost at which nothing is due. See README.md.
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type CronResult, cronContenders, measureCron } from './cron.ts';
import {
  type ContenderSettings,
  contenders,
  type DelayResult,
  duesPerSecond,
  measureDelays,
  processesOfEach,
} from './delay.ts';
import { ms, table } from './figures.ts';
import { type IdleResult, measureIdle } from './idle.ts';
import { type PeerSettings, versionOf } from './peers.ts';
import { type BenchServer, startBenchServer } from './server.ts';
import { measureThroughput, type ThroughputResult } from './throughput.ts';

const parts = ['delay', 'throughput', 'idle', 'cron'] as const;
const targets = { medianMs: 10, p99Ms: 100, perSecond: 1_000, idleTolerance: 0.1 };
const peerNames: readonly PeerSettings['kind'][] = ['pg-boss', 'graphile-worker'];

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    only: { type: 'string', multiple: true, default: ['delay', 'throughput', 'idle'] },
    rounds: { type: 'string' },
    minutes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '1500' },
  },
});
const unknown = options.only.filter((part) => !(parts as readonly string[]).includes(part));
if (unknown.length > 0) {
  console.error(`--only ${unknown.join(', ')}: there are ${parts.join(', ')}.`);
  process.exit(2);
}
const sizes = options.quick
  ? { rounds: 1, roundSeconds: 2, loadSeconds: 3, idleSeconds: 3 }
  : { rounds: 5, roundSeconds: 3, loadSeconds: 10, idleSeconds: 15 };
const rounds = Number(options.rounds ?? sizes.rounds);
const perSecond = Number(options.rate);
const wants = (part: (typeof parts)[number]): boolean => options.only.includes(part);

const problems: string[] = [];
const expect = (isMet: boolean, problem: string): void => {
  if (!isMet) problems.push(problem);
};

const isInstalled = ({ settings }: { settings: ContenderSettings }): boolean =>
  settings.kind === 'holdfast' || versionOf(settings.kind) !== undefined;

const say = (text = ''): void => console.log(text);
const heading = (text: string): void => say(`\n${text}\n${'-'.repeat(text.length)}`);
const whole = (value: number): string => value.toFixed(0);

function sayNotices(notices: readonly string[]): void {
  if (notices.length === 0) return;
  say(`The agents warned ${notices.length} times, of: ${[...new Set(notices)].slice(0, 5).join('; ')}`);
}

async function delays(server: BenchServer): Promise<DelayResult[]> {
  const chosen = contenders.filter(
    ({ settings }) => settings.kind === 'holdfast' || versionOf(settings.kind),
  );
  heading('From due to started');
  say(
    `${processesOfEach} processes of each; ${duesPerSecond} due moments a second; ${rounds} rounds of ` +
      `${sizes.roundSeconds} s, in turn`,
  );
  const results = await measureDelays(server, chosen, {
    rounds,
    seconds: sizes.roundSeconds,
    onRound: (done) => console.error(`round ${done} of ${rounds}`),
  });
  const [own] = results;
  const times = (value: number, of: number | undefined) => (of ? `${(value / of).toFixed(1)} x` : '');
  say(
    table(
      [
        '',
        'woken by',
        'started',
        'median',
        'p99',
        'max',
        'median of rounds',
        'median ratio',
        'p99 ratio',
        'statements/s',
      ],
      results.map(({ name, by, delay, roundMediansMs, missing, repeated, statementsPerSecond }) => [
        name,
        by,
        `${delay.count}${missing + repeated > 0 ? ` (${missing} missing, ${repeated} repeated)` : ''}`,
        ms(delay.medianMs),
        ms(delay.p99Ms),
        ms(delay.maxMs),
        `${ms(Math.min(...roundMediansMs))} .. ${ms(Math.max(...roundMediansMs))}`,
        times(delay.medianMs, own?.delay.medianMs),
        times(delay.p99Ms, own?.delay.p99Ms),
        statementsPerSecond.toFixed(1),
      ]),
    ),
  );
  if (own?.parts) {
    const { sent, answered, begun } = own.parts;
    say('\nOf Holdfast (median / p99):');
    for (const [what, part] of [
      ['due until the claim was sent', sent],
      ['until it was answered', answered],
      ['until the work began', begun],
    ] as const)
      say(`  ${what.padEnd(30)}${ms(part.medianMs)} / ${ms(part.p99Ms)}`);
  }
  sayNotices(own?.notices ?? []);
  if (own) {
    const { medianMs, p99Ms } = own.delay;
    expect(medianMs <= targets.medianMs, `median delay ${ms(medianMs)}, wanted ${ms(targets.medianMs)}`);
    expect(p99Ms <= targets.p99Ms, `p99 of the delay ${ms(p99Ms)}, wanted ${ms(targets.p99Ms)}`);
    expect(own.missing + own.repeated === 0, `${own.missing} never started, ${own.repeated} more than once`);
  }
  return results;
}

async function byCron(server: BenchServer, minutes: number): Promise<CronResult[]> {
  heading("By each one's own cron, at the full minute");
  const results = await measureCron(server, cronContenders.filter(isInstalled), minutes);
  say(
    table(
      ['', 'woken by', 'started', 'least', 'median', 'max'],
      results.map(({ name, by, delay, samplesMs }) => [
        name,
        by,
        `${delay.count} of ${minutes}`,
        ms(Math.min(...samplesMs)),
        ms(delay.medianMs),
        ms(delay.maxMs),
      ]),
    ),
  );
  return results;
}

async function throughput(server: BenchServer): Promise<ThroughputResult[]> {
  heading('Claimed, run and finished');
  say(
    `${processesOfEach} agents, ${perSecond} definitions that are each due every second; the work is nothing`,
  );
  const results: ThroughputResult[] = [];
  for (const spread of options.quick ? [true] : [false, true])
    results.push(await measureThroughput(server, { perSecond, seconds: sizes.loadSeconds, spread }));
  const row = (name: string, value: (result: ThroughputResult) => string) => [name, ...results.map(value)];
  const listed = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([key, value]) => `${key} ${value.toFixed(4)}`)
      .join(', ');
  say(
    table(
      ['due', ...results.map(({ shape }) => shape)],
      [
        row('occurrences a second', (one) => whole(one.perSecond)),
        row('ran / missed / others, of offered', ({ dues }) =>
          [dues.succeeded, dues.missed, dues.others].join(' / ').concat(` of ${dues.offered}`),
        ),
        row('due to granted, median / p99', ({ delay }) => `${ms(delay.medianMs)} / ${ms(delay.p99Ms)}`),
        row('statements for each occurrence', ({ perOccurrence }) => perOccurrence.allStatements.toFixed(4)),
        row('the same, counted by the server', ({ perOccurrence }) =>
          perOccurrence.serverStatements.toFixed(4),
        ),
        row('claims for each occurrence', ({ perOccurrence }) =>
          Object.values(perOccurrence.claims)
            .reduce((sum, one) => sum + one, 0)
            .toFixed(2),
        ),
        row('results for each occurrence', ({ perOccurrence }) => perOccurrence.results.toFixed(2)),
        row(
          'PostgreSQL, processor time',
          ({ perOccurrence }) => `${whole(perOccurrence.postgresUs)} us each`,
        ),
        row('agents, processor time', ({ perOccurrence }) => `${whole(perOccurrence.agentsUs)} us each`),
      ],
    ),
  );
  for (const { shape, perOccurrence } of results) {
    say(`\n${shape}, for each occurrence:`);
    say(`  statements: ${listed(perOccurrence.statements)}`);
    say(`  claims by their answer: ${listed(perOccurrence.claims)}`);
  }
  sayNotices(results.flatMap(({ notices }) => notices));
  for (const { shape, perSecond: reached, dues } of results) {
    expect(
      reached >= targets.perSecond,
      `${whole(reached)} occurrences a second (${shape}), wanted ${targets.perSecond}`,
    );
    const accounted = dues.succeeded + dues.missed + dues.others;
    expect(
      accounted === dues.offered,
      `the ledger has ${accounted} of ${dues.offered} due moments (${shape})`,
    );
  }
  return results;
}

async function idle(server: BenchServer): Promise<IdleResult[]> {
  heading('At rest');
  const results = await measureIdle(server, { definitions: [0, 10_000], seconds: sizes.idleSeconds });
  say(
    table(
      ['definitions', 'statements/s', 'agents, of one processor', 'what the agents sent'],
      results.map(({ definitions, statementsPerSecond, agentsShare, statements, seconds }) => [
        String(definitions),
        statementsPerSecond.toFixed(2),
        `${(100 * agentsShare).toFixed(1)} %`,
        `${Object.entries(statements)
          .map(([kind, count]) => `${kind} ${count}`)
          .join(', ')} in ${seconds.toFixed(1)} s`,
      ]),
    ),
  );
  sayNotices(results.flatMap(({ notices }) => notices));
  const [none, many] = results;
  if (none && many) {
    const { statementsPerSecond: base } = none;
    const difference = Math.abs(many.statementsPerSecond - base);
    // Heartbeats have a tenth of jitter, and a listener's sign of life falls on this side of an edge or on that.
    expect(
      difference <= targets.idleTolerance * base + 2 / sizes.idleSeconds,
      `${many.definitions} idle definitions cost ${many.statementsPerSecond.toFixed(2)} statements/s, none ${base.toFixed(2)}`,
    );
  }
  return results;
}

const server = await startBenchServer();
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
  void server.stop().finally(() => process.exit(130));
});
try {
  const peers = Object.fromEntries(peerNames.map((name) => [name, versionOf(name) ?? 'not installed']));
  const machine = {
    processors: cpus().length,
    model: cpus()[0]?.model ?? '',
    load: loadavg().map((value) => Math.round(value * 100) / 100),
    node: process.version,
    postgres: server.version,
    peers,
    at: new Date().toISOString(),
  };
  say(
    `${machine.processors} x ${machine.model}, load ${machine.load.join(' ')}; Node ${machine.node}, PostgreSQL ${machine.postgres}`,
  );
  say(
    Object.entries(peers)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
  if (peerNames.some((name) => !versionOf(name)))
    say('The peers are measured too after: npm ci --prefix bench/events');
  const startMs = performance.now();
  const results = {
    machine,
    quick: options.quick,
    delay: wants('delay') ? await delays(server) : [],
    cron: wants('cron') ? await byCron(server, Number(options.minutes)) : [],
    throughput: wants('throughput') ? await throughput(server) : [],
    idle: wants('idle') ? await idle(server) : [],
    problems,
  };
  if (options.json) await writeFile(options.json, `${JSON.stringify(results, null, 2)}\n`);
  say(`\n${whole((performance.now() - startMs) / 1_000)} s.`);
  for (const problem of problems) say(`Not as it should be: ${problem}`);
  if (options.quick) say('This was a quick run: enough to see that everything works, too short for figures.');
  process.exitCode = problems.length > 0 ? 1 : 0;
} catch (error) {
  if (!interrupted) throw error;
} finally {
  if (!interrupted) await server.stop();
}
