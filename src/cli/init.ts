import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { writeInitialConfiguration } from '../settings/index.ts';
import { importM2ee } from './init-m2ee.ts';
import { printJson, styled } from './output.ts';

interface InitOptions {
  readonly json?: boolean;
  readonly m2ee?: readonly string[];
}

export async function initCommand(folder: string, options: InitOptions): Promise<void> {
  const own = join(resolve(folder), 'm2ee.yaml');
  const m2ee = options.m2ee ?? (existsSync(own) ? [own] : []);
  if (m2ee.length > 0) return importM2ee(folder, m2ee, options);
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
