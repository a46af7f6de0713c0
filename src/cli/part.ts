/**
 * What `agent` and `balancer` have in common: a structured log, an arbiter that may not be there yet, and the
 * configuration that is in force. A part waits for an arbiter that is away; one that refuses is an error.
 */
import { mkdir } from 'node:fs/promises';
import { pino } from 'pino';
import type { Arbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { migrate } from '../database/migrate.ts';
import { stickyKeyOf } from '../members/cluster.ts';
import { probeSecret } from '../protocol/probe.ts';
import { type Configuration, configurationFromDocument, currentRevision } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';

export const partLog = (bindings: object): Log =>
  pino({
    base: null,
    level: process.env.HOLDFAST_LOG_LEVEL ?? 'info',
    timestamp: pino.stdTimeFunctions.isoTime,
  }).child(bindings);

export interface InForce {
  readonly configuration: Configuration;
  readonly revision: number;
  readonly document: unknown;
  /** What the doctor and the probes in the applications know each other by. */
  readonly probeSecret: string;
}

/** Waits while the arbiter is away; undefined if stopped meanwhile. Rejects with REVISION_MISSING and all else. */
export async function waitForConfiguration(
  arbiter: Arbiter,
  directory: string,
  log: Log,
  stop: AbortSignal,
): Promise<InForce | undefined> {
  let told = false;
  while (!stop.aborted) {
    try {
      return await readConfiguration(arbiter, directory);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'ARBITER_UNAVAILABLE') throw error;
      if (!told) log.warn({ notice: true }, `${error.message} Waiting for it.`);
      told = true;
      await systemClock.sleep(500, stop);
    }
  }
  return undefined;
}

async function readConfiguration(arbiter: Arbiter, directory: string): Promise<InForce> {
  await migrate(arbiter);
  const revision = await currentRevision(arbiter);
  if (!revision) {
    throw new HoldfastError('REVISION_MISSING', 'The arbiter holds no configuration yet.', {
      remedy: 'Give the file with -c holdfast.yaml once; afterwards the arbiter has it.',
    });
  }
  return {
    configuration: configurationFromDocument(revision.document, { directory }),
    revision: revision.number,
    document: revision.document,
    probeSecret: probeSecret(await stickyKeyOf(arbiter.query)),
  };
}

export async function ownFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return path;
}
