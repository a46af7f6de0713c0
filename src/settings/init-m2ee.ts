/**
 * Turns m2ee.yaml files into a holdfast.yaml: what describes the application and is the same everywhere goes into it,
 * what each instance has of its own (ports, addresses, the pid file, who is the leader) is left to Holdfast, and secrets
 * go into files that nobody else can read. Whatever is not taken over, and whatever the files do in silence, is said.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import {
  isM2eeMap,
  type M2eeMap,
  type M2eeTrap,
  type M2eeValue,
  readM2ee,
} from '../platform/mendix/m2ee-yaml.ts';
import { type SettingProblem, settingProblems } from '../platform/mendix/runtime-settings.ts';
import { HoldfastError } from '../support/errors.ts';
import { writeNewConfiguration } from './init.ts';
import { clusterName } from './inspect.ts';
import { parseConfiguration } from './load.ts';
import { isSecretName } from './secrets.ts';
import { publicUrl } from './values.ts';

export interface ImportedConfiguration {
  /** Absolute. */
  readonly path: string;
  readonly text: string;
  /** What m2ee-tools does with these files without a word. */
  readonly traps: readonly M2eeTrap[];
  /** What was changed or left out, and why. */
  readonly notes: readonly string[];
  /** Files with a secret each. Absolute. */
  readonly secretFiles: readonly string[];
}

/** Rejects with MENDIX_CONFIGURATION_INVALID, and with CONFIGURATION_EXISTS where there is one. */
export async function writeConfigurationFromM2ee(
  directory: string,
  files: readonly string[],
): Promise<ImportedConfiguration> {
  const folder = resolve(directory);
  const given = await Promise.all(
    files.map(async (path) => ({ path, text: await readFile(path, 'utf8').catch(cannotBeRead(path)) })),
  );
  const { merged, traps } = await readM2ee(given, async (path) => ({
    path,
    text: await readFile(resolve(path), 'utf8').catch(() => undefined),
  }));
  const { text, notes, secrets } = configurationFromM2ee(merged, folder, files);
  parseConfiguration(text, join(folder, 'holdfast.yaml'));
  const path = await writeNewConfiguration(folder, text);
  for (const { file, value } of secrets) {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, `${value}\n`, { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      notes.push(`${file} was there already and is kept as it is`);
    });
  }
  return { path, text, traps, notes, secretFiles: secrets.map(({ file }) => file) };
}

interface Secret {
  readonly file: string;
  readonly value: string;
}

interface Conversion {
  readonly folder: string;
  readonly notes: string[];
  readonly secrets: Secret[];
}

function configurationFromM2ee(
  merged: M2eeMap,
  folder: string,
  files: readonly string[],
): { text: string; notes: string[]; secrets: readonly Secret[] } {
  const conversion: Conversion = { folder, notes: [], secrets: [] };
  const m2ee = sectionOf(merged, 'm2ee');
  if (typeof m2ee.app_base !== 'string' || m2ee.app_base === '')
    throw new HoldfastError(
      'MENDIX_CONFIGURATION_INVALID',
      `${files.join(', ')}: m2ee.app_base is missing, the folder of the application.`,
      {
        remedy: 'Name every file that m2ee reads, each with --m2ee, in its order.',
      },
    );
  const runtime = sectionOf(merged, 'mxruntime');
  const url = urlOf(runtime.ApplicationRootUrl, conversion);
  const app = {
    platform: 'mendix',
    instances: 2,
    ...(url === undefined ? {} : { url }),
    health: { every: '5s', timeout: '3s', startWithin: '10m' },
    stop: { drain: '30s', kill: '40s' },
    ...environmentOf(m2ee.custom_environment, conversion),
    mendix: { appBase: m2ee.app_base, ...mendixOf(merged, m2ee, conversion) },
    settings: settingsOf(runtime, url, conversion),
  };
  tellOfIgnored(m2ee, conversion);
  const text = fileText({ cluster: clusterName(textOf(m2ee.app_name), 'mendix'), app, files });
  return { text, notes: conversion.notes, secrets: conversion.secrets };
}

function mendixOf(merged: M2eeMap, m2ee: M2eeMap, conversion: Conversion): M2eeMap {
  const { notes } = conversion;
  const repository = sectionOf(merged, 'mxnode').mxjar_repo;
  const runtimes = [repository ?? []].flat().filter((one) => typeof one === 'string');
  const listOf = (key: string): M2eeValue[] => {
    const value = m2ee[key];
    if (value === undefined || value === null || Array.isArray(value)) return value ?? [];
    notes.push(`m2ee.${key} is no list, so m2ee-tools ignores it, and so does this file`);
    return [];
  };
  const java = [m2ee.javabin ?? []].flat(9).map(String);
  const keep = m2ee.preserve_environment;
  const options = listOf('javaopts').map(String);
  const mimeTypes = Object.entries(sectionOf(merged, 'mimetypes')).map(([key, value]) => [
    key,
    String(value),
  ]);
  const logging = [merged.logging ?? []].flat().filter((one) => {
    const isWhole = isM2eeMap(one) && typeof one.type === 'string' && typeof one.name === 'string';
    if (!isWhole) notes.push('an entry of `logging` without type and name is left out');
    return isWhole;
  });
  return {
    ...(runtimes.length > 0 ? { runtimes } : {}),
    ...(java.length > 0 ? { java: java.length === 1 ? (java[0] ?? '') : java } : {}),
    ...(options.length > 0 ? { javaOptions: options } : {}),
    ...(keep === true || Array.isArray(keep)
      ? { keepEnvironment: Array.isArray(keep) ? keep.map(String) : true }
      : {}),
    ...(isM2eeMap(m2ee.jetty) ? { jetty: m2ee.jetty } : {}),
    ...(mimeTypes.length > 0 ? { mimeTypes: Object.fromEntries(mimeTypes) } : {}),
    ...(logging.length > 0 ? { logging } : {}),
  };
}

/** The section `mxruntime`, apart from what contradicts high availability or belongs to one instance. */
function settingsOf(runtime: M2eeMap, url: string | undefined, conversion: Conversion): M2eeMap {
  const settings = { ...runtime };
  const problems: SettingProblem[] = settingProblems({
    settings,
    appUrl: url,
    filesKind: undefined,
    instances: 2,
    scheduledEvents: undefined,
  });
  for (const { key, message } of problems) {
    delete settings[key];
    conversion.notes.push(`${key} is left out: ${message}`);
  }
  if (settings.UploadedFilesPath === undefined && settings['com.mendix.core.StorageService'] === undefined)
    conversion.notes.push(
      'uploaded files would stay on the host that received them: name a shared folder under `files`',
    );
  if (settings.DTAPMode !== undefined && settings.DTAPMode !== 'P')
    conversion.notes.push('DTAPMode is left out: m2ee-tools always sends P, whatever the file says');
  delete settings.DTAPMode;
  const execution = settings.ScheduledEventExecution;
  if (execution === 'ALL' || execution === 'SPECIFIED')
    conversion.notes.push(
      'scheduled events: before Mendix 9.12 the leader alone runs them (`app.mendix.scheduledEvents: designated`)',
    );
  return withoutSecrets(settings, ['settings'], conversion) as M2eeMap;
}

/** Values under names that sound like secrets become references to files; a list of them one text, as it is sent. */
function withoutSecrets(value: M2eeValue, path: readonly string[], conversion: Conversion): M2eeValue {
  const name = path.at(-1) ?? '';
  if (isSecretName(name) && (typeof value === 'string' || typeof value === 'number' || isPlainList(value))) {
    const fileOf = (text: string): string =>
      join(conversion.folder, 'secrets', text.replaceAll(/[^\w.-]/g, '_'));
    const isTaken = conversion.secrets.some((other) => other.file === fileOf(name));
    const file = fileOf(isTaken ? path.join('.') : name);
    conversion.secrets.push({ file, value: Array.isArray(value) ? value.join(',') : String(value) });
    return { file };
  }
  if (!isM2eeMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [key, withoutSecrets(one, [...path, key], conversion)]),
  );
}

const isPlainList = (value: M2eeValue): value is M2eeValue[] =>
  Array.isArray(value) && value.length > 0 && value.every((one) => typeof one !== 'object');

function environmentOf(given: M2eeValue | undefined, conversion: Conversion): M2eeMap {
  if (!isM2eeMap(given)) return {};
  const entries = Object.entries(given).filter(([name]) => {
    const isUsable =
      /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && name !== 'PORT' && !name.startsWith('HOLDFAST_');
    if (!isUsable)
      conversion.notes.push(`the environment variable ${name} is left out: its name is not for applications`);
    return isUsable;
  });
  const texts = entries.map(([name, value]) => [name, typeof value === 'object' ? String(value) : value]);
  return entries.length === 0
    ? {}
    : { environment: withoutSecrets(Object.fromEntries(texts), ['environment'], conversion) };
}

function urlOf(root: M2eeValue | undefined, conversion: Conversion): string | undefined {
  if (typeof root !== 'string') return undefined;
  const parsed = publicUrl.safeParse(root.replace(/\/+$/, ''));
  if (parsed.success) return parsed.data;
  conversion.notes.push('ApplicationRootUrl is no address without user and query, so `app.url` is not set');
  return undefined;
}

/** Taken over under another name, or given to each instance by Holdfast. */
const handled = new Set([
  'app_name',
  'app_base',
  'javabin',
  'javaopts',
  'preserve_environment',
  'custom_environment',
  'jetty',
]);
const perInstance = [
  'admin_port',
  'admin_pass',
  'admin_listen_addresses',
  'runtime_port',
  'runtime_listen_addresses',
  'pidfile',
];

function tellOfIgnored(m2ee: M2eeMap, { notes }: Conversion): void {
  const own = perInstance.filter((key) => key in m2ee);
  if (own.length > 0)
    notes.push(
      `each instance gets its own from Holdfast: ${own.join(', ')}. The admin password is new at each start`,
    );
  if (['1', 'password'].includes(String(m2ee.admin_pass)))
    notes.push('m2ee-tools refuses this admin_pass; here it does not matter');
  const others = Object.keys(m2ee).filter((key) => !handled.has(key) && !perInstance.includes(key));
  if (others.length > 0) notes.push(`not used by Holdfast: ${others.map((key) => `m2ee.${key}`).join(', ')}`);
}

function fileText({
  cluster,
  app,
  files,
}: {
  cluster: string;
  app: object;
  files: readonly string[];
}): string {
  const section = (value: object): string =>
    stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }).trimEnd();
  return [
    `# Made from ${files.join(', ')}.`,
    '# Every key is explained in docs/configuration.md; what Holdfast does with a Mendix runtime in docs/mendix.md.',
    '',
    `cluster: ${section([cluster]).slice(2)}`,
    '',
    '# The PostgreSQL that keeps leases and events. Without it, `holdfast up` starts one of its own beside this file, which',
    '# is enough for one machine. It may be the server of the application, in a database of its own.',
    '# database: { url: "postgres://holdfast@db1,db2/holdfast", password: { file: /run/secrets/holdfast-db } }',
    '',
    '# Several instances on one machine need a folder each: write {instance} where its name belongs in appBase.',
    section({ app }),
    '',
    section({
      balancer: {
        listen: '0.0.0.0:8080',
        sticky: { cookie: 'holdfast', session: 'XASSESSIONID' },
        // Long answers are usual, and files of up to 1 GB.
        timeout: '15m',
        limits: { body: '1GB', requestTimeout: '1h' },
        deny: ['^/(ws|rest|api|odata)-doc(/|$)'],
      },
    }),
    '',
  ].join('\n');
}

const sectionOf = (merged: M2eeMap, name: string): M2eeMap => {
  const section = merged[name];
  return isM2eeMap(section) ? section : {};
};

const textOf = (value: M2eeValue | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined;

const cannotBeRead =
  (path: string) =>
  (cause: NodeJS.ErrnoException): never => {
    throw new HoldfastError(
      'MENDIX_CONFIGURATION_INVALID',
      `${path} cannot be read: ${cause.code ?? cause.message}.`,
      {
        cause,
        remedy: 'Name the m2ee.yaml of the application, such as ~/.m2ee/m2ee.yaml.',
      },
    );
  };
