import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRows, readSample } from './traffic.ts';
import { TrafficBook } from './traffic-book.ts';

const columns =
  'pxname,svname,qcur,scur,stot,ereq,econ,eresp,wredis,status,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,conn_tot,idle_conn_cur,used_conn_cur';

type Counts = Readonly<Record<string, number | string>>;

/** The answer of `show stat` to one question. */
function answer(backend: string, server: string, counts: Counts = {}): string {
  const row: Counts = { pxname: backend, svname: server, ...counts };
  const values = columns.split(',').map((name) => row[name] ?? '');
  return `# ${columns}\n${values.join(',')}\n`;
}

const sampleOf = (...answers: readonly string[]) => readSample(answers.flatMap(parseRows));

test('an instance is several servers for HAProxy, and their counts are added up', () => {
  const sample = sampleOf(
    answer('app', 'a3', {
      status: 'UP',
      scur: 2,
      stot: 10,
      hrsp_2xx: 8,
      hrsp_4xx: 1,
      wredis: 1,
      idle_conn_cur: 3,
      used_conn_cur: 2,
    }),
    answer('app', 'b3', { status: 'UP', stot: 1, hrsp_2xx: 1 }),
    answer('once', 'a3', {
      status: 'UP',
      scur: 1,
      stot: 5,
      hrsp_2xx: 3,
      hrsp_5xx: 1,
      eresp: 1,
      used_conn_cur: 1,
    }),
    answer('any', 'c3', { status: 'no check' }),
  );
  assert.deepEqual(sample.slots.get(3), {
    healthy: true,
    inFlight: 3,
    connections: 6,
    totals: { requests: 16, responses: [0, 12, 0, 1, 1], replayed: 1, failed: 1, unknown: 1 },
  });
});

test('of what may be repeated no fate is unknown', () => {
  const { totals } = sampleOf(answer('app', 'a1', { eresp: 2, econ: 1 })).slots.get(1) ?? assert.fail();
  assert.deepEqual([totals.failed, totals.unknown], [3, 0]);
});

test('the verdict is that of the checks, and there is none in maintenance', () => {
  const verdict = (status: string) => sampleOf(answer('app', 'a1', { status })).slots.get(1)?.healthy;
  for (const status of ['UP', 'UP 1/2', 'DRAIN', 'NOLB', 'no check'])
    assert.equal(verdict(status), true, status);
  for (const status of ['DOWN', 'DOWN 1/2', 'DOWN (agent)']) assert.equal(verdict(status), false, status);
  for (const status of ['MAINT', 'MAINT (via app/a1)']) assert.equal(verdict(status), undefined, status);
});

test('clients are those of the entry, and those who wait are counted wherever they wait', () => {
  const { clients, unreadable } = sampleOf(
    answer('entry', 'FRONTEND', { scur: 7, conn_tot: 100, ereq: 3 }),
    answer('once-entry', 'FRONTEND', { scur: 2, conn_tot: 50, ereq: 1 }),
    answer('app', 'BACKEND', { qcur: 4 }),
    answer('app', 'a1', { qcur: 2 }),
    answer('once', 'BACKEND', { qcur: 1 }),
  );
  assert.deepEqual(clients, { connections: 7, accepted: 100, waiting: 7 });
  assert.equal(unreadable, 3);
});

function bookWith(slowStartMs = 0) {
  let nowMs = 0;
  const verdicts: string[] = [];
  const book = new TrafficBook({
    slowStartMs,
    nowMs: () => nowMs,
    onHealth: (instance, healthy) => verdicts.push(`${instance} ${healthy}`),
  });
  const one = () => book.traffic()[0] ?? assert.fail();
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { book, verdicts, one, pass };
}

const nobody = new Set<string>();
const requests = (stot: number, more: Counts = {}) =>
  sampleOf(answer('app', 'a1', { status: 'UP', stot, ...more }));

test('what a slot had counted before its instance came is not its own', () => {
  const { book, one } = bookWith();
  book.list(new Map([['shop-1', 1]]), ['shop-1'], nobody);
  book.take(requests(40));
  assert.equal(one().requests, 40);
  book.list(new Map([['shop-2', 1]]), ['shop-2'], nobody);
  assert.equal(one().requests, 0);
  book.take(requests(45));
  assert.equal(one().requests, 5);
});

test('numbers only rise, though every HAProxy counts from nothing', () => {
  const { book, one } = bookWith();
  book.list(new Map([['shop-1', 1]]), ['shop-1'], nobody);
  book.take(requests(40, { scur: 2 }));
  book.startOver();
  assert.deepEqual([one().requests, one().inFlight], [40, 0]);
  book.take(requests(2));
  assert.equal(one().requests, 42);
});

test('a verdict is told when it changes, and going down counts as an ejection', () => {
  const { book, verdicts, one } = bookWith();
  book.list(new Map([['shop-1', 1]]), ['shop-1'], nobody);
  for (const status of ['UP', 'DOWN', 'DOWN', 'MAINT', 'UP']) book.take(requests(0, { status }));
  assert.deepEqual(verdicts, ['shop-1 false', 'shop-1 true']);
  assert.deepEqual([one().ejections, one().healthy], [1, true]);
});

test('an instance is idle since its last request began or ended', () => {
  const { book, one, pass } = bookWith();
  book.list(new Map([['shop-1', 1]]), ['shop-1'], nobody);
  pass(1_000);
  assert.equal(one().idleMs, 1_000);
  book.take(requests(1, { scur: 1 }));
  pass(500);
  assert.equal(one().idleMs, 0);
  book.take(requests(1));
  pass(300);
  assert.equal(one().idleMs, 300);
});

test('whoever comes back warms up, and the first instances of all are warm', () => {
  const { book, one, pass } = bookWith(10_000);
  const list = (returned: Iterable<string>) =>
    book.list(new Map([['shop-1', 1]]), ['shop-1'], new Set(returned));
  list(['shop-1']);
  assert.equal(one().warmth, 1);
  list(['shop-1']);
  pass(2_500);
  assert.equal(one().warmth, 0.25);
  pass(10_000);
  assert.equal(one().warmth, 1);
});
