import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../support/log.ts';
import { runHook } from './hook-command.ts';
import { processIdentity } from './process-identity.ts';

describe('a command that is run once', () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-hook-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  const run = (command: string, { limitMs = 10_000, environment = {} } = {}) =>
    runHook({ command, directory, environment, limitMs, log: silentLog });
  const written = async (name: string) => (await readFile(join(directory, name), 'utf8')).trim();
  const why = async (end: ReturnType<typeof runHook>) => {
    const result = await end;
    assert.equal(result.succeeded, false);
    return result.succeeded ? '' : result.why;
  };

  test('exit 0 is success, whatever it printed', async () => {
    assert.deepEqual(await run('echo done; echo oops >&2'), { succeeded: true });
  });

  test('any other exit is told with the last of what it printed', async () => {
    assert.match(
      await why(run('echo first; echo no route to host >&2; exit 3')),
      /^exited with code 3: .*no route to host/,
    );
    const long = await why(run("head -c 20000 /dev/zero | tr '\\0' 'é'; echo the end; exit 1"));
    assert.ok(long.endsWith('the end') && Buffer.byteLength(long) < 1_100);
  });

  test('a command that is not there, and a directory that is not there, fail with the reason', async () => {
    assert.match(await why(run('no-such-command-here')), /127 \(command not found\)/);
    const nowhere = runHook({
      command: 'true',
      directory: join(directory, 'gone'),
      environment: {},
      limitMs: 1_000,
      log: silentLog,
    });
    assert.match(await why(nowhere), /could not be/);
  });

  test('past its limit its whole process group is killed, and nothing is left of it', async () => {
    const end = run('sleep 300 & echo $! > child; wait', { limitMs: 500 });
    assert.equal(await why(end), 'did not end within 500ms and was killed');
    assert.equal(processIdentity(Number(await written('child'))), undefined);
  });

  test('what it leaves in the background ends with it', async () => {
    assert.deepEqual(await run('sleep 300 & echo $! > left'), { succeeded: true });
    assert.equal(processIdentity(Number(await written('left'))), undefined);
  });

  test("it gets the agent's environment and what is given, and none of the agent's own variables", async (t) => {
    process.env.HOLDFAST_DATABASE = 'postgres://secret';
    t.after(() => delete process.env.HOLDFAST_DATABASE);
    const hostile = `$(touch pwned) \`touch pwned\` "; touch pwned; '`;
    await run(
      'printf %s "$HOLDFAST_DATABASE" > database; printf %s "$HOLDFAST_GIVEN" > given; test -n "$PATH" && ! test -e pwned',
      {
        environment: { HOLDFAST_GIVEN: hostile },
      },
    ).then((end) => assert.deepEqual(end, { succeeded: true }));
    assert.equal(await written('database'), '');
    assert.equal(await written('given'), hostile);
  });
});
