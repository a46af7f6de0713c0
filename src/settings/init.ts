/** The first configuration file of an application: short, commented, and true to what was found in its folder. */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { HoldfastError } from '../support/errors.ts';
import { type Findings, inspectFolder } from './inspect.ts';
import { configurationFileName } from './load.ts';

export interface InitialConfiguration {
  /** Absolute. */
  readonly path: string;
  readonly text: string;
  readonly findings: Findings;
}

/** Throws CONFIGURATION_EXISTS where there is one; nothing is ever overwritten. */
export async function writeInitialConfiguration(directory: string): Promise<InitialConfiguration> {
  const findings = await inspectFolder(directory);
  const text = initialConfiguration(findings, await schemaReference(resolve(directory)));
  return { path: await writeNewConfiguration(directory, text), text, findings };
}

/** The path of the new file. */
export async function writeNewConfiguration(directory: string, text: string): Promise<string> {
  const path = join(resolve(directory), configurationFileName);
  try {
    await writeFile(path, text, { flag: 'wx' });
    return path;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
      throw new HoldfastError('USAGE', `${path} cannot be written: ${String(error)}`, { cause: error });
    }
    throw new HoldfastError('CONFIGURATION_EXISTS', `${path} is already there and is left as it is.`, {
      remedy: 'Edit it, or move it away first.',
    });
  }
}

function initialConfiguration(findings: Findings, schema: string): string {
  const { cluster, application, evidence, advice, platform, command, healthPath } = findings;
  const value = (text: string) => stringify(text, { lineWidth: 0, blockQuote: false }).trimEnd();
  const comments = (lines: readonly string[], indent = '') =>
    lines.flatMap((line) => wrapped(line, 100).map((part) => `${indent}# ${part}`));
  return [
    `# yaml-language-server: $schema=${schema}`,
    '#',
    ...comments([`Holdfast found ${application}:`, ...evidence.map((line) => `- ${line}`)]),
    '# Every key is explained in docs/configuration.md; an editor that reads the schema above shows it as well.',
    '',
    `cluster: ${value(cluster)}`,
    '',
    '# The PostgreSQL that keeps leases, sessions and events. Without it, `holdfast up` starts one of its own beside',
    '# this file, which is enough for one machine.',
    '# database: { url: "postgres://holdfast@db1,db2/holdfast", password: { file: /run/secrets/holdfast-db } }',
    '',
    'app:',
    `  platform: ${platform}`,
    ...comments(advice, '  '),
    ...(command === undefined
      ? []
      : [
          '  # One instance is started like this; Holdfast gives each its own port in PORT.',
          `  command: ${value(command)}`,
        ]),
    '  # Two, so that one may die. Or a list of names, one for each host.',
    '  instances: 2',
    '  # The address that users open, the same for every instance.',
    '  # url: https://www.example.com',
    '  health:',
    ...(healthPath === undefined
      ? ['    # A path that fails when the application cannot serve users is better than the start page.']
      : []),
    `    path: ${value(healthPath ?? '/')}`,
    '  stop: { drain: 30s, kill: 10s }',
    '  # environment: { LOG_LEVEL: info, API_TOKEN: { file: /run/secrets/api-token } }',
    '',
    'balancer:',
    '  listen: 0.0.0.0:8080',
    '',
    '# A session ends after half an hour without use, and after a week in any case.',
    'sessions: { idle: 30m, absolute: 7d }',
    '',
    '# A folder that every instance sees, for files that users upload.',
    '# files: { directory: /mnt/shared-files }',
    '',
    '# Work that runs at certain times, once and not on every instance.',
    '# events:',
    '#   nightly-report:',
    '#     schedule: "0 2 * * *"',
    '#     timezone: Europe/Amsterdam',
    '#     run: { post: /jobs/report }',
    '',
  ].join('\n');
}

/** Where an editor finds the schema: in the project's own dependencies, else in this installation of Holdfast. */
async function schemaReference(directory: string): Promise<string> {
  const local = 'node_modules/holdfast/schema/holdfast.json';
  const installed = await readFile(join(directory, local)).then(
    () => true,
    () => false,
  );
  if (installed) return `./${local}`;
  const own = resolve(dirname(fileURLToPath(import.meta.url)), '../../schema/holdfast.json');
  const path = relative(directory, own).split(sep).join('/');
  return path.startsWith('.') ? path : `./${path}`;
}

function wrapped(line: string, width: number): string[] {
  const lines = [''];
  for (const word of line.replaceAll(/\s+/g, ' ').trim().split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + word.length >= width)
      lines.push(line.startsWith('- ') ? `  ${word}` : word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
