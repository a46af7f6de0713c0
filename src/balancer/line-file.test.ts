import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { mkdtemp, rename, rm, symlink, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { until } from '../platform/fixtures/until.ts';
import { type Log, silentLog } from '../support/log.ts';
import { openLineFile } from './line-file.ts';

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-lines-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function recordingLog(): { log: Log; said: string[] } {
  const said: string[] = [];
  const record = (fields: object, message: string) => said.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { ...silentLog, warn: record, info: record, child: () => log };
  return { log, said };
}

const contents = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
const linesIn = (path: string): string[] => contents(path).split('\n').slice(0, -1);

test('lines are in the file a moment after they were appended, in their order', async (t) => {
  const path = join(await folder(t), 'access.log');
  const file = openLineFile(path, silentLog);
  const expected = Array.from({ length: 50 }, (_, index) => `{"line":${index},"text":"größe"}`);
  for (const line of expected) file.append(`${line}\n`);
  assert.equal(contents(path), '', 'nothing is written at once');
  await until(() => linesIn(path).length === 50);
  assert.deepEqual(linesIn(path), expected);
  await file.close();
  assert.equal(file.droppedLines, 0);
  assert.equal(statSync(path).mode & 0o007, 0, 'strangers may not read it');
});

test('64 KiB are written without waiting for the moment to pass', async (t) => {
  const path = join(await folder(t), 'access.log');
  t.mock.timers.enable({ apis: ['setTimeout'] }); // the moment never passes
  const file = openLineFile(path, silentLog);
  const line = `${'x'.repeat(1_023)}\n`;
  for (let i = 0; i < 64; i++) file.append(line);
  while (contents(path).length < 64 * 1024) await new Promise((resolve) => setImmediate(resolve));
  await file.close();
  assert.equal(contents(path), line.repeat(64));
});

test('what is there is written when the file is closed, and nothing afterwards', async (t) => {
  const path = join(await folder(t), 'access.log');
  const file = openLineFile(path, silentLog);
  for (let i = 0; i < 3_000; i++) file.append(`${i} ${'x'.repeat(100)}\n`);
  await file.close();
  file.append('too late\n');
  await file.close();
  assert.deepEqual(
    linesIn(path).map((line) => Number(line.split(' ')[0])),
    Array.from({ length: 3_000 }, (_, index) => index),
  );
  assert.equal(file.droppedLines, 1);
});

test('what is in the file already stays', async (t) => {
  const path = join(await folder(t), 'access.log');
  for (const line of ['first\n', 'second\n']) {
    const file = openLineFile(path, silentLog);
    file.append(line);
    await file.close();
  }
  assert.equal(contents(path), 'first\nsecond\n');
});

test('after the file was moved away, lines go to a new one in its place', async (t) => {
  const path = join(await folder(t), 'access.log');
  const file = openLineFile(path, silentLog);
  t.after(() => file.close());
  let count = 0;
  const appending = setInterval(() => file.append(`${count++}\n`), 5);
  t.after(() => clearInterval(appending));
  await until(() => linesIn(path).length > 10);
  await rename(path, `${path}.1`);
  await until(() => linesIn(path).length > 10);
  await unlink(path);
  await until(() => linesIn(path).length > 10);
  clearInterval(appending);
  await file.close();
  assert.deepEqual(linesIn(`${path}.1`), Object.keys(linesIn(`${path}.1`)));
  assert.equal(linesIn(path).at(-1), String(count - 1));
  assert.equal(file.droppedLines, 0);
});

test('a full disk costs lines, which are counted, and nothing else; when there is room again, it goes on', async (t) => {
  const path = join(await folder(t), 'access.log');
  await symlink('/dev/full', path);
  const { log, said } = recordingLog();
  const file = openLineFile(path, log);
  file.append('one\n');
  file.append('two\n');
  await until(() => file.droppedLines === 2);
  file.append('three\n');
  await until(() => file.droppedLines === 3);
  assert.equal(said.length, 1, 'said once');
  assert.match(said[0] ?? '', /lines are lost.*ENOSPC/);
  await unlink(path);
  const appending = setInterval(() => file.append('room\n'), 5);
  t.after(() => clearInterval(appending));
  await until(() => linesIn(path).length > 0);
  clearInterval(appending);
  await file.close();
  assert.ok(linesIn(path).every((line) => line === 'room'));
  assert.match(said[1] ?? '', /written to the file again \{"dropped":\d+\}/);
});

test('a line that a full disk cut in the middle does not spoil the one that follows', async (t) => {
  const path = join(await folder(t), 'access.log');
  const appending = `
    import { openLineFile } from '${join(import.meta.dirname, 'line-file.ts')}';
    import { silentLog } from '${join(import.meta.dirname, '../support/log.ts')}';
    process.on('SIGXFSZ', () => undefined);
    const file = openLineFile('${path}', silentLog);
    const interval = setInterval(() => file.append('x'.repeat(700) + '.\\n'), 5);
    process.stdin.on('end', () => { clearInterval(interval); void file.close(); }).resume();
  `;
  // A limit on the size of files stands for the disk: 10,000 bytes are no whole number of lines.
  const limited = 'exec prlimit --fsize=10000:unlimited "$0" --input-type=module -e "$1"';
  const child = spawn('sh', ['-c', limited, process.execPath, appending], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  t.after(() => child.kill());
  const ended = once(child, 'exit');
  await until(() => contents(path).length === 10_000);
  execFileSync('sh', ['-c', `prlimit --pid ${child.pid} --fsize=unlimited:unlimited`]);
  await until(() => linesIn(path).length > 30);
  child.stdin.end();
  assert.deepEqual(await ended, [0, null]);
  const broken = linesIn(path).filter((line) => line !== `${'x'.repeat(700)}.`);
  assert.deepEqual(broken, ['x'.repeat(10_000 % 702)]);
});

test('while the folder is away, lines are lost and counted, and the file is made anew when it is back', async (t) => {
  const place = await folder(t);
  const path = join(place, 'access.log');
  const file = openLineFile(path, silentLog);
  await rename(place, `${place}-away`);
  t.after(() => rm(`${place}-away`, { recursive: true, force: true }));
  const appending = setInterval(() => file.append('line\n'), 5);
  t.after(() => clearInterval(appending));
  await until(() => file.droppedLines > 0);
  await rename(`${place}-away`, place);
  await unlink(path);
  await until(() => linesIn(path).length > 0);
  clearInterval(appending);
  await file.close();
});

test('a pipe that nobody reads holds nothing up: lines are dropped and counted, and closing takes a second', async (t) => {
  const path = join(await folder(t), 'pipe');
  execFileSync('sh', ['-c', `mkfifo ${path}`]);
  assert.throws(() => openLineFile(path, silentLog), /ENXIO/, 'nobody has it open for reading');
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(reader));
  const { log, said } = recordingLog();
  const file = openLineFile(path, log);
  const line = `${'x'.repeat(999)}\n`;
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 4_000; j++) file.append(line);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(file.droppedLines > 0);
  assert.match(said[0] ?? '', /slower than the traffic/);
  const startedMs = performance.now();
  await file.close();
  assert.ok(performance.now() - startedMs < 3_000);
  // A write that was under way when the file was closed may find room as soon as somebody reads.
  let received = '';
  await until(() => {
    received += readAvailable(reader);
    return file.droppedLines === 12_000 - received.length / line.length;
  });
  assert.equal(received, line.repeat(received.length / line.length), 'whole lines, and none torn');
});

function readAvailable(reader: number): string {
  const bytes = Buffer.alloc(64 * 1024);
  try {
    return bytes.toString('latin1', 0, readSync(reader, bytes));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
    return '';
  }
}

/** A process of its own that appends numbered lines, some long, some short. */
const writer = (path: string, name: string): string => `
  import { openLineFile } from '${join(import.meta.dirname, 'line-file.ts')}';
  import { silentLog } from '${join(import.meta.dirname, '../support/log.ts')}';
  const file = openLineFile('${path}', silentLog);
  for (let i = 0; i < 400; i++) {
    for (let j = 0; j < 10; j++) file.append('${name} ' + (i * 10 + j) + ' ' + '${name}'.repeat(50 + (j * 37) % 200) + '.\\n');
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  await file.close();
  if (file.droppedLines > 0) process.exitCode = 1;
`;

const names: readonly string[] = ['a', 'b', 'c'];

function assertComplete(lines: readonly string[]): void {
  for (const name of names) {
    const own = lines.filter((line) => line.startsWith(name));
    for (const line of own) assert.match(line, new RegExp(`^${name} \\d+ ${name}{50,250}\\.$`));
    const numbers = own.map((line) => Number(line.split(' ')[1]));
    assert.deepEqual(numbers, [...Array(4_000).keys()], `the lines of ${name} are all there, in their order`);
  }
  assert.equal(lines.length, 4_000 * names.length);
}

test('processes that share a file do not disturb each other, not even when it is moved away', async (t) => {
  const path = join(await folder(t), 'access.log');
  const processes = names.map((name) =>
    spawn(process.execPath, ['--input-type=module', '-e', writer(path, name)], { stdio: 'inherit' }),
  );
  const ends = Promise.all(processes.map((child) => once(child, 'exit')));
  await until(() => linesIn(path).length > 1_000);
  await rename(path, `${path}.1`);
  for (const [code] of await ends) assert.equal(code, 0);
  assert.ok(linesIn(path).length > 0);
  assertComplete([...linesIn(`${path}.1`), ...linesIn(path)]);
});

test('processes that share a pipe do not get into each other’s lines', async () => {
  const command = names.map((_, index) => `"$0" --input-type=module -e "$${index + 1}" &`).join('\n');
  const child = spawn(
    'sh',
    ['-c', `${command}\nwait`, process.execPath, ...names.map((name) => writer('-', name))],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  assertComplete((await text(child.stdout)).split('\n').slice(0, -1));
});

test('a file that cannot be opened is an error at the start', async (t) => {
  const place = await folder(t);
  assert.throws(() => openLineFile(join(place, 'missing', 'access.log'), silentLog), /ENOENT/);
  assert.throws(() => openLineFile(place, silentLog), /EISDIR/);
});
