import { readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { startEmbeddedEngine, tableFile } from '../balancer/index.ts';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { startGateway } from '../gateway/gateway.ts';
import { type Configuration, configurationFromDocument } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import { type ConnectionOptions, findDatabase } from './connection.ts';
import { ownFolder, partLog, waitForConfiguration } from './part.ts';
import { stopSignals } from './signals.ts';

interface BalancerCommandOptions extends ConnectionOptions {
  readonly state: string;
  readonly name?: string;
  readonly listen?: string;
}

export async function balancerCommand(options: BalancerCommandOptions): Promise<void> {
  const stop = new AbortController();
  const signals = stopSignals();
  signals.onStop(() => stop.abort());
  const log = partLog({ part: 'balancer' });
  const arbiter = openArbiter({
    url: await findDatabase(options),
    applicationName: 'holdfast balancer',
    max: 1,
  });
  const folder = await ownFolder(join(resolve(options.state), 'balancer'));
  try {
    const configuration = await configurationOrLastKnown(
      arbiter,
      join(folder, 'configuration.json'),
      log,
      stop.signal,
    );
    if (!configuration) return;
    const { balancer, app } = configuration;
    if (balancer.engine !== 'embedded') {
      throw new HoldfastError(
        'LISTEN_FAILED',
        `The engine "${balancer.engine}" is not part of this version.`,
        {
          remedy: 'Use `balancer.engine: embedded`.',
        },
      );
    }
    const listen = options.listen ? parseListen(options.listen) : balancer.listen;
    const engine = await startEmbeddedEngine({
      listen,
      sticky: balancer.sticky,
      trustedProxies: balancer.trustedProxies,
      health: app.health,
      limits: { holdMs: balancer.holdMs },
      log,
      onInstanceHealth: (instance, healthy) =>
        log.info(
          { notice: true, instance },
          `balancer: ${instance} ${healthy ? 'answers' : 'does not answer'}`,
        ),
    });
    const at = engine.status().listen;
    const gateway = startGateway({
      name: options.name ?? `${hostname()}:${at.port}`,
      arbiter,
      engine,
      engineName: balancer.engine,
      tableFile: tableFile(join(folder, 'routing-table.json'), log),
      host: hostname(),
      clock: systemClock,
      log,
    });
    log.info({ listen: at }, `balancer listens on ${at.host}:${at.port}`);
    await new Promise<void>((done) => {
      signals.onStop(() => done());
      if (stop.signal.aborted) done();
    });
    await engine.close({ graceMs: 2_000 });
    await gateway.close();
  } finally {
    signals.dispose();
    await arbiter.close();
  }
}

/** The configuration in force; when the arbiter is away at once the one that was last in force here (P9). */
async function configurationOrLastKnown(
  arbiter: Arbiter,
  file: string,
  log: Log,
  stop: AbortSignal,
): Promise<Configuration | undefined> {
  const lastKnown = await readFile(file, 'utf8')
    .then(JSON.parse)
    .catch(() => undefined);
  const impatient = lastKnown === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(2_000)]);
  const inForce = await waitForConfiguration(arbiter, process.cwd(), log, impatient);
  if (inForce) {
    await writeFile(file, JSON.stringify(inForce.document), { mode: 0o600 });
    return inForce.configuration;
  }
  if (stop.aborted || lastKnown === undefined) return undefined;
  log.warn(
    { notice: true },
    'the arbiter is away; starting with the last known configuration and routing table',
  );
  return configurationFromDocument(lastKnown);
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw new HoldfastError(
      'USAGE',
      `--listen ${text}: expected an address such as 0.0.0.0:8080 or [::1]:8080.`,
    );
  }
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port };
}
