import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type EngineStatus, type InstanceTraffic, latencyBucketsMs } from './engine.ts';
import { prometheusText } from './metrics.ts';

const traffic: InstanceTraffic = {
  instance: 'shop-1',
  healthy: true,
  inFlight: 3,
  connections: 7,
  idleMs: 12,
  users: 42,
  requests: 110,
  responses: [1, 90, 10, 5, 2],
  replayed: 2,
  failed: 3,
  unknown: 1,
  ejections: 1,
  latency: { counts: latencyBucketsMs.map((_, index) => index).concat(4), sumMs: 1_234.5 },
  warmth: 0.25,
};

const status: EngineStatus = {
  listen: { host: '0.0.0.0', port: 8080 },
  instances: [traffic, { ...traffic, instance: 'shop-2', healthy: false, users: null, latency: null }],
  clients: { connections: 5, accepted: 900, refusals: { 400: 2, 503: 4 }, waiting: 1 },
};

interface Family {
  readonly type: string;
  readonly samples: Map<string, number>;
}

const labelPattern = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"`;
const samplePattern = new RegExp(
  String.raw`^([a-zA-Z_:][\w:]*)(?:\{(${labelPattern}(?:,${labelPattern})*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|\+Inf)$`,
);

/** Reads the text format 0.0.4 strictly: families in one piece, HELP and TYPE before their samples, none twice. */
function parse(text: string): Map<string, Family> {
  assert.ok(text.endsWith('\n'), 'the last line ends');
  const families = new Map<string, Family>();
  let current: { name: string; help: boolean; family: Family } | undefined;
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const help = /^# HELP ([a-zA-Z_:][\w:]*) (.+)$/.exec(line);
    const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)$/.exec(line);
    if (help?.[1]) {
      assert.ok(!families.has(help[1]), `${help[1]} is in one piece`);
      current = { name: help[1], help: true, family: { type: '', samples: new Map() } };
    } else if (type?.[1] && type[2]) {
      assert.equal(type[1], current?.name, 'TYPE follows its HELP');
      current = { name: type[1], help: true, family: { type: type[2], samples: new Map() } };
      families.set(type[1], current.family);
    } else {
      const [, name = '', labels = '', value = ''] =
        samplePattern.exec(line) ?? assert.fail(`not a line: ${line}`);
      assert.ok(current && families.has(current.name), `${name} has a TYPE`);
      const { type: kind, samples } = current.family;
      const own = kind === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name;
      assert.equal(own, current.name, `${name} stands with its family`);
      const key = `${name}{${labels}}`;
      assert.ok(!samples.has(key), `${key} is there once`);
      samples.set(key, Number(value.replace('+Inf', 'Infinity')));
    }
  }
  return families;
}

const all = (families: Map<string, Family>): Map<string, number> =>
  new Map([...families.values()].flatMap(({ samples }) => [...samples]));

test('every figure of the status is a sample', async () => {
  const samples = all(parse(await prometheusText(status, {})));
  const expected: Record<string, number> = {
    'requests_total{instance="shop-1"}': 110,
    'responses_total{instance="shop-1",class="1xx"}': 1,
    'responses_total{instance="shop-1",class="2xx"}': 90,
    'responses_total{instance="shop-1",class="3xx"}': 10,
    'responses_total{instance="shop-1",class="4xx"}': 5,
    'responses_total{instance="shop-2",class="5xx"}': 2,
    'in_flight_requests{instance="shop-1"}': 3,
    'instance_connections{instance="shop-1"}': 7,
    'replayed_requests_total{instance="shop-1"}': 2,
    'failed_requests_total{instance="shop-1"}': 3,
    'unknown_fate_requests_total{instance="shop-1"}': 1,
    'ejections_total{instance="shop-1"}': 1,
    'instance_healthy{instance="shop-1"}': 1,
    'instance_healthy{instance="shop-2"}': 0,
    'instance_users{instance="shop-1"}': 42,
    'instance_warmth_ratio{instance="shop-1"}': 0.25,
    'client_connections{}': 5,
    'client_connections_accepted_total{}': 900,
    'refusals_total{status="400"}': 2,
    'refusals_total{status="503"}': 4,
    'waiting_requests{}': 1,
  };
  for (const [key, value] of Object.entries(expected)) {
    assert.equal(samples.get(`holdfast_balancer_${key}`), value, key);
  }
});

test('the histogram is cumulative, in seconds, and its last bucket is its count', async () => {
  const { type, samples } =
    parse(await prometheusText(status, {})).get('holdfast_balancer_latency_seconds') ?? assert.fail();
  assert.equal(type, 'histogram');
  const buckets = [...samples].flatMap(([key, value]) => {
    const bound = /_bucket\{instance="shop-1",le="([^"]+)"\}/.exec(key)?.[1];
    return bound === undefined ? [] : [{ bound: Number(bound.replace('+Inf', 'Infinity')), value }];
  });
  assert.deepEqual(
    buckets.map(({ bound }) => bound),
    [...latencyBucketsMs.map((ms) => ms / 1000), Number.POSITIVE_INFINITY],
  );
  let sum = 0;
  for (const [index, count] of (traffic.latency?.counts ?? []).entries()) {
    sum += count;
    assert.equal(buckets[index]?.value, sum);
  }
  const name = 'holdfast_balancer_latency_seconds';
  assert.equal(samples.get(`${name}_count{instance="shop-1"}`), sum);
  assert.equal(samples.get(`${name}_sum{instance="shop-1"}`), 1.2345);
});

test('what an engine cannot know is left out, not shown as nothing', async () => {
  const [known, unknown] = status.instances;
  assert.ok(known && unknown);
  const some = await prometheusText(status, {});
  assert.doesNotMatch(some, /(instance_users|latency_seconds\w*)\{instance="shop-2"/);
  const none = parse(await prometheusText({ ...status, instances: [unknown] }, {}));
  assert.equal(none.has('holdfast_balancer_instance_users'), false);
  assert.equal(none.has('holdfast_balancer_latency_seconds'), false);
  assert.equal(none.has('holdfast_balancer_requests_total'), true);
});

test('counters, and nothing else, end in _total, and every name carries its unit or its thing', async () => {
  for (const [name, { type }] of parse(await prometheusText(status, {}))) {
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.doesNotMatch(name, /_(ms|milliseconds|kb|percent)\b/, name);
  }
});

test('labels are given to every sample, whatever is in them', async () => {
  const odd = 'a "quoted"\\ name\nin two lines';
  const samples = all(parse(await prometheusText(status, { cluster: 'shop', balancer: odd })));
  for (const key of samples.keys()) {
    assert.ok(key.includes('cluster="shop",balancer="a \\"quoted\\"\\\\ name\\nin two lines"'), key);
  }
});

test('a balancer without instances has metrics too', async () => {
  const empty = { ...status, instances: [], clients: { ...status.clients, refusals: {} } };
  const families = parse(await prometheusText(empty, {}));
  assert.equal(families.get('holdfast_balancer_client_connections')?.samples.size, 1);
});

test('the process is measured: its CPU time, memory, descriptors, and how late its event loop is', async () => {
  await prometheusText(status, {});
  await delay(100); // the loop is watched from the first question on
  const untilMs = performance.now() + 200;
  while (performance.now() < untilMs); // nothing else can run now: a delay of 200 ms
  await delay(50);
  const samples = all(parse(await prometheusText(status, {})));
  const { user, system } = process.cpuUsage();
  const cpuSeconds = samples.get('process_cpu_seconds_total{}') ?? 0;
  assert.ok(cpuSeconds > 0.2 && cpuSeconds <= (user + system) / 1e6, `${cpuSeconds} s`);
  assert.ok((samples.get('process_resident_memory_bytes{}') ?? 0) > 20e6);
  assert.ok((samples.get('process_open_fds{}') ?? 0) > 3);
  assert.ok((samples.get('nodejs_eventloop_lag_max_seconds{}') ?? 0) > 0.15);
  const started = samples.get('process_start_time_seconds{}') ?? 0;
  assert.ok(Math.abs(started - (Date.now() / 1000 - process.uptime())) < 1);
});
