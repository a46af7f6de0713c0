import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../support/log.ts';
import { type CommandOptions, type CommandResult, type CommandRun, startCommand } from './command.ts';
import { handleProcesses, someLive } from './fixtures/handles.ts';
import { until } from './fixtures/until.ts';
import { groupGone, livingMembers, signalGroup } from './process-group.ts';
import { listProcesses } from './process-table.ts';

const standIn = fileURLToPath(new URL('./fixtures/command-stand-in.ts', import.meta.url));
const noSetsid = process.platform !== 'linux' && 'only Linux has the command `setsid`';
const longMs = 60_000;

let directory = '';
before(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-command-')));
});
after(() => rm(directory, { recursive: true }));

interface Run {
  readonly command: CommandRun;
  readonly lines: readonly string[];
}

async function run(t: TestContext, text: string, options: Partial<CommandOptions> = {}): Promise<Run> {
  const lines: string[] = [];
  const command = await startCommand({
    command: text,
    directory,
    environment: {},
    outputLimitBytes: 65_536,
    allowForMs: longMs,
    onOutput: ({ line }) => lines.push(line),
    log: silentLog,
    ...options,
  });
  t.after(async () => {
    command.stop({ because: 'the test is over', graceMs: 0 });
    await command.finished;
  });
  return { command, lines };
}

interface Agent {
  readonly pid: number;
  readonly group: number;
  readonly result: () => CommandResult | undefined;
  signal(signal: NodeJS.Signals): void;
}

/** Starts a stand-in for an agent and waits until its command has said "ready". */
async function startAgent(
  t: TestContext,
  text: string,
  limits: { allowForMs: number; renewEveryMs?: number },
): Promise<Agent> {
  const child = spawn(
    process.execPath,
    [standIn, directory, text, String(limits.allowForMs), String(limits.renewEveryMs ?? '')],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const { pid } = child;
  assert.ok(pid);
  const facts: { group?: number; line?: string; result?: CommandResult }[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => facts.push(JSON.parse(line)));
  const group = (): number => facts.find((fact) => fact.group !== undefined)?.group ?? 0;
  t.after(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    if (group() > 1) signalGroup(group(), 'SIGKILL');
  });
  await until(() => facts.some(({ line }) => line === 'ready'));
  return {
    pid,
    group: group(),
    result: () => facts.find(({ result }) => result !== undefined)?.result,
    signal: (signal) => process.kill(pid, signal),
  };
}

test('both streams are kept in the order in which they were written, and passed on line by line', async (t) => {
  const text = 'pwd; for i in 1 2 3 4 5; do echo "out $i"; echo "err $i" >&2; done; printf end';
  const { command, lines } = await run(t, text);
  const expected = [directory, ...[1, 2, 3, 4, 5].flatMap((i) => [`out ${i}`, `err ${i}`]), 'end'];
  const { output, truncated, exit, killedBecause } = await command.finished;
  assert.equal(output, expected.join('\n'));
  assert.deepEqual(lines, expected);
  assert.equal(truncated, false);
  assert.deepEqual(exit, { code: 0, signal: null, description: 'exited with code 0' });
  assert.equal(killedBecause, undefined);
});

test('of much output the beginning and the end are kept', async (t) => {
  const text = 'i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done';
  const { command, lines } = await run(t, text, { outputLimitBytes: 200 });
  const { output, truncated } = await command.finished;
  assert.equal(truncated, true);
  assert.match(output, /^line 0\nline 1\n[\s\S]*\n… \[\d+ bytes left out\] …\n[\s\S]*\nline 19999\n$/);
  assert.equal(lines.length, 20_000);
});

test('an exit is told by its code or its signal', async (t) => {
  const exitOf = async (text: string) => (await (await run(t, text)).command.finished).exit;
  assert.equal((await exitOf('exit 3')).code, 3);
  assert.equal((await exitOf('kill -TERM $$')).signal, 'SIGTERM');
});

test("a command gets the agent's environment and what is given, and none of the agent's own variables", async (t) => {
  process.env.HOLDFAST_DATABASE = 'postgres://secret';
  t.after(() => delete process.env.HOLDFAST_DATABASE);
  const { command, lines } = await run(t, 'env', {
    environment: { HOLDFAST_EVENT: 'nightly', PORT: '8080' },
  });
  await command.finished;
  assert.ok(lines.includes('HOLDFAST_EVENT=nightly') && lines.includes(`PATH=${process.env.PATH}`));
  assert.equal(
    lines.some((line) => line.startsWith('HOLDFAST_DATABASE')),
    false,
  );
});

test('a command does not run before it is recorded, and never when that fails', async (t) => {
  const steps: string[] = [];
  const { command } = await run(t, 'echo run', {
    onOutput: ({ line }) => steps.push(line),
    beforeRun: async (pid) => {
      await setImmediate();
      steps.push(`recorded ${pid}`);
    },
  });
  await command.finished;
  assert.deepEqual(steps, [`recorded ${command.pid}`, 'run']);

  let group = 0;
  const refused = run(t, 'echo must not run', {
    onOutput: () => assert.fail('it ran'),
    beforeRun: async (pid) => {
      group = pid;
      throw new Error('disk full');
    },
  });
  await assert.rejects(refused, /disk full/);
  assert.deepEqual(livingMembers(group), []);
  await until(() => handleProcesses(process.pid, group).length === 0);
});

test('a directory that is not there is an error with a remedy', async (t) => {
  await assert.rejects(run(t, 'true', { directory: join(directory, 'nowhere') }), { code: 'COMMAND_FAILED' });
});

test('what a command leaves in the background is killed when it ends', async (t) => {
  const { command } = await run(t, `(trap '' TERM HUP; sleep 600) & echo done; exit 4`);
  const { exit, output, killedBecause } = await command.finished;
  assert.deepEqual([exit.code, output, killedBecause], [4, 'done\n', undefined]);
  assert.deepEqual(livingMembers(command.pid), []);
});

test('a process that left the group and holds the output open is not waited for', {
  skip: noSetsid,
}, async (t) => {
  const { command } = await run(
    t,
    `setsid sh -c 'echo $$ > left; exec sleep 600' & until [ -s left ]; do :; done; echo end`,
  );
  const { output } = await command.finished;
  process.kill(Number(await readFile(join(directory, 'left'), 'utf8')), 'SIGKILL');
  assert.equal(output, 'end\n');
});

test('a command that is stopped may finish its work within the grace', async (t) => {
  const { command, lines } = await run(
    t,
    `trap 'echo closing; exit 0' TERM; echo ready; while :; do sleep 0.05; done`,
  );
  await until(() => lines.includes('ready'));
  command.stop({ because: 'the agent stops', graceMs: longMs });
  command.stop({ because: 'said again', graceMs: longMs });
  const { exit, killedBecause } = await command.finished;
  assert.deepEqual([exit.code, lines.at(-1), killedBecause], [0, 'closing', 'the agent stops']);
});

test('a command that ignores SIGTERM is killed after the grace, a disowned grandchild too', async (t) => {
  const text = `trap 'echo heard' TERM; (trap '' TERM HUP; (trap '' TERM HUP; echo ready; exec sleep 600) & exec sleep 600) & while :; do sleep 0.05; done`;
  const { command, lines } = await run(t, text);
  await until(() => lines.includes('ready'));
  command.stop({ because: 'it took too long', graceMs: 300 });
  const { exit, killedBecause } = await command.finished;
  assert.deepEqual([exit.signal, killedBecause], ['SIGKILL', 'it took too long']);
  assert.ok(lines.includes('heard'));
  assert.deepEqual(livingMembers(command.pid), []);
});

test('a stop without grace kills at once, also after one with grace and when frozen', async (t) => {
  const { command, lines } = await run(t, `trap '' TERM; echo ready; while :; do sleep 0.05; done`);
  await until(() => lines.includes('ready'));
  signalGroup(command.pid, 'SIGSTOP');
  command.stop({ because: 'first', graceMs: longMs });
  command.stop({ because: 'second', graceMs: 0 });
  const { exit, killedBecause } = await command.finished;
  assert.deepEqual([exit.signal, killedBecause], ['SIGKILL', 'first']);
});

test('P4: a command that is not allowed more time is killed, and says why', async (t) => {
  const start = performance.now();
  const { command } = await run(t, `trap '' TERM; sleep 600 & sleep 600; wait`, { allowForMs: 400 });
  const { exit, killedBecause } = await command.finished;
  assert.ok(performance.now() - start >= 400);
  assert.equal(exit.signal, 'SIGKILL');
  assert.match(killedBecause ?? '', /did not allow it more time/);
  command.allowFor(longMs);
  command.stop({ because: 'too late', graceMs: 0 });
});

test('P4: a limit that passes before the command is recorded leaves it unrun', async (t) => {
  const { command, lines } = await run(t, 'echo must not run', {
    allowForMs: 50,
    beforeRun: async (pid) => {
      assert.equal(await groupGone(pid, 10_000), true);
    },
  });
  const { killedBecause } = await command.finished;
  assert.match(killedBecause ?? '', /did not allow it more time/);
  assert.deepEqual(lines, []);
});

test('P1, P4: the command of an agent that is frozen is dead before its limit is long past', async (t) => {
  const agent = await startAgent(
    t,
    `trap '' TERM; (trap '' TERM; sleep 600) & echo ready; while :; do sleep 0.05; done`,
    {
      allowForMs: 2_000,
      renewEveryMs: 100,
    },
  );
  agent.signal('SIGSTOP');
  const frozenMs = performance.now();
  assert.equal(await groupGone(agent.group, 15_000), true);
  assert.ok(performance.now() - frozenMs < 3_500, 'the limit and what a busy machine needs');
  assert.equal(agent.result(), undefined);
  agent.signal('SIGCONT');
  await until(() => agent.result() !== undefined);
  assert.match(agent.result()?.killedBecause ?? '', /did not allow it more time/);
  assert.equal(agent.result()?.exit.signal, 'SIGKILL');
});

test('a short freeze does no harm', async (t) => {
  const agent = await startAgent(t, 'echo ready; until [ -e thawed ]; do sleep 0.05; done; echo whole', {
    allowForMs: 20_000,
    renewEveryMs: 100,
  });
  agent.signal('SIGSTOP');
  assert.equal(await groupGone(agent.group, 300), false);
  agent.signal('SIGCONT');
  spawn('touch', [join(directory, 'thawed')]);
  await until(() => agent.result() !== undefined);
  assert.deepEqual([agent.result()?.output, agent.result()?.killedBecause], ['ready\nwhole\n', undefined]);
});

test('P5: the command of an agent that is killed ends with it', async (t) => {
  const agent = await startAgent(t, `trap '' TERM HUP; (sleep 600) & echo ready; sleep 600; wait`, {
    allowForMs: longMs,
    renewEveryMs: 50,
  });
  await until(() => handleProcesses(agent.pid, agent.group).length >= 3);
  const handles = handleProcesses(agent.pid, agent.group);
  agent.signal('SIGKILL');
  assert.equal(await groupGone(agent.group, 10_000), true);
  await until(() => !someLive(handles));
});

test('a command lives beyond its first limit as long as it is allowed to, without a pile of sleepers', async (t) => {
  const { command } = await run(t, 'exec sleep 600', { allowForMs: 1_500 });
  const start = performance.now();
  while (performance.now() - start < 3_000) {
    command.allowFor(1_500);
    await groupGone(command.pid, 15);
  }
  assert.equal(livingMembers(command.pid).length, 1, 'twice its first limit');
  // The shell, one sleeper with its `sleep`.
  command.allowFor(longMs);
  await until(() => handleProcesses(process.pid, command.pid).length === 3);
  const parents = new Set(handleProcesses(process.pid, command.pid));
  const zombies = listProcesses().filter(({ parentPid, zombie }) => zombie && parents.has(parentPid));
  assert.ok(zombies.length <= 1, `${zombies.length} zombies`);
  command.stop({ because: 'enough', graceMs: 0 });
  await command.finished;
  await until(() => handleProcesses(process.pid, command.pid).length === 0);
});
