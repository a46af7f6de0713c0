import { relative, resolve } from 'node:path';
import { writeInitialConfiguration } from '../settings/index.ts';
import { printJson, styled } from './output.ts';

export async function initCommand(folder: string, options: { json?: boolean }): Promise<void> {
  const written = await writeInitialConfiguration(resolve(folder));
  if (options.json) {
    printJson(written);
    return;
  }
  const file = relative(process.cwd(), written.path) || written.path;
  const found = written.notes.map((line) => `  ${line}\n`).join('');
  process.stdout.write(`${found}${styled('green', 'wrote')} ${file}\n\nRead it, then run: npx holdfast up -c ${file}\n`);
}
