import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { openCertificates } from '../balancer/certificates.ts';
import { startEmbeddedEngine } from '../balancer/embedded/engine.ts';
import type { Address, Engine, EngineOptions } from '../balancer/engine.ts';
import { startHaproxyEngine } from '../balancer/haproxy/engine.ts';
import { prepareHaproxyFolder } from '../balancer/haproxy/folder.ts';
import type { HaproxyPlace } from '../balancer/haproxy/place.ts';
import type { IdempotencyLedger } from '../balancer/idempotency.ts';
import { tableFile } from '../balancer/table-file.ts';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { poolSizes } from '../database/pools.ts';
import { type EngineHost, engineOptionsOf, idempotencyOf } from '../gateway/engine-options.ts';
import { startGateway } from '../gateway/gateway.ts';
import { type KeptSockets, receiveKeptSockets } from '../gateway/kept-sockets.ts';
import { openIdempotencyLedger } from '../idempotency/idempotency-ledger.ts';
import {
  type Configuration,
  configurationFromDocument,
  currentRevision,
  loadConfiguration,
} from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type Log, silentLog } from '../support/log.ts';
import { keepBalancer } from './balancer-keeper.ts';
import { type ConnectionOptions, findDatabase, withArbiter } from './connection.ts';
import { ownFolder, partLog, waitForConfiguration } from './part.ts';
import { stopSignals } from './signals.ts';

interface BalancerCommandOptions extends ConnectionOptions {
  readonly state: string;
  readonly name?: string;
  readonly listen?: string;
  readonly selfSigned?: boolean;
  readonly printConfig?: boolean;
  /** This process is one that a keeper started. */
  readonly kept?: boolean;
}

/** How long a balancer that was replaced goes on with the connections that it has. */
const finishMs = 60_000;
const stopMs = 2_000;

export async function balancerCommand(options: BalancerCommandOptions): Promise<void> {
  if (options.printConfig) return printHaproxyConfig(options);
  const log = partLog({ part: 'balancer' });
  const kept = options.kept ? await receiveKeptSockets() : undefined;
  if (kept) await carryTraffic(options, kept, log);
  else process.exitCode = await keepBalancer(process.argv.slice(3), log);
}

/** One balancer process, from its configuration to its end. */
async function carryTraffic(options: BalancerCommandOptions, kept: KeptSockets, log: Log): Promise<void> {
  const stop = new AbortController();
  const signals = stopSignals(['SIGTERM', 'SIGINT']);
  process.on('SIGHUP', () => undefined); // for the whole group: it is the keeper that acts on it
  signals.onStop(() => stop.abort());
  const url = await findDatabase(options);
  const arbiter = openArbiter({ url, applicationName: 'holdfast balancer', max: poolSizes.balancer });
  const folder = await ownFolder(join(resolve(options.state), 'balancer'));
  let keys: IdempotencyKeys | undefined;
  try {
    const configuration = await configurationOrLastKnown(
      arbiter,
      join(folder, 'configuration.json'),
      log,
      stop.signal,
    );
    if (!configuration) return;
    const { engine: engineName } = configuration.balancer;
    const engineOptions = engineOptionsOf(configuration, hostOf(options, folder));
    keys = openKeys(configuration, url, nameOf(options, engineOptions.listen));
    const engine = await startEngine(
      engineName,
      { ...engineOptions, ...(keys && { idempotency: keys.ledger }), ...spoken(log), sockets: kept.shelf },
      haproxyPlace(configuration, folder),
    );
    const at = engine.status().listen;
    const certificates = engineOptions.tls && (await openCertificates(engineOptions.tls, silentLog));
    const gateway = startGateway({
      name: () =>
        `${nameOf(options, at)}${kept.finish.aborted ? ` (finishing, process ${process.pid})` : ''}`,
      arbiter,
      engine,
      engineName,
      tableFile: tableFile(join(folder, 'routing-table.json'), log),
      host: hostname(),
      admin: configuration.balancer.admin,
      sockets: kept.shelf,
      replaced: kept.finish,
      ...(certificates && { certificates: () => certificates.daysLeft() }),
      clock: systemClock,
      log,
    });
    log.info({ listen: at }, `balancer listens on ${at.host}:${at.port}`);
    const stopped = untilAborted(AbortSignal.any([stop.signal, kept.finish]));
    try {
      // Without an arbiter and without a table on disk it is never ready, and can be stopped all the same.
      await Promise.race([gateway.ready, stopped]);
      kept.serving();
      await stopped;
    } finally {
      const isReplaced = kept.finish.aborted && !stop.signal.aborted;
      if (isReplaced) stop.signal.addEventListener('abort', () => process.exit(0));
      await engine.close({ graceMs: isReplaced ? finishMs : stopMs });
      await gateway.close();
      await certificates?.close();
    }
  } finally {
    signals.dispose();
    await keys?.close();
    await arbiter.close();
  }
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });

const spoken = (log: Log): Pick<EngineOptions, 'log' | 'onInstanceHealth'> => ({
  log,
  onInstanceHealth: (instance, healthy) =>
    log.info({ notice: true, instance }, `balancer: ${instance} ${healthy ? 'answers' : 'does not answer'}`),
});

const nameOf = ({ name }: BalancerCommandOptions, listen: Address): string =>
  name ?? `${hostname()}:${listen.port}`;

const hostOf = ({ listen, selfSigned }: BalancerCommandOptions, folder: string): EngineHost => ({
  hostName: hostname(),
  cores: availableParallelism(),
  folder,
  listen: listen === undefined ? undefined : parseListen(listen),
  selfSigned,
});

async function startEngine(
  name: Configuration['balancer']['engine'],
  options: EngineOptions,
  place: HaproxyPlace,
): Promise<Engine> {
  if (name === 'embedded') return startEmbeddedEngine(options);
  return startHaproxyEngine(options, place);
}

/** A slot for each instance, and enough for some that are still to come. */
const haproxyPlace = ({ app }: Configuration, folder: string): HaproxyPlace => ({
  folder: join(folder, 'haproxy'),
  slots: Math.max(32, app.instances.length),
});

/** The configuration file if it is here, else what is in force; whichever engine it names. */
async function printHaproxyConfig(options: BalancerCommandOptions): Promise<void> {
  const directory = existsSync(options.config) ? dirname(resolve(options.config)) : process.cwd();
  const document = await documentToPrint(options);
  const configuration = configurationFromDocument(withHaproxy(document), {
    directory,
    name: 'with `balancer.engine: haproxy` the configuration',
    remedy: 'Leave out what HAProxy cannot do, or stay with the embedded engine.',
  });
  const folder = join(resolve(options.state), 'balancer');
  const engineOptions = engineOptionsOf(configuration, hostOf(options, folder));
  process.stdout.write(await prepareHaproxyFolder(engineOptions, haproxyPlace(configuration, folder)));
}

async function documentToPrint(options: BalancerCommandOptions): Promise<unknown> {
  if (existsSync(options.config)) return (await loadConfiguration(options.config)).document;
  const revision = await withArbiter(options, async (arbiter) => currentRevision(arbiter));
  if (revision) return revision.document;
  throw new HoldfastError('REVISION_MISSING', 'The arbiter holds no configuration yet.', {
    remedy: 'Name the file with -c.',
  });
}

function withHaproxy(document: unknown): unknown {
  const { balancer, ...others } = document as { balancer?: object };
  return { ...others, balancer: { ...balancer, engine: 'haproxy' } };
}

interface IdempotencyKeys {
  readonly ledger: IdempotencyLedger;
  close(): Promise<void>;
}

/** On connections of their own: users who wait for a claim and the balancer's heartbeat must not wait for each other. */
function openKeys(configuration: Configuration, url: string, balancer: string): IdempotencyKeys | undefined {
  const settings = idempotencyOf(configuration);
  if (settings === undefined) return undefined;
  const arbiter = openArbiter({
    url,
    applicationName: 'holdfast balancer keys',
    max: poolSizes.balancerKeys,
  });
  const ledger = openIdempotencyLedger(arbiter.query, { ...settings, balancer });
  return { ledger, close: () => arbiter.close() };
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

function parseListen(text: string): Address {
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
