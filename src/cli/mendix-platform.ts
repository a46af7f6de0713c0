/** The `mendix` platform as the configuration of a cluster wants it for one instance, with its secrets resolved. */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { type MendixPlatformOptions, mendixPlatform, type Platform } from '../platform/index.ts';
import {
  type Configuration,
  type MendixSettings,
  resolveSecret,
  type SecretReference,
} from '../settings/index.ts';
import type { Log } from '../support/log.ts';
import { warnOfConnections } from './mendix-connections.ts';

export interface MendixPlatformFacts {
  readonly configuration: Configuration;
  readonly mendix: MendixSettings;
  readonly instance: string;
  readonly stateFolder: string;
  /** Where balancers reach the instance. */
  readonly advertise: string | null;
  readonly log: Log;
}

export async function mendixPlatformFor(facts: MendixPlatformFacts): Promise<Platform> {
  const { configuration, mendix, instance, stateFolder, advertise, log } = facts;
  const { app } = configuration;
  const index = app.instances.findIndex(({ name }) => name === instance);
  const { listen, appBase, adminPort, adminPassword, ...asConfigured } = mendix;
  const settings = (await withSecrets(app.settings, 'app.settings')) as Record<string, unknown>;
  void warnOfConnections(settings, app.instances.length, log);
  return mendixPlatform({
    ...asConfigured,
    appBase: appBase.replaceAll('{instance}', instance),
    adminPort: adminPort === undefined ? undefined : adminPort + index,
    adminPassword: adminPassword && (await resolveSecret(adminPassword, 'app.mendix.adminPassword')),
    listenAddresses: listen ?? (advertise === null || isLoopback(advertise) ? '127.0.0.1' : '*'),
    settings,
    appUrl: app.url,
    files: await filesOf(configuration.files),
    instances: app.instances.length,
    adminFile: adminFileOf(stateFolder, instance),
    log,
  });
}

/** Where the agent of a Mendix runtime writes down how its admin port is reached. Owner's eyes only. */
export const adminFileOf = (stateFolder: string, instance: string): string =>
  join(stateFolder, 'mendix', `${instance}.json`);

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

async function filesOf(files: Configuration['files']): Promise<MendixPlatformOptions['files']> {
  if (files?.kind !== 's3') return files;
  const { accessKeyId, secretAccessKey } = files;
  return {
    ...files,
    accessKeyId: accessKeyId && (await resolveSecret(accessKeyId, 'files.s3.accessKeyId')),
    secretAccessKey: secretAccessKey && (await resolveSecret(secretAccessKey, 'files.s3.secretAccessKey')),
  };
}

/** Every reference in it becomes the secret that it refers to. */
async function withSecrets(value: unknown, at: string): Promise<unknown> {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value))
    return Promise.all(value.map((one, index) => withSecrets(one, `${at}[${index}]`)));
  if (isReference(value)) return resolveSecret(value, at);
  const entries = Object.entries(value).map(async ([key, one]) => [
    key,
    await withSecrets(one, `${at}.${key}`),
  ]);
  return Object.fromEntries(await Promise.all(entries));
}

function isReference(value: object): value is SecretReference {
  const entries = Object.entries(value);
  const [key, text] = entries[0] ?? [];
  return entries.length === 1 && (key === 'file' || key === 'env') && typeof text === 'string';
}
