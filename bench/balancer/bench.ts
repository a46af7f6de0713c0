/**
 * The balancer, measured: what a request costs beside HAProxy, nginx and the proxies of Node.js, how long it takes,
 * what large bodies and TLS add, and what users see when an instance is killed or frozen. See README.md.
 */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { measureLarge, measureSmall, measureTls } from './cost.ts';
import { measureKills } from './kills.ts';
import { measureLatency } from './latency.ts';
import { bindSelf, missing } from './processes.ts';
import { peerVersion } from './proxies.ts';
import { type PartReport, writeSection } from './report.ts';
import { openScene, type Scene } from './scene.ts';

const parts = ['cost', 'latency', 'large', 'tls', 'kills'] as const;
type Part = (typeof parts)[number];

const headings: Record<Part, string> = {
  cost: 'What a small request costs',
  latency: 'How long it takes at half of the maximum rate',
  large: 'Large bodies',
  tls: 'What a small request costs with TLS',
  kills: 'An instance killed, an instance frozen',
};

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    only: { type: 'string', multiple: true, default: [...parts] },
    rounds: { type: 'string' },
    kills: { type: 'string' },
    freezes: { type: 'string' },
    write: { type: 'boolean', default: false },
    picture: { type: 'string' },
  },
});

const say = (text = ''): void => console.log(text);
function refuse(text: string): never {
  console.error(text);
  process.exit(2);
}

const unknown = options.only.filter((part) => !(parts as readonly string[]).includes(part));
if (unknown.length > 0) refuse(`--only ${unknown.join(', ')}: there are ${parts.join(', ')}.`);
if (options.quick && options.write) refuse('--write is not for figures of a --quick run.');
if (availableParallelism() < 2) refuse('The proxy needs a core of its own: this takes two cores.');
const absent = missing('haproxy', 'nginx', 'wrk', 'openssl', 'taskset');
if (absent.length > 0)
  refuse(`This takes ${absent.join(', ')}; on Debian: apt-get install haproxy nginx wrk openssl util-linux`);

const document = new URL('../../docs/performance.md', import.meta.url);
const documentPicture = new URL('../../docs/balancer-failures.svg', import.meta.url);

function count(name: 'rounds' | 'kills' | 'freezes', usually: number, quickly: number): number {
  const value = Number(options[name] ?? (options.quick ? quickly : usually));
  const least = name === 'rounds' ? 1 : 0;
  return Number.isInteger(value) && value >= least
    ? value
    : refuse(`--${name} takes a whole number, at least ${least}.`);
}
const rounds = count('rounds', 5, 1);
if (options.write && rounds < 5) refuse('--write is not for figures of fewer than five rounds.');

/** nginx says its version on the other channel, so both are read. */
const versionOf = (command: string): string => {
  const { stdout, stderr } = spawnSync(command, ['-v'], { encoding: 'utf8' });
  return /\d+\.\d+[\w.+~-]*/.exec(stdout + stderr)?.[0] ?? 'of unknown version';
};

function describeMachine() {
  return {
    processors: cpus().length,
    model: cpus()[0]?.model ?? '',
    load: loadavg().map((value) => Math.round(value * 100) / 100),
    at: new Date().toISOString(),
    versions: {
      node: process.version,
      haproxy: versionOf('haproxy'),
      nginx: versionOf('nginx'),
      'http-proxy-3': peerVersion('http-proxy-3') ?? 'not installed',
      '@fastify/http-proxy': peerVersion('@fastify/http-proxy') ?? 'not installed',
    },
  };
}

async function run(scene: Scene): Promise<Partial<Record<Part, PartReport>>> {
  const reports: Partial<Record<Part, PartReport>> = {};
  let maximumPerSecond: number | undefined;
  const measure: Record<Part, () => Promise<PartReport>> = {
    async cost() {
      const { maximumPerSecond: measured, ...report } = await measureSmall(scene);
      maximumPerSecond = measured;
      return report;
    },
    latency: () => measureLatency(scene, maximumPerSecond),
    large: () => measureLarge(scene),
    tls: () => measureTls(scene),
    async kills() {
      const { picture, ...report } = await measureKills(scene);
      if (options.picture) await writeFile(options.picture, picture);
      if (options.write) await writeFile(documentPicture, picture);
      return report;
    },
  };
  for (const part of parts) {
    if (!options.only.includes(part)) continue;
    say(`\n${headings[part]}\n${'-'.repeat(headings[part].length)}\n`);
    const report = await measure[part]();
    reports[part] = report;
    say(report.markdown);
  }
  return reports;
}

process.once('SIGINT', () => process.exit(130));
bindSelf();
const machine = describeMachine();
say(`${machine.processors} x ${machine.model}, load ${machine.load.join(' ')}`);
const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
say(versions.join(', '));
if (!peerVersion('http-proxy-3') || !peerVersion('@fastify/http-proxy'))
  say('All peers are measured after: npm ci --prefix bench/balancer');

const startMs = performance.now();
const scene = await openScene({
  isQuick: options.quick,
  rounds,
  kills: count('kills', 20, 2),
  freezes: count('freezes', 5, 1),
  progress: (text) => console.error(text),
});
try {
  const reports = await run(scene);
  const targets = Object.values(reports).flatMap((report) => report.targets);
  say(`\n${((performance.now() - startMs) / 1_000).toFixed(0)} s.\n`);
  for (const { what, measured, wanted, isMet } of targets)
    say(`${isMet ? 'met   ' : 'MISSED'}  ${what}: ${measured} (wanted: ${wanted})`);
  if (options.quick)
    say('\nThis was a quick run: enough to see that everything works, too short for figures.');
  if (options.json)
    await writeFile(options.json, `${JSON.stringify({ machine, options, reports }, null, 2)}\n`);
  if (options.write) {
    const conditions = `${machine.at.slice(0, 10)}, ${machine.processors} × ${machine.model}; ${versions.join(', ')}.`;
    for (const [part, { markdown }] of Object.entries(reports))
      await writeSection(document, part, `${markdown}\n\n${conditions}`);
  }
  process.exitCode = targets.every(({ isMet }) => isMet) ? 0 : 1;
} finally {
  await scene.end();
}
