import { setTimeout as delay } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { withoutPassword } from '../database/url.ts';
import { eventTotals } from '../events/administration.ts';
import { viewCluster } from '../members/cluster.ts';
import { viewReplication } from '../members/durability.ts';
import { sessionsPerInstance } from '../sessions/index.ts';
import { configurationFromDocument, currentRevision } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type ConnectionOptions, findDatabase } from './connection.ts';
import { printJson } from './output.ts';
import { isFine, type Status, type StatusInput, statusJson, statusText } from './status-view.ts';

const queryDeadlineMs = 3_000;

export async function readStatus(arbiter: Arbiter, url: string): Promise<Status> {
  const sentMs = performance.now();
  const view = await viewCluster(arbiter.query).catch(explainEmptyArbiter);
  const roundTripMs = Math.round((performance.now() - sentMs) * 10) / 10;
  const revision = await currentRevision(arbiter);
  const configuration = revision && configurationFromDocument(revision.document);
  return statusJson({
    view,
    address: withoutPassword(url).replace(/\?.*$/, ''),
    roundTripMs,
    lease: configuration?.lease ?? { ttlMs: 5_000, heartbeatMs: 1_000 },
    queryDeadlineMs,
    sessions: Object.fromEntries(await sessionsPerInstance(arbiter)),
    expected: configuration?.app.instances.map(({ name }) => name) ?? [],
    replication: await viewReplication(arbiter.query),
    events: await readEvents(arbiter),
  });
}

/** The rest of the status is shown even where the ledger is older than this Holdfast, or too slow to answer. */
async function readEvents(arbiter: Arbiter): Promise<StatusInput['events']> {
  try {
    return await eventTotals(arbiter.query);
  } catch (error) {
    const state = (error as { code?: string }).code;
    const isOlder = state === '42P01' || state === '42883' || state === '42703';
    return { unreadable: isOlder ? 'this arbiter has no ledger yet' : (error as Error).message };
  }
}

export async function statusCommand(
  options: ConnectionOptions & { json?: boolean; watch?: boolean },
): Promise<void> {
  const url = await findDatabase(options);
  const arbiter = openArbiter({ url, applicationName: 'holdfast status', max: 1, queryDeadlineMs });
  try {
    if (!options.watch) {
      const status = await readStatus(arbiter, url);
      if (options.json) printJson(status);
      else process.stdout.write(`${statusText(status)}\n`);
      process.exitCode = isFine(status) ? 0 : 1;
      return;
    }
    const stop = new AbortController();
    process.once('SIGINT', () => stop.abort());
    process.once('SIGTERM', () => stop.abort());
    while (!stop.signal.aborted) {
      const text = await readStatus(arbiter, url).then(
        (status) => (options.json ? JSON.stringify(status) : statusText(status)),
        (error: Error) => (options.json ? JSON.stringify({ error: error.message }) : error.message),
      );
      const clear = process.stdout.isTTY && !options.json ? '\x1b[H\x1b[J' : '';
      process.stdout.write(`${clear}${text}\n`);
      await delay(1_000, undefined, { signal: stop.signal }).catch(() => undefined); // Ctrl-C ends the loop
    }
  } finally {
    await arbiter.close();
  }
}

/** A database without Holdfast's tables is no defect, but the wrong one or an empty one. */
export function explainEmptyArbiter(error: unknown): never {
  const state = (error as { code?: string }).code;
  if (state === '3F000' || state === '42P01' || state === '42883') {
    throw new HoldfastError('NOT_RUNNING', 'This database holds no Holdfast cluster yet.', {
      remedy: 'Start `holdfast up` or an agent on it, or name another database with --database.',
    });
  }
  throw error;
}
