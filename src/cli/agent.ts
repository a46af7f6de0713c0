import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { startAgent } from '../agent/agent.ts';
import { type AgentFacts, instanceEnvironment } from '../agent/environment.ts';
import { openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { poolSizes } from '../database/pools.ts';
import { addressTowards } from '../database/route.ts';
import { externalPlatform, type Platform, processPlatform } from '../platform/index.ts';
import { type Configuration, loadConfiguration, nearestName, resolveSecret } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type ConnectionOptions, findDatabase } from './connection.ts';
import { type MendixPlatformFacts, mendixPlatformFor } from './mendix-platform.ts';
import { version } from './output.ts';
import { ownFolder, partLog, waitForConfiguration } from './part.ts';
import { publishConfiguration } from './publish.ts';
import { stopSignals } from './signals.ts';

interface AgentCommandOptions extends ConnectionOptions {
  readonly instance: string;
  readonly state: string;
  readonly advertise?: string;
  readonly directory: string;
}

export async function agentCommand(options: AgentCommandOptions): Promise<void> {
  const { instance } = options;
  const log = partLog({ part: 'agent', instance });
  const stop = new AbortController();
  const signals = stopSignals();
  signals.onStop(() => stop.abort());
  const url = await findDatabase(options);
  const arbiter = openArbiter({ url, applicationName: `holdfast agent ${instance}`, max: poolSizes.agent });
  try {
    if (existsSync(options.config)) {
      await publishConfiguration(arbiter, await loadConfiguration(options.config), 'first start of an agent');
    }
    const inForce = await waitForConfiguration(arbiter, resolve(options.directory), log, stop.signal);
    if (!inForce) return;
    const { configuration } = inForce;
    const stateFolder = await ownFolder(resolve(options.state));
    const advertise = await advertised(configuration, options.advertise, url);
    const agent = await startAgent({
      arbiter,
      ...inForce,
      instance,
      stateFolder,
      host: hostname(),
      version: version(),
      advertise,
      port: portFor(configuration, instance),
      platform: await platformFor({ configuration, instance, stateFolder, advertise, log }),
      environment: await environmentFor(configuration, instance, url),
      alarmSecret:
        configuration.alarm?.secret && (await resolveSecret(configuration.alarm.secret, 'alarm.secret')),
      clock: systemClock,
      log,
    });
    signals.onStop((how) => agent.stop(how));
    if (stop.signal.aborted) agent.stop({ drain: false });
    await agent.finished;
  } finally {
    signals.dispose();
    await arbiter.close();
  }
}

async function platformFor(facts: Omit<MendixPlatformFacts, 'mendix'>): Promise<Platform> {
  const { configuration, instance, log } = facts;
  const { app } = configuration;
  const settings = app.instances.find(({ name }) => name === instance);
  if (!settings) {
    const names = app.instances.map(({ name }) => name);
    const nearest = nearestName(instance, names);
    throw new HoldfastError('INSTANCE_UNKNOWN', `The configuration names no instance "${instance}".`, {
      remedy: `${nearest ? `Did you mean "${nearest}"? ` : ''}It has ${names.join(', ')}.`,
    });
  }
  if (app.platform === 'external') return externalPlatform({ url: settings.url ?? '' });
  if (app.platform === 'process' && app.command) {
    return processPlatform({ command: app.command, directory: app.workingDirectory, log });
  }
  if (app.mendix) return mendixPlatformFor({ ...facts, mendix: app.mendix });
  throw new Error(`nothing can be started for the platform ${app.platform}`);
}

/** An external instance is where its URL says; any other on this host, at the address that its peers can reach. */
async function advertised(
  configuration: Configuration,
  given: string | undefined,
  url: string,
): Promise<string | null> {
  if (given !== undefined) return given;
  return configuration.app.platform === 'external' ? null : addressTowards(url);
}

/** With one fixed port several instances on a machine take it and the following, in their order. */
function portFor(configuration: Configuration, instance: string): number | null {
  const { port, instances } = configuration.app;
  return port === undefined ? null : port + instances.findIndex(({ name }) => name === instance);
}

async function environmentFor(configuration: Configuration, instance: string, databaseUrl: string) {
  const { app, sessions, files } = configuration;
  const configured: Record<string, string> = {};
  for (const [name, value] of Object.entries(app.environment)) {
    configured[name] =
      typeof value === 'string' ? value : await resolveSecret(value, `app.environment.${name}`);
  }
  const { encryptionKey, ...sessionTimes } = sessions;
  const key = encryptionKey && (await resolveSecret(encryptionKey, 'sessions.encryptionKey'));
  const facts = {
    instance,
    cluster: configuration.cluster,
    appUrl: app.url,
    databaseUrl,
    sessions: { ...sessionTimes, ...(key === undefined ? {} : { encryptionKey: key }) },
    filesDirectory: files?.kind === 'directory' ? files.directory : undefined,
    configured,
  };
  return (own: AgentFacts) => instanceEnvironment({ ...facts, ...own });
}
