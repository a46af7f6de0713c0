/**
 * What an engine counts, in the words of Prometheus (text format 0.0.4). Everything comes from `EngineStatus`, so every
 * engine has the same metrics; what an engine cannot know is left out instead of being shown as nothing. No metric has
 * a label for users: their number would be the number of series.
 */
import { readdir } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { AggregatorRegistry } from 'prom-client';
import { type EngineStatus, type InstanceTraffic, latencyBucketsMs } from './engine.ts';

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly value: number;
  readonly labels: Labels;
  /** For the parts of a histogram. */
  readonly metricName?: string;
}

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: readonly Sample[];
}

export const prometheusContentType = 'text/plain; version=0.0.4; charset=utf-8';

/** The labels, such as the balancer's name, are given to every sample. */
export async function prometheusText(status: EngineStatus, labels: Labels): Promise<string> {
  const metrics = [
    ...instanceMetrics(status.instances),
    ...clientMetrics(status.clients),
    ...(await processMetrics()),
  ];
  const known = metrics
    .filter(({ values }) => values.length > 0)
    .map((metric) => ({
      ...metric,
      aggregator: 'first', // there is one of each
      values: metric.values.map((sample) => ({ ...sample, labels: { ...labels, ...sample.labels } })),
    }));
  return AggregatorRegistry.aggregate([known]).metrics();
}

const classes = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const;
const prefix = 'holdfast_balancer';

function instanceMetrics(instances: readonly InstanceTraffic[]): Metric[] {
  const each = (
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    figure: (traffic: InstanceTraffic) => number | null,
  ): Metric => ({
    name: `${prefix}_${name}`,
    help,
    type,
    values: instances.flatMap((traffic) => {
      const value = figure(traffic);
      return value === null ? [] : [{ value, labels: { instance: traffic.instance } }];
    }),
  });
  return [
    each('counter', 'requests_total', 'Requests sent to the instance.', (one) => one.requests),
    {
      name: `${prefix}_responses_total`,
      help: 'Responses of the instance by class of their status.',
      type: 'counter',
      values: instances.flatMap(({ instance, responses }) =>
        classes.map((name, index) => ({ value: responses[index] ?? 0, labels: { instance, class: name } })),
      ),
    },
    {
      name: `${prefix}_latency_seconds`,
      help: 'From sending a request to the instance to the first byte of its response.',
      type: 'histogram',
      values: instances.flatMap(histogramSamples),
    },
    each(
      'counter',
      'replayed_requests_total',
      'Requests that the instance did not answer and that were sent to another one.',
      (one) => one.replayed,
    ),
    each(
      'counter',
      'failed_requests_total',
      'Requests that ended in an error for the client because of the instance.',
      (one) => one.failed,
    ),
    each(
      'counter',
      'unknown_fate_requests_total',
      'Of the failed requests, those that may or may not have been carried out.',
      (one) => one.unknown,
    ),
    each('counter', 'ejections_total', 'How often the instance failed its checks.', (one) => one.ejections),
    each('gauge', 'instance_healthy', '1 while the instance passes its checks.', (one) =>
      Number(one.healthy),
    ),
    each(
      'gauge',
      'instance_warmth_ratio',
      'The share of new users that it gets, of its full one.',
      (one) => one.warmth,
    ),
    each(
      'gauge',
      'in_flight_requests',
      'Requests that the instance has not finished.',
      (one) => one.inFlight,
    ),
    each('gauge', 'instance_connections', 'Connections to the instance.', (one) => one.connections),
    each('gauge', 'instance_users', 'Sticky users who were at the instance lately.', (one) => one.users),
  ];
}

function histogramSamples({ instance, latency }: InstanceTraffic): Sample[] {
  if (latency === null) return [];
  const name = `${prefix}_latency_seconds`;
  const bounds = [...latencyBucketsMs.map((ms) => String(ms / 1000)), '+Inf'];
  let count = 0;
  const buckets = bounds.map((le, index): Sample => {
    count += latency.counts[index] ?? 0;
    return { metricName: `${name}_bucket`, value: count, labels: { instance, le } };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, value: latency.sumMs / 1000, labels: { instance } },
    { metricName: `${name}_count`, value: count, labels: { instance } },
  ];
}

function clientMetrics(clients: EngineStatus['clients']): Metric[] {
  return [
    single('gauge', `${prefix}_client_connections`, 'Open connections of clients.', clients.connections),
    single(
      'counter',
      `${prefix}_client_connections_accepted_total`,
      'Connections of clients that were accepted.',
      clients.accepted,
    ),
    single('gauge', `${prefix}_waiting_requests`, 'Requests that wait for an instance.', clients.waiting),
    {
      name: `${prefix}_refusals_total`,
      help: 'Answers that came from the balancer itself, by status.',
      type: 'counter',
      values: Object.entries(clients.refusals).map(([status, value]) => ({ value, labels: { status } })),
    },
  ];
}

const tickMs = 20;
let eventLoop: ReturnType<typeof monitorEventLoopDelay> | undefined;

/** Of the process that is asked, under the names that Prometheus's dashboards know. */
async function processMetrics(): Promise<Metric[]> {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const descriptors = await readdir('/proc/self/fd').catch(() => undefined); // only Linux tells
  eventLoop ??= startedEventLoopWatch();
  // What is measured is the time between two ticks of a timer, so the timer's own interval is not delay.
  const lagSeconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - tickMs / 1000);
  const metrics = [
    single('counter', 'process_cpu_seconds_total', 'CPU time of user and system.', (user + system) / 1e6),
    single('gauge', 'process_resident_memory_bytes', 'Resident memory.', rss),
    single('gauge', 'nodejs_heap_size_used_bytes', 'Memory of JavaScript objects.', heapUsed),
    single(
      'gauge',
      'process_start_time_seconds',
      'When the process started, since 1970.',
      Math.round(Date.now() / 1000 - process.uptime()),
    ),
    single(
      'gauge',
      'nodejs_eventloop_lag_p99_seconds',
      'Delay of the event loop since the metrics were last read, 99th percentile.',
      lagSeconds(eventLoop.percentile(99)),
    ),
    single(
      'gauge',
      'nodejs_eventloop_lag_max_seconds',
      'Delay of the event loop since the metrics were last read, maximum.',
      lagSeconds(eventLoop.max),
    ),
  ];
  eventLoop.reset();
  if (descriptors) {
    metrics.push(single('gauge', 'process_open_fds', 'Open file descriptors.', descriptors.length));
  }
  return metrics;
}

/** From the first question on: who never asks pays nothing. */
function startedEventLoopWatch(): NonNullable<typeof eventLoop> {
  const histogram = monitorEventLoopDelay({ resolution: tickMs });
  histogram.enable();
  return histogram;
}

const single = (type: 'counter' | 'gauge', name: string, help: string, value: number): Metric => ({
  name,
  help,
  type,
  values: [{ value, labels: {} }],
});
