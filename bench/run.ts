/**
 * Runs one benchmark: `npm run bench -- NAME [options]`. Without a name it says which there are. Each is a folder
 * beside this file with a program in it, bench.ts (or run.ts), and its README.md says what it measures and how.
 * Another program of a folder is `NAME/PROGRAM`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

function programOf(name: string): URL | undefined {
  if (!/^[a-z-]+(\/[a-z-]+)?$/.test(name)) return undefined;
  const files = name.includes('/') ? [`${name}.ts`] : [`${name}/bench.ts`, `${name}/run.ts`];
  return files.map((file) => new URL(file, import.meta.url)).find((url) => existsSync(url));
}

const names = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && programOf(entry.name) !== undefined)
  .map(({ name }) => name)
  .sort();

/** The first heading of its README.md. */
function titleOf(name: string): string {
  const readme = readFileSync(new URL(`${name}/README.md`, import.meta.url), 'utf8');
  return /^# (.*)$/m.exec(readme)?.[1] ?? '';
}

const [, , wanted, ...options] = process.argv;
const program = wanted === undefined ? undefined : programOf(wanted);
if (program) {
  process.argv = [process.execPath, program.pathname, ...options];
  await import(program.href);
} else {
  if (wanted !== undefined) console.error(`There is no benchmark "${wanted}".\n`);
  console.log('npm run bench -- NAME [options]\n');
  const width = Math.max(...names.map(({ length }) => length));
  for (const name of names) console.log(`  ${name.padEnd(width)}  ${titleOf(name)}`);
  process.exitCode = wanted === undefined ? 0 : 2;
}
