import assert from 'node:assert/strict';
import type net from 'node:net';
import { test } from 'node:test';
import { until } from '../../testing/balancer/until.ts';
import { startBalancer, startInstance } from './instance.fixture.ts';

test('requests that wait are served in the order in which they came, and looked at only when there is room', async (t) => {
  const waiting = 120;
  const order: string[] = [];
  const open: net.Socket[] = [];
  let isOpen = false;
  const answer = (socket: net.Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  const instance = await startInstance(t, (socket, piece) => {
    order.push(/^GET (\S+)/.exec(piece.toString('latin1'))?.[1] ?? '');
    if (isOpen) answer(socket);
    else open.push(socket);
  });
  let looks = 0;
  const random = () => {
    looks++;
    return Math.random();
  };
  const { client, engine } = await startBalancer(t, [instance.port, instance.port], {
    limits: { requestsPerInstance: 1, holdMs: 20_000 },
    random,
  });
  for (let index = 0; index < waiting + 2; index++) {
    client(`GET /${index} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await until('it is sent or waits', () => order.length + engine.status().clients.waiting === index + 1);
  }
  assert.equal(open.length, 2);
  looks = 0;
  isOpen = true;
  for (const socket of open) answer(socket);
  await until('all are served', () => order.length === waiting + 2);
  const places = order.map((path) => Number(path.slice(1)));
  // Two instances read what they are sent independently of each other.
  for (const [at, place] of places.entries()) assert.ok(Math.abs(at - place) <= 2, `${place} came as ${at}`);
  assert.ok(looks < waiting * 20, `${looks} looks for ${waiting} requests`);
});
