/** `holdfast init --m2ee FILE`: from the configuration of m2ee-tools to one of a cluster, with everything said that is not the same. */
import { relative, resolve } from 'node:path';
import { type ImportedConfiguration, writeConfigurationFromM2ee } from '../settings/index.ts';
import { printJson, styled } from './output.ts';

export async function importM2ee(
  folder: string,
  files: readonly string[],
  options: { json?: boolean },
): Promise<void> {
  const imported = await writeConfigurationFromM2ee(resolve(folder), files);
  if (options.json) {
    const { path, traps, notes, secretFiles } = imported;
    printJson({ path, traps, notes, secretFiles });
    return;
  }
  process.stdout.write(`${describeImport(imported, process.cwd())}\n`);
}

function describeImport({ path, traps, notes, secretFiles }: ImportedConfiguration, from: string): string {
  const near = (file: string): string => relative(from, file) || file;
  const file = near(path);
  return [
    `${styled('green', 'Wrote')} ${file}`,
    ...secretFiles.map((secret) => `      ${near(secret)}   a secret; every host needs it`),
    ...(traps.length > 0 ? ['', 'm2ee reads these files differently than they look:'] : []),
    ...traps.map((trap) => `  ${styled('yellow', '!')} ${near(trap.file)}: ${trap.text}`),
    ...(notes.length > 0 ? ['', 'Not as it was:'] : []),
    ...notes.map((note) => `  - ${note}`),
    '',
    `Read it, then run: holdfast up -c ${file}`,
  ].join('\n');
}
