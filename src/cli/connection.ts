/** How a command finds the arbiter: `--database`, HOLDFAST_DATABASE, the configuration file, the embedded one. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { type Configuration, loadConfiguration, resolveSecret } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';

export interface ConnectionOptions {
  readonly config: string;
  readonly database?: string;
}

/** Beside the configuration file: everything that a running `up` keeps. */
export const stateFolderOf = (configFile: string): string => join(dirname(resolve(configFile)), '.holdfast');

/** The file in which a running `up` says how its embedded arbiter is reached. Owner's eyes only. */
export const arbiterFileOf = (stateFolder: string): string => join(stateFolder, 'arbiter.json');

/** The database of the configuration, with its password; undefined where the file names none. */
export async function configuredDatabase(configuration: Configuration): Promise<string | undefined> {
  const { database } = configuration;
  if (!database) return undefined;
  if (!database.password) return database.url;
  const password = await resolveSecret(database.password, 'database.password');
  const url = database.url.replace(
    /^(postgres(?:ql)?:\/\/)([^@:/]*)@/,
    `$1$2:${encodeURIComponent(password)}@`,
  );
  return url;
}

export async function findDatabase(options: ConnectionOptions): Promise<string> {
  const named = options.database ?? process.env.HOLDFAST_DATABASE;
  if (named) return named;
  if (existsSync(options.config)) {
    const { configuration } = await loadConfiguration(options.config);
    const configured = await configuredDatabase(configuration);
    if (configured) return configured;
  }
  const file = arbiterFileOf(stateFolderOf(options.config));
  try {
    return (JSON.parse(await readFile(file, 'utf8')) as { url: string }).url;
  } catch {
    throw new HoldfastError(
      'NOT_RUNNING',
      `No database is named, and no \`holdfast up\` runs beside ${options.config}.`,
      {
        remedy:
          'Start `holdfast up` here, name the file with -c, or the arbiter with --database or HOLDFAST_DATABASE.',
      },
    );
  }
}

/** Runs a command against the arbiter and closes the connection whatever happens. */
export async function withArbiter<T>(
  options: ConnectionOptions,
  work: (arbiter: Arbiter) => Promise<T>,
): Promise<T> {
  const arbiter = openArbiter({ url: await findDatabase(options), applicationName: 'holdfast cli', max: 1 });
  try {
    return await work(arbiter);
  } finally {
    await arbiter.close();
  }
}
