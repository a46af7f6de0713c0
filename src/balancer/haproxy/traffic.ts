import type { ClientTraffic, InstanceTraffic } from '../engine.ts';

/**
 * HAProxy's counts, read into ours. An instance is several servers for HAProxy, one in each backend, and each server
 * counts for itself from the start of the process on. So the numbers of a slot are added up; what the slot had before
 * its instance came is taken off; and what a HAProxy had counted when it died is kept.
 */
export interface Sample {
  readonly slots: ReadonlyMap<number, SlotCounts>;
  readonly clients: Pick<ClientTraffic, 'connections' | 'accepted' | 'waiting'>;
  /** Requests that were no HTTP: HAProxy answers them before any rule is asked; and those that never became whole. */
  readonly unreadable: number;
}

interface SlotCounts {
  /** The verdict of the checks; undefined while the slot is not in use. */
  readonly healthy: boolean | undefined;
  readonly inFlight: number;
  readonly connections: number;
  readonly totals: Totals;
}

export type Totals = Pick<InstanceTraffic, 'requests' | 'responses' | 'replayed' | 'failed' | 'unknown'>;

export const noTotals: Totals = {
  requests: 0,
  responses: [0, 0, 0, 0, 0],
  replayed: 0,
  failed: 0,
  unknown: 0,
};

const noCounts: SlotCounts = { healthy: undefined, inFlight: 0, connections: 0, totals: noTotals };

export const emptySample: Sample = {
  slots: new Map(),
  clients: { connections: 0, accepted: 0, waiting: 0 },
  unreadable: 0,
};

type Row = Readonly<Record<string, string>>;

/** The rows of `show stat`, of one answer or of several. */
export function parseRows(text: string): Row[] {
  let names: string[] = [];
  const rows: Row[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('# ')) {
      names = line.slice(2).split(',');
    } else if (line !== '') {
      const values = line.split(',');
      rows.push(Object.fromEntries(names.map((name, index) => [name, values[index] ?? ''])));
    }
  }
  return rows;
}

export function readSample(rows: readonly Row[]): Sample {
  const slots = new Map<number, SlotCounts>();
  let connections = 0;
  let accepted = 0;
  let waiting = 0;
  let unreadable = 0;
  for (const row of rows) {
    const { pxname = '', svname = '' } = row;
    const queued = /^(?:app|once|any)$/.test(pxname) ? number(row.qcur) : 0;
    waiting += queued;
    if (pxname === 'entry' && svname === 'FRONTEND') {
      connections = number(row.scur);
      accepted = number(row.conn_tot);
      unreadable = number(row.ereq);
    }
    const slot = Number(/^[abc](\d+)$/.exec(svname)?.[1]);
    if (slot > 0) slots.set(slot, added(slots.get(slot) ?? noCounts, row));
  }
  return { slots, clients: { connections, accepted, waiting }, unreadable };
}

/** One of the servers that are an instance. */
function added(counts: SlotCounts, row: Row): SlotCounts {
  const { pxname, svname = '', status = '' } = row;
  const isChecked = pxname === 'app' && svname.startsWith('a');
  // Responses that break off are among the failed ones.
  const failed = number(row.econ) + number(row.eresp);
  const [one, two, three, four, five] = counts.totals.responses;
  return {
    healthy: isChecked ? verdictOf(status) : counts.healthy,
    inFlight: counts.inFlight + number(row.scur),
    connections: counts.connections + number(row.used_conn_cur) + number(row.idle_conn_cur),
    totals: {
      requests: counts.totals.requests + number(row.stot),
      responses: [
        one + number(row.hrsp_1xx),
        two + number(row.hrsp_2xx),
        three + number(row.hrsp_3xx),
        four + number(row.hrsp_4xx),
        five + number(row.hrsp_5xx),
      ],
      replayed: counts.totals.replayed + number(row.wredis),
      failed: counts.totals.failed + failed,
      // What may be repeated has no fate to be worried about.
      unknown: counts.totals.unknown + (pxname === 'app' ? 0 : failed),
    },
  };
}

function verdictOf(status: string): boolean | undefined {
  if (status.startsWith('MAINT')) return undefined;
  return !status.startsWith('DOWN');
}

const number = (text: string | undefined): number => (text ? Number(text) : 0);

/** Of two totals field by field. */
export function combined(one: Totals, other: Totals, sign: 1 | -1): Totals {
  const sum = (a: number, b: number) => Math.max(a + sign * b, 0);
  const [a, b, c, d, e] = one.responses;
  const [v, w, x, y, z] = other.responses;
  return {
    requests: sum(one.requests, other.requests),
    responses: [sum(a, v), sum(b, w), sum(c, x), sum(d, y), sum(e, z)],
    replayed: sum(one.replayed, other.replayed),
    failed: sum(one.failed, other.failed),
    unknown: sum(one.unknown, other.unknown),
  };
}
