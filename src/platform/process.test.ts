import assert from 'node:assert/strict';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { until } from './fixtures/until.ts';
import type { OutputLine, RunningInstance, StartSpec } from './platform.ts';
import { instanceEnvironment, processPlatform } from './process.ts';
import { livingMembers } from './process-group.ts';
import { findProcess } from './process-table.ts';

const noSetsid = process.platform !== 'linux' && 'only Linux has the command `setsid`';

let directory = '';
const started: RunningInstance[] = [];

before(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-process-')));
});
after(async () => {
  for (const instance of started) instance.kill();
  await Promise.all(started.map(({ exited }) => exited));
  await rm(directory, { recursive: true });
});

interface Run {
  readonly instance: RunningInstance & { readonly pid: number };
  readonly output: OutputLine[];
  texts(): string[];
}

async function run(command: string, spec: Partial<StartSpec> = {}): Promise<Run> {
  const output: OutputLine[] = [];
  const instance = await processPlatform({ command, directory }).start({
    address: { host: '127.0.0.1', port: 12_345 },
    environment: {},
    onOutput: (line) => output.push(line),
    ...spec,
  });
  started.push(instance);
  assert.ok(instance.pid);
  return { instance: instance as Run['instance'], output, texts: () => output.map(({ line }) => line) };
}

test('a command runs in its directory, and its exit code is the reason of its exit', async () => {
  const { instance, output } = await run('pwd; echo failing >&2; exit 3');
  assert.deepEqual(await instance.exited, { code: 3, signal: null, description: 'exited with code 3' });
  assert.deepEqual(
    output.toSorted((a, b) => (a.stream < b.stream ? -1 : 1)),
    [
      { stream: 'stderr', line: 'failing' },
      { stream: 'stdout', line: directory },
    ],
  );
});

test('the instance gets its port and the given environment, and the variables of the agent only without HOLDFAST_', async () => {
  process.env.HOLDFAST_DATABASE = 'postgres://holdfast:secret@db1/shop';
  process.env.HOLDFAST_TEST = 'the agent only';
  try {
    const { instance, texts } = await run('env', {
      environment: { HOLDFAST_INSTANCE: 'shop-1', GREETING: 'a b' },
    });
    await instance.exited;
    const lines = new Set(texts());
    for (const line of [
      'PORT=12345',
      'HOLDFAST_INSTANCE=shop-1',
      'GREETING=a b',
      `PATH=${process.env.PATH}`,
    ]) {
      assert.ok(lines.has(line), line);
    }
    assert.deepEqual(
      texts().filter((line) => /HOLDFAST_(DATABASE|TEST)/.test(line)),
      [],
    );
  } finally {
    delete process.env.HOLDFAST_DATABASE;
    delete process.env.HOLDFAST_TEST;
  }
});

test('PORT is a fact: neither the agent nor the configuration overrides it', () => {
  const spec = { environment: { PORT: '1', A: 'given' }, address: { host: '127.0.0.1', port: 80 } };
  assert.deepEqual(instanceEnvironment({ PORT: '2', A: 'own', B: 'own', HOLDFAST_C: 'own' }, spec), {
    PORT: '80',
    A: 'given',
    B: 'own',
  });
});

test('standard input is empty and nothing else of the agent is open', async () => {
  const { instance, texts } = await run(
    'cat; for f in /dev/fd/3 /dev/fd/4; do [ -e "$f" ] && echo "$f"; done; echo end',
  );
  await instance.exited;
  // 4 is what the shell itself may have open while it looks.
  assert.deepEqual(
    texts().filter((line) => line !== '/dev/fd/4'),
    ['end'],
  );
});

test('output comes line by line: long lines cut, the last one without newline, JSON with its fields', async () => {
  const script = `
    process.stdout.write('half');
    process.stdout.write(' and half\\r\\n' + 'x'.repeat(100_000) + '\\n');
    process.stdout.write(Buffer.from([0x61, 0xff, 0x0a]));
    process.stdout.write('{"level":30,"msg":"up"}\\nlast');`;
  await writeFile(join(directory, 'print.cjs'), script);
  const { instance, output, texts } = await run(`'${process.execPath}' print.cjs`);
  await instance.exited;
  assert.equal(texts().length, 5, texts().join('\n').slice(0, 500));
  assert.deepEqual([texts()[0], texts()[2], texts()[4]], ['half and half', 'a\ufffd', 'last']);
  assert.match(texts()[1] ?? '', /^x{16384}… \[83616 more characters cut\]$/);
  assert.deepEqual(output[3], {
    stream: 'stdout',
    line: '{"level":30,"msg":"up"}',
    fields: { level: 30, msg: 'up' },
  });
});

test('the output can be opened by name, as scripts do with /dev/stderr', async () => {
  const { instance, output } = await run('echo by name > /dev/stderr');
  assert.equal((await instance.exited).code, 0);
  assert.deepEqual(output, [{ stream: 'stderr', line: 'by name' }]);
});

test('much output arrives whole and before the exit does', async () => {
  const { instance, texts } = await run('i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done');
  await instance.exited;
  assert.equal(texts().length, 20_000);
  assert.equal(texts().at(-1), 'line 19999');
});

test('an exit is described in words', async () => {
  const words = async (command: string) => (await (await run(command)).instance.exited).description;
  assert.equal(await words('true'), 'exited with code 0');
  assert.equal(await words('no-such-command-here'), 'exited with code 127 (command not found)');
  assert.equal(await words('kill -KILL $$'), 'was killed by SIGKILL');
  assert.equal(await words('exit 137'), 'exited with code 137 (a process of its own was killed by SIGKILL)');
});

test('a directory that is not there is an error of the configuration, with a remedy', async () => {
  const platform = processPlatform({ command: 'true', directory: join(directory, 'nowhere') });
  const start = platform.start({
    address: { host: '127.0.0.1', port: 1 },
    environment: {},
    onOutput: () => assert.fail(),
  });
  await assert.rejects(start, (error) => {
    assert.ok(error instanceof HoldfastError);
    assert.equal(error.code, 'COMMAND_FAILED');
    assert.match(error.message, /nowhere/);
    assert.ok(error.remedy);
    return true;
  });
});

test('stop lets the whole group finish its work, also when the shell around it ends at once', async () => {
  const child = `process.on("SIGTERM", () => setTimeout(() => { console.log("finished"); process.exit(0) }, 200)); console.log("ready"); setInterval(() => {}, 1000)`;
  const { instance, texts } = await run(`'${process.execPath}' -e '${child}' & wait`);
  await until(() => texts().includes('ready'));
  const reason = await instance.stop({ killAfterMs: 20_000 });
  assert.equal(reason.description, 'was killed by SIGTERM');
  assert.deepEqual(texts(), ['ready', 'finished']);
  assert.deepEqual(livingMembers(instance.pid), []);
});

test('stop escalates to SIGKILL for a group that does not listen', async () => {
  const { instance, texts } = await run(
    `trap '' TERM; sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done' & wait; while :; do sleep 1; done`,
  );
  await until(() => texts().includes('ready'));
  const reason = await instance.stop({ killAfterMs: 100 });
  assert.equal(reason.signal, 'SIGKILL');
  assert.deepEqual(livingMembers(instance.pid), []);
});

test('a second stop with a shorter limit hurries the first', async () => {
  const { instance, texts } = await run(`trap '' TERM; echo ready; while :; do sleep 1; done`);
  await until(() => texts().includes('ready'));
  const first = instance.stop({ killAfterMs: 600_000 });
  const second = instance.stop({ killAfterMs: 0 });
  assert.deepEqual(await first, await second);
});

test('a frozen group is stopped: thawed to end properly, or killed as it is', async () => {
  const polite = await run(`trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done`);
  await until(() => polite.texts().includes('ready'));
  process.kill(-polite.instance.pid, 'SIGSTOP');
  assert.equal((await polite.instance.stop({ killAfterMs: 20_000 })).code, 0);
  assert.ok(polite.texts().includes('bye'));

  const killed = await run('echo ready; exec sleep 600');
  await until(() => killed.texts().includes('ready'));
  process.kill(-killed.instance.pid, 'SIGSTOP');
  killed.instance.kill();
  assert.equal((await killed.instance.exited).signal, 'SIGKILL');
});

test('P5: a crash is seen only when the last process of the group is gone, and the others are killed', async () => {
  const { instance, texts } = await run(
    `sh -c 'trap "" TERM HUP; echo ready; while :; do sleep 1; done' & read -r _ < /dev/zero & sleep 0.2; kill -KILL $$`,
  );
  const reason = await instance.exited;
  assert.equal(reason.signal, 'SIGKILL');
  assert.deepEqual(livingMembers(instance.pid), []);
  assert.deepEqual(texts(), ['ready']);
});

test('stop and kill after the end do nothing', async () => {
  const { instance } = await run('exit 7');
  const reason = await instance.exited;
  instance.kill();
  assert.equal(await instance.stop({ killAfterMs: 10 }), reason);
});

test('a process that left the group does not hold up the exit', { skip: noSetsid }, async () => {
  const { instance, texts } = await run(
    `setsid sh -c 'echo $$ > left; echo gone; exec sleep 600' & wait; exit 4`,
  );
  await until(() => texts().includes('gone'));
  const left = Number(await readFile(join(directory, 'left'), 'utf8'));
  try {
    instance.kill();
    assert.equal((await instance.exited).signal, 'SIGKILL');
    assert.ok(findProcess(left), 'a group cannot hold who leaves it');
  } finally {
    process.kill(left, 'SIGKILL');
  }
});

test('the application does not run before it is recorded, and never when that fails', async () => {
  const steps: string[] = [];
  const { instance } = await run('echo run', {
    onOutput: ({ line }) => steps.push(line),
    beforeRun: async (pid) => {
      assert.equal(livingMembers(pid).length, 1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      steps.push(`recorded ${pid}`);
    },
  });
  await instance.exited;
  assert.deepEqual(steps, [`recorded ${instance.pid}`, 'run']);

  let seen = 0;
  const refused = run('echo must not run', {
    onOutput: () => assert.fail('it ran'),
    beforeRun: async (pid) => {
      seen = pid;
      throw new Error('disk full');
    },
  });
  await assert.rejects(refused, /disk full/);
  assert.deepEqual(livingMembers(seen), []);
});

test('a real server answers at its port', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  const script = `require("http").createServer((q, r) => r.end("hello")).listen(process.env.PORT, "127.0.0.1", () => console.log("ready"))`;
  const { instance, texts } = await run(`exec '${process.execPath}' -e '${script}'`, {
    address: { host: '127.0.0.1', port },
  });
  await until(() => texts().includes('ready'));
  assert.equal(
    await (await fetch(`http://${instance.address.host}:${instance.address.port}/`)).text(),
    'hello',
  );
  await instance.stop({ killAfterMs: 5_000 });
  await assert.rejects(fetch(`http://127.0.0.1:${port}/`));
});
