/**
 * The folder tree shows the architecture: an import goes to a lower floor, or sideways by an edge that is listed
 * here, never up. This test reads every import of the sources and holds the table.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');
const source = join(root, 'src');

const floors: Readonly<Record<string, number>> = {
  protocol: 0,
  support: 0,
  database: 1,
  balancer: 1,
  platform: 1,
  members: 2,
  leases: 2,
  events: 2,
  sessions: 2,
  files: 2,
  idempotency: 2,
  settings: 2,
  agent: 3,
  gateway: 3,
  console: 3,
  doctor: 3,
  cli: 4,
};

/** Neighbours that may know each other. */
const sideways: readonly string[] = [
  'protocol → support',
  'events → leases',
  'events → members',
  'events → settings', // an event is what the configuration says
];

/** Floor 0 does no I/O and reads no clock: of Node's modules it may use those that compute. */
const pureModules: readonly string[] = ['node:crypto', 'node:net', 'node:util'];

interface Import {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

const isTest = (file: string): boolean => /\.(test|fixture)\.ts$/.test(file);

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;'"()]*?(?:from\s*)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]/g;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? '');
}

const folderOf = (file: string): string => relative(source, file).split('/')[0] ?? '';

const imports: Import[] = filesBelow(source)
  .filter((file) => !isTest(file))
  .flatMap((file) => importsOf(file).map((to) => ({ file: relative(root, file), from: folderOf(file), to })));

test('every folder of the sources has a floor', () => {
  const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const unknown = folders.map(({ name }) => name).filter((name) => !(name in floors) && name !== 'testing');
  assert.deepEqual(unknown, []);
});

test('an import goes down, or sideways by a listed edge, and never up', () => {
  const wrong = imports.filter(({ file, from, to }) => {
    if (!to.startsWith('.') || !(from in floors)) return false;
    const target = folderOf(resolve(root, dirname(file), to));
    if (target === from) return false;
    if (!(target in floors)) return true;
    const [own = 0, other = 0] = [floors[from], floors[target]];
    return other > own || (other === own && !sideways.includes(`${from} → ${target}`));
  });
  assert.deepEqual(wrong, []);
});

test('the test kit imports no command', () => {
  const wrong = imports.filter(
    ({ file, from, to }) =>
      from === 'testing' && to.startsWith('.') && folderOf(resolve(root, dirname(file), to)) === 'cli',
  );
  assert.deepEqual(wrong, []);
});

test('floor 0 does no I/O: it imports only modules that compute', () => {
  const isNode = (to: string) => to.startsWith('node:') || builtinModules.includes(to);
  const wrong = imports.filter(
    ({ from, to }) => floors[from] === 0 && isNode(to) && !pureModules.includes(to),
  );
  assert.deepEqual(wrong, []);
});

test('floor 0 reads no clock and draws no random number', () => {
  const forbidden =
    /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|setTimeout|setInterval|randomBytes|randomUUID|process\.)/;
  const wrong = ['protocol', 'support']
    .flatMap((folder) => filesBelow(join(source, folder)))
    .filter(
      (file) =>
        !isTest(file) && forbidden.test(readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')),
    )
    .map((file) => relative(root, file));
  assert.deepEqual(wrong, []);
});

test('only the database floor imports the PostgreSQL driver', () => {
  const wrong = imports.filter(({ from, to }) => to === 'pg' && from !== 'database');
  assert.deepEqual(wrong, []);
});

test('no file has a name that says nothing', () => {
  const names = /\/(utils?|helpers?|lib|types?|interfaces?|common|misc)\.ts$/;
  assert.deepEqual(
    filesBelow(source).filter((file) => names.test(file)),
    [],
  );
});
