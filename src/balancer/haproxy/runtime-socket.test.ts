import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openRuntimeSocket, RuntimeRefusal, type RuntimeSocket } from './runtime-socket.ts';

type Say = (bytes: string) => void;

/** A socket on which somebody answers like HAProxy: `answer` is called for each line, greetings left out. */
async function conversation(
  t: TestContext,
  answer: (line: string, say: Say, socket: net.Socket) => void,
  limitMs?: number,
): Promise<{ socket: RuntimeSocket; lines: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-cli-'));
  const path = join(folder, 'runtime.sock');
  const lines: string[] = [];
  const server = net.createServer((peer) => {
    let rest = '';
    peer.setEncoding('utf8');
    peer.on('error', () => undefined); // the test closes
    peer.on('data', (text) => {
      const all = (rest + String(text)).split('\n');
      rest = all.pop() ?? '';
      for (const line of all) {
        lines.push(line);
        if (line === 'prompt' || line.startsWith('set severity')) peer.write('\n> ');
        else answer(line, (bytes) => peer.write(bytes), peer);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const socket = await openRuntimeSocket(path, limitMs);
  t.after(async () => {
    socket.close();
    server.close();
    await rm(folder, { recursive: true });
  });
  return { socket, lines };
}

test('commands that are sent together are answered in their order', async (t) => {
  const { socket, lines } = await conversation(t, (line, say) => say(`about ${line}\n\n> `));
  assert.deepEqual(await Promise.all(socket.askAll(['a', 'b', 'c'])), ['about a', 'about b', 'about c']);
  assert.equal(await socket.ask('d'), 'about d');
  assert.deepEqual(lines.slice(-4), ['a', 'b', 'c', 'd']);
});

test('an answer that comes byte by byte, its prompt cut in two, is the same answer', async (t) => {
  const { socket } = await conversation(t, async (line, say) => {
    for (const byte of `first line of ${line}\n>not a prompt\n\n> `) {
      say(byte);
      await sleep(1);
    }
  });
  assert.equal(await socket.ask('x'), 'first line of x\n>not a prompt');
});

test('an answer without a word is an empty one, and what HAProxy remarks is no refusal', async (t) => {
  const answers: Record<string, string> = { quiet: '\n> ', remark: '[4]: no need to change the addr\n\n> ' };
  const { socket } = await conversation(t, (line, say) => say(answers[line] ?? ''));
  assert.equal(await socket.ask('quiet'), '');
  assert.equal(await socket.ask('remark'), 'no need to change the addr');
});

test('P10: what HAProxy refuses is an error with its words, and the next command is answered', async (t) => {
  const answers: Record<string, string> = {
    'set server a/b state ready': '[3]: No such server.\n\n> ',
    nonsense: '[6]: Unknown command, but maybe one of the following ones is a better match:\n  help\n\n> ',
    good: 'yes\n\n> ',
  };
  const { socket } = await conversation(t, (line, say) => say(answers[line] ?? ''));
  const [refused, unknown, good] = socket.askAll(Object.keys(answers));
  await assert.rejects(refused as Promise<string>, (error) => {
    return (
      error instanceof RuntimeRefusal &&
      error.message === 'HAProxy refused "set server a/b state ready": No such server.'
    );
  });
  await assert.rejects(unknown as Promise<string>, /Unknown command/);
  assert.equal(await good, 'yes');
});

test('the payload of a refused command is not told: it may be a key', async (t) => {
  const { socket } = await conversation(t, (line, say) => {
    if (line === '') say('[3]: cannot be parsed\n\n> ');
  });
  await assert.rejects(socket.ask('set ssl cert x <<\n-----BEGIN PRIVATE KEY-----\n'), (error: Error) => {
    return error.message.includes('set ssl cert x') && !error.message.includes('PRIVATE');
  });
});

test('when HAProxy ends the connection, what waits for an answer fails', async (t) => {
  const { socket } = await conversation(t, (_line, _say, peer) => peer.destroy());
  await assert.rejects(socket.ask('show info'), /ended the connection before it answered "show info"/);
  await socket.closed;
  await assert.rejects(socket.ask('again'), /closed/);
});

test('a HAProxy that does not answer is given up', async (t) => {
  const { socket } = await conversation(t, () => undefined, 50);
  await assert.rejects(socket.ask('show info'), /before it answered/);
  await socket.closed;
});

test('where nobody listens there is no conversation', async () => {
  await assert.rejects(openRuntimeSocket('/nowhere/runtime.sock'), { code: 'ENOENT' });
});
