import { relative, resolve } from 'node:path';
import { writeInitialConfiguration } from '../settings/index.ts';
import { printJson, styled } from './output.ts';

export async function initCommand(folder: string, options: { json?: boolean }): Promise<void> {
  const written = await writeInitialConfiguration(resolve(folder));
  if (options.json) {
    printJson({ path: written.path, findings: written.findings });
    return;
  }
  const file = relative(process.cwd(), written.path) || written.path;
  const { application, evidence, advice } = written.findings;
  const found = [`Found ${application}.`, ...evidence.map((line) => `  ${line}`)];
  const next = advice.map((line) => `  ${styled('yellow', '!')} ${line}`);
  process.stdout.write(
    `${[...found, `${styled('green', 'Wrote')} ${file}`, ...next].join('\n')}\n\nRead it, then run: holdfast up -c ${file}\n`,
  );
}
