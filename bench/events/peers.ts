/** The peers, each as its own documentation says to use it. They are installed in this folder alone. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const load = createRequire(import.meta.url);

export type PeerSettings =
  | {
      readonly kind: 'pg-boss';
      readonly pollSeconds: number;
      /** How often it looks whether a cron schedule is due. Left out: its defaults. */
      readonly cronSeconds?: number;
      /** Has one job made at every full minute, by its own cron. */
      readonly minutes?: boolean;
    }
  | { readonly kind: 'graphile-worker'; readonly pollMs: number; readonly minutes?: boolean };

export interface OpenPeer {
  /** Puts jobs in that are due at these moments. */
  schedule(duesMs: readonly number[]): Promise<void>;
}

/** Undefined: not installed. */
export function versionOf(name: PeerSettings['kind']): string | undefined {
  try {
    const folder = dirname(dirname(load.resolve(name)));
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;
  } catch {
    return undefined; // bench.ts says how to install it
  }
}

/** Works until the process ends. */
export function openPeer(
  settings: PeerSettings,
  url: string,
  onStart: (dueMs: number | undefined) => void,
): Promise<OpenPeer> {
  return settings.kind === 'pg-boss'
    ? openPgBoss(settings, url, onStart)
    : openGraphileWorker(settings, url, onStart);
}

interface Tick {
  /** Of one that cron has made, nothing but its start is known. */
  readonly dueMs?: number;
}
const queue = 'tick';

/** A batch is all that a poll may bring: with the default of one job a poll would be a limit of speed, not of delay. */
const jobsAtOnce = 100;

interface PgBoss {
  on(event: 'error', handler: (error: Error) => void): void;
  start(): Promise<unknown>;
  createQueue(name: string): Promise<void>;
  work(name: string, options: object, handler: (jobs: { data: Tick }[]) => Promise<void>): Promise<string>;
  schedule(name: string, cron: string, data: Tick): Promise<void>;
  insert(name: string, jobs: { data: Tick; startAfter: Date }[]): Promise<unknown>;
}

async function openPgBoss(
  { pollSeconds, cronSeconds, minutes }: Extract<PeerSettings, { kind: 'pg-boss' }>,
  url: string,
  onStart: (dueMs: number | undefined) => void,
): Promise<OpenPeer> {
  const { PgBoss } = load('pg-boss') as { PgBoss: new (options: object) => PgBoss };
  const boss = new PgBoss({
    connectionString: url,
    ...(cronSeconds === undefined
      ? {}
      : { cronMonitorIntervalSeconds: cronSeconds, cronWorkerIntervalSeconds: cronSeconds }),
  });
  boss.on('error', (error) => console.error(`pg-boss: ${error.message}`));
  await boss.start();
  await boss.createQueue(queue);
  await boss.work(queue, { batchSize: jobsAtOnce, pollingIntervalSeconds: pollSeconds }, async (jobs) => {
    for (const { data } of jobs) onStart(data.dueMs);
  });
  if (minutes) await boss.schedule(queue, '* * * * *', {});
  return {
    async schedule(duesMs) {
      await boss.insert(
        queue,
        duesMs.map((dueMs) => ({ data: { dueMs }, startAfter: new Date(dueMs) })),
      );
    },
  };
}

interface GraphileRunner {
  addJob(task: string, payload: Tick, options: { runAt: Date }): Promise<unknown>;
}

interface GraphileModule {
  run(options: object): Promise<GraphileRunner>;
  Logger: new (factory: () => () => void) => unknown;
}

async function openGraphileWorker(
  { pollMs, minutes }: Extract<PeerSettings, { kind: 'graphile-worker' }>,
  url: string,
  onStart: (dueMs: number | undefined) => void,
): Promise<OpenPeer> {
  const { run, Logger } = load('graphile-worker') as GraphileModule;
  const runner = await run({
    connectionString: url,
    pollInterval: pollMs,
    noHandleSignals: true,
    logger: new Logger(() => () => undefined),
    taskList: { [queue]: async ({ dueMs }: Tick) => onStart(dueMs) },
    crontab: minutes ? `* * * * * ${queue}` : '',
  });
  return {
    async schedule(duesMs) {
      await Promise.all(duesMs.map((dueMs) => runner.addJob(queue, { dueMs }, { runAt: new Date(dueMs) })));
    },
  };
}
