/** What a request costs, small or large, plain or encrypted: processor time of the proxy, and how many it carries. */
import { haproxyForCost, nginxForCost } from './configurations.ts';
import { median, range, table } from './figures.ts';
import { haproxy, holdfast, nginx, peer, peerVersion } from './proxies.ts';
import { atLeast, atMost, type PartReport, type Target } from './report.ts';
import { type Contender, measureRounds, type Samples } from './rounds.ts';
import { browserRequest, largeBytes, type Scene, smallBytes } from './scene.ts';

const natives: readonly Contender[] = [
  { name: 'Holdfast', start: holdfast() },
  { name: 'HAProxy', start: haproxy(haproxyForCost) },
  { name: 'nginx', start: nginx(nginxForCost) },
];

const peerNames = ['http-proxy-3', '@fastify/http-proxy'] as const;

const everybody = (): Contender[] => [
  ...natives,
  ...peerNames.filter(peerVersion).map((name) => ({ name, start: peer(name) })),
];

const limits = { small: 1.3, ofPeers: 1 / 3, throughput: 0.7, tls: 2 };

const cost = (samples: Samples | undefined): number =>
  median(samples?.samples.map(({ processorUs }) => processorUs) ?? []);
const rate = (samples: Samples | undefined): number =>
  median(samples?.samples.map(({ perSecond }) => perSecond) ?? []);

const find = (results: readonly Samples[], name: string): Samples | undefined =>
  results.find((result) => result.name === name);

const times = (value: number): string => (Number.isNaN(value) ? 'not measured' : `${value.toFixed(2)} ×`);

function costTable(results: readonly Samples[]): string {
  const base = cost(find(results, 'HAProxy'));
  return table(
    ['proxy', 'CPU µs/request', 'rounds', "of HAProxy's", 'requests/s'],
    results.map((one) => [
      one.name,
      cost(one).toFixed(1),
      range(
        one.samples.map(({ processorUs }) => processorUs),
        1,
      ),
      times(cost(one) / base),
      rate(one).toFixed(0),
    ]),
  );
}

export async function measureSmall(scene: Scene): Promise<PartReport & { maximumPerSecond: number }> {
  const results = await measureRounds(scene, everybody(), {
    connections: 64,
    request: (cookie) => browserRequest('GET /basket', { cookie }),
  });
  const own = cost(find(results, 'Holdfast'));
  const targets: Target[] = [
    atMost("CPU per request, of HAProxy's", own / cost(find(results, 'HAProxy')), limits.small, times),
  ];
  for (const name of peerNames)
    targets.push(
      atMost(`CPU per request, of ${name}'s`, own / cost(find(results, name)), limits.ofPeers, times),
    );
  const intro =
    `Answers of ${smallBytes} bytes over 64 keep-alive connections, sticky cookie and forwarded headers on; ` +
    'the proxy on a core of its own. Medians of the rounds.';
  return {
    results,
    markdown: `${intro}\n\n${costTable(results)}`,
    targets,
    maximumPerSecond: rate(find(results, 'Holdfast')),
  };
}

export async function measureTls(scene: Scene): Promise<PartReport> {
  const results = await measureRounds(scene, natives, {
    connections: 64,
    tls: true,
    request: (cookie) => browserRequest('GET /basket', { cookie }),
  });
  const ratio = cost(find(results, 'Holdfast')) / cost(find(results, 'HAProxy'));
  return {
    results,
    markdown: `The same over TLS 1.3, connections kept.\n\n${costTable(results)}`,
    targets: [atMost("CPU per request with TLS, of HAProxy's", ratio, limits.tls, times)],
  };
}

export async function measureLarge(scene: Scene): Promise<PartReport> {
  const load = { connections: 16 };
  scene.progress('1 MB responses');
  const responses = await measureRounds(scene, everybody(), {
    ...load,
    request: (cookie) => browserRequest('GET /large', { cookie }),
  });
  scene.progress('1 MB uploads');
  const body = 'y'.repeat(largeBytes);
  const uploads = await measureRounds(scene, everybody(), {
    ...load,
    request: (cookie) => browserRequest('PUT /uploads/one', { cookie, body }),
  });
  const megabytes = (one: Samples | undefined) => (rate(one) * largeBytes) / 1e6;
  const share = (results: readonly Samples[]) =>
    rate(find(results, 'Holdfast')) / rate(find(results, 'HAProxy'));
  const markdown = table(
    ['proxy', '1 MB responses MB/s', 'CPU µs each', '1 MB uploads MB/s', 'CPU µs each'],
    responses.map((response) => {
      const upload = find(uploads, response.name);
      return [
        response.name,
        megabytes(response).toFixed(0),
        cost(response).toFixed(0),
        megabytes(upload).toFixed(0),
        cost(upload).toFixed(0),
      ];
    }),
  );
  return {
    results: { responses, uploads },
    markdown: `16 connections; both directions streamed.\n\n${markdown}`,
    targets: [
      atLeast("1 MB responses: throughput, of HAProxy's", share(responses), limits.throughput, times),
      atLeast("1 MB uploads: throughput, of HAProxy's", share(uploads), limits.throughput, times),
    ],
  };
}
