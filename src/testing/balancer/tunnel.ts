import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { stickyValue } from '../../protocol/affinity.ts';
import { writeRaw } from './client.ts';
import { type Scene, type StartEngine, setScene, testStickyKey, until } from './scene.ts';

const handshake = (path: string, cookie = '') =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${cookie}\r\n`;

const belongsTo = (instance: string) => `Cookie: holdfast=${stickyValue(testStickyKey, instance)}\r\n`;

interface OpenTunnel {
  readonly socket: net.Socket;
  received(): string;
  isClosed(): boolean;
}

function openTunnel(t: TestContext, scene: Scene, bytes: string): OpenTunnel {
  const socket = net.connect(scene.port, '127.0.0.1');
  let received = '';
  let closed = false;
  t.after(() => socket.destroy());
  socket.setEncoding('latin1');
  socket.on('data', (text) => {
    received += text;
  });
  socket.on('error', () => undefined); // 'close' follows
  socket.on('close', () => {
    closed = true;
  });
  socket.write(bytes);
  return { socket, received: () => received, isClosed: () => closed };
}

/** WebSockets and whatever else is agreed on by Upgrade. */
export function tunnelTests(start: StartEngine): void {
  test('a WebSocket goes through both ways, with its first bytes, to the instance of its user', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = openTunnel(t, scene, `${handshake('/socket', belongsTo('shop-2'))}early`);
    await until('the early bytes come back', () => tunnel.received().endsWith('shop-2:early'));
    assert.match(tunnel.received(), /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.match(tunnel.received(), /\r\nUpgrade: websocket\r\n/);
    tunnel.socket.write('later');
    await until('later bytes come back', () => tunnel.received().endsWith('early' + 'later'));
    assert.equal(scene.traffic('shop-2').inFlight, 1);
    tunnel.socket.destroy();
    await until('the tunnel is counted out', () => scene.traffic('shop-2').inFlight === 0);
  });

  test('a new user gets the cookie with the handshake', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = openTunnel(t, scene, handshake('/socket'));
    await until('the handshake is answered', () => tunnel.received().includes('\r\n\r\n'));
    assert.match(tunnel.received(), /\r\nSet-Cookie: holdfast=[\w-]{22};/);
  });

  test('P7: a handshake that found nobody goes to another instance', async (t) => {
    const scene = await setScene(t, start);
    await scene.backend('shop-1').kill();
    const tunnel = openTunnel(t, scene, handshake('/socket', belongsTo('shop-1')));
    await until('the handshake is answered', () => tunnel.received().endsWith('shop-2:'));
  });

  test('a handshake that the application refuses is refused in its own words', async (t) => {
    const scene = await setScene(t, start);
    const reply = await writeRaw(scene.port, handshake('/forbidden'));
    assert.match(reply, /^HTTP\/1\.1 403 Forbidden\r\n/);
    assert.match(reply, /\r\n\r\nno$/);
  });

  test('an instance that is killed takes its tunnels with it, so that clients come back', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = openTunnel(t, scene, handshake('/socket', belongsTo('shop-1')));
    await until('the tunnel stands', () => tunnel.received().endsWith('shop-1:'));
    await scene.backend('shop-1').kill();
    await until('the tunnel is cut', () => tunnel.isClosed());
  });

  test('a frozen instance loses its tunnels to a healthy one', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = openTunnel(t, scene, handshake('/socket', belongsTo('shop-1')));
    await until('the tunnel stands', () => tunnel.received().endsWith('shop-1:'));
    scene.backend('shop-1').signal('SIGSTOP');
    await until('the tunnel is cut', () => tunnel.isClosed());
    assert.equal(scene.traffic('shop-1').healthy, false);
  });

  test('a draining instance keeps its tunnels, and a new table disturbs none', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = openTunnel(t, scene, handshake('/socket', belongsTo('shop-1')));
    await until('the tunnel stands', () => tunnel.received().endsWith('shop-1:'));
    scene.say({ 'shop-1': 'draining' });
    scene.say({ 'shop-2': 'down' });
    tunnel.socket.write('still here');
    await until('the tunnel works', () => tunnel.received().endsWith('still here'));
  });

  test('P10: an upgrade to HTTP/2 is not passed on: the request is answered without it', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const bytes = 'GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n';
    const reply = await writeRaw(scene.port, `${bytes}HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`, 700);
    assert.match(reply, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(reply, /h2c|http2-settings/i);
  });
}
