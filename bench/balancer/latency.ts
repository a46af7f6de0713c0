/** How long users wait at half of what the embedded engine can carry, and how long at the same rate elsewhere. */
import { fileURLToPath } from 'node:url';
import { haproxyForCost, nginxForCost } from './configurations.ts';
import { duration, median, range, table } from './figures.ts';
import type { OpenLoopResult, OpenLoopSettings } from './open-loop.ts';
import { loadCore, startOnCore } from './processes.ts';
import { haproxy, holdfast, nginx } from './proxies.ts';
import { atMost, type PartReport } from './report.ts';
import { measureRounds, openContenders } from './rounds.ts';
import { asUsers, browserRequest, type Scene } from './scene.ts';

const contenders = [
  { name: 'Holdfast', start: holdfast() },
  { name: 'HAProxy', start: haproxy(haproxyForCost) },
  { name: 'nginx', start: nginx(nginxForCost) },
];
const nobody = 'no proxy at all';
const p99OfHaproxy = 2;
const connections = 64;
const basket = (cookie?: string): string => browserRequest('GET /basket', { cookie });

/** `maximumPerSecond`: of the embedded engine, if it was measured before. */
export async function measureLatency(scene: Scene, maximumPerSecond?: number): Promise<PartReport> {
  const maximum = maximumPerSecond ?? (await measureMaximum(scene));
  const perSecond = Math.round(maximum / 2);
  const times = scene.isQuick ? { seconds: 1, warmUpSeconds: 0.5 } : { seconds: 5, warmUpSeconds: 1 };
  const results = [...contenders, { name: nobody }].map(({ name }) => ({
    name,
    rounds: [] as OpenLoopResult[],
  }));
  const opened = await openContenders(scene, contenders);
  try {
    // The first round is not measured: code is still being compiled.
    for (let round = 0; round <= scene.rounds; round++) {
      for (const { name, rounds } of results) {
        const proxy = opened.find((one) => one.name === name);
        const port = proxy?.port ?? scene.instances[0] ?? 0;
        const requests = asUsers(proxy?.cookies ?? [], basket);
        const measured = await runOpenLoop({ port, perSecond, connections, requests, ...times });
        if (round > 0) rounds.push(measured);
      }
      scene.progress(round === 0 ? 'warm' : `round ${round} of ${scene.rounds}`);
    }
  } finally {
    await Promise.all(opened.map((proxy) => proxy.stop()));
  }
  const p99 = (name: string) =>
    median(results.find((one) => one.name === name)?.rounds.map(({ latency }) => latency.p99) ?? []);
  const intro =
    `${perSecond} requests a second, half of what Holdfast carries at most, over ${connections} connections. ` +
    'A latency counts from the moment at which the request was due. Medians of the rounds.';
  return {
    results: { perSecond, results },
    markdown: `${intro}\n\n${latencyTable(results)}`,
    targets: [
      atMost(
        "p99 at half of the maximum rate, of HAProxy's",
        p99('Holdfast') / p99('HAProxy'),
        p99OfHaproxy,
        (value) => `${value.toFixed(2)} ×`,
      ),
    ],
  };
}

function latencyTable(results: readonly { name: string; rounds: readonly OpenLoopResult[] }[]): string {
  return table(
    ['proxy', 'median', 'p99', 'p99 ms of rounds', 'p99.9'],
    results.map(({ name, rounds }) => {
      const p99s = rounds.map(({ latency }) => latency.p99);
      return [
        name,
        duration(median(rounds.map(({ latency }) => latency.median))),
        duration(median(p99s)),
        range(p99s, 2),
        duration(median(rounds.map(({ latency }) => latency.p999))),
      ];
    }),
  );
}

async function measureMaximum(scene: Scene): Promise<number> {
  scene.progress('maximum rate');
  const own = contenders.slice(0, 1);
  const [measured] = await measureRounds({ ...scene, rounds: 1 }, own, { connections, request: basket });
  return measured?.samples[0]?.perSecond ?? Number.NaN;
}

async function runOpenLoop(settings: OpenLoopSettings): Promise<OpenLoopResult> {
  const program = fileURLToPath(new URL('open-loop.ts', import.meta.url));
  const args = [program, JSON.stringify(settings)];
  const generator = startOnCore(loadCore, process.execPath, args, { channel: true });
  const result = (await generator.said()) as OpenLoopResult;
  if (result.failed > 0) throw new Error(`${result.failed} requests failed on port ${settings.port}.`);
  return result;
}
