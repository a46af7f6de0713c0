import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { type FromBalancer, receiveKeptSockets } from './kept-sockets.ts';

class Socket {
  isClosed = false;

  close(): void {
    this.isClosed = true;
  }
}

/** The side of a keeper that has these sockets; what it is told is in `told`. */
async function kept(sockets: Readonly<Record<string, Socket>>) {
  const told: [FromBalancer, object?][] = [];
  const keeper = Object.assign(new EventEmitter(), {
    send: (message: FromBalancer, socket?: object) => told.push(socket ? [message, socket] : [message]),
    kill: () => true,
    pid: 1,
    channel: { unref: () => undefined },
  });
  const received = receiveKeptSockets(keeper as unknown as NodeJS.Process);
  for (const [name, socket] of Object.entries(sockets))
    keeper.emit('message', { kind: 'socket', name }, socket);
  keeper.emit('message', { kind: 'begin' });
  const receiver = await received;
  assert.ok(receiver);
  return { ...receiver, told, keeper };
}

test('a balancer finds the sockets of its predecessor and hands on those that it opens', async () => {
  const [old, fresh] = [new Socket(), new Socket()];
  const { shelf, told } = await kept({ old });
  assert.equal(shelf.take('old'), old);
  shelf.keep('old', old);
  shelf.keep('fresh', fresh);
  assert.deepEqual(told, [[{ kind: 'keep', name: 'fresh' }, fresh]]);
});

test('sockets that the balancer did not take are closed on both sides once it serves', async () => {
  const [used, unused] = [new Socket(), new Socket()];
  const { shelf, serving, told } = await kept({ used, unused });
  shelf.take('used');
  assert.equal(unused.isClosed, false);
  serving();
  assert.equal(unused.isClosed, true);
  assert.equal(used.isClosed, false);
  assert.equal(shelf.take('unused'), undefined);
  assert.deepEqual(told, [[{ kind: 'drop', name: 'unused' }], [{ kind: 'serving' }]]);
});

test('a balancer is told to finish', async () => {
  const { finish, keeper } = await kept({});
  assert.equal(finish.aborted, false);
  keeper.emit('message', { kind: 'finish' });
  assert.equal(finish.aborted, true);
});
