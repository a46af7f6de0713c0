import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeRaw } from './client.ts';
import { connectRaw } from './raw-connection.ts';
import { belongsTo, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

const handshake = (path: string, cookie = '') =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${cookie}\r\n`;

const cookieLine = (instance: string) => `Cookie: ${belongsTo(instance).Cookie}\r\n`;

/** WebSockets and whatever else is agreed on by Upgrade. */
export function tunnelTests(suite: Suite): void {
  openingTests(suite);
  webSocketTests(suite);
  endingTests(suite);
}

function openingTests({ start, test }: Suite): void {
  test('a WebSocket goes through both ways, with its first bytes, to the instance of its user', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = connectRaw(t, scene.port, `${handshake('/socket', cookieLine('shop-2'))}early`);
    await until('the early bytes come back', () => tunnel.received.endsWith('shop-2:early'));
    assert.match(tunnel.received, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.match(tunnel.received, /\r\nUpgrade: websocket\r\n/);
    tunnel.send('later');
    await until('later bytes come back', () => tunnel.received.endsWith('early' + 'later'));
    await scene.untilCounted('shop-2', { inFlight: 1 });
    tunnel.socket.destroy();
    await until('the tunnel is counted out', () => scene.traffic('shop-2').inFlight === 0);
  });

  test('a new user gets the cookie with the handshake', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = connectRaw(t, scene.port, handshake('/socket'));
    await until('the handshake is answered', () => tunnel.received.includes('\r\n\r\n'));
    assert.match(tunnel.received, /\r\nSet-Cookie: holdfast=[\w.-]{22,100};/);
  });

  test('P7: a handshake that found nobody goes to another instance', async (t) => {
    const scene = await setScene(t, start);
    await scene.backend('shop-1').kill();
    const tunnel = connectRaw(t, scene.port, handshake('/socket', cookieLine('shop-1')));
    await until('the handshake is answered', () => tunnel.received.endsWith('shop-2:'));
  });

  test('a handshake that the application refuses is refused in its own words', async (t) => {
    const scene = await setScene(t, start);
    const reply = await writeRaw(scene.port, handshake('/forbidden'));
    assert.match(reply, /^HTTP\/1\.1 403 Forbidden\r\n/);
    assert.match(reply, /\r\n\r\nno$/);
  });
}

function endingTests({ start, test }: Suite): void {
  test('an instance that is killed takes its tunnels with it, so that clients come back', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = connectRaw(t, scene.port, handshake('/socket', cookieLine('shop-1')));
    await until('the tunnel stands', () => tunnel.received.endsWith('shop-1:'));
    await scene.backend('shop-1').kill();
    await tunnel.untilClosed();
  });

  test('a frozen instance loses its tunnels to a healthy one', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = connectRaw(t, scene.port, handshake('/socket', cookieLine('shop-1')));
    await until('the tunnel stands', () => tunnel.received.endsWith('shop-1:'));
    scene.backend('shop-1').signal('SIGSTOP');
    await tunnel.untilClosed();
    assert.equal(scene.traffic('shop-1').healthy, false);
  });

  test('a draining instance keeps its tunnels, and a new table disturbs none', async (t) => {
    const scene = await setScene(t, start);
    const tunnel = connectRaw(t, scene.port, handshake('/socket', cookieLine('shop-1')));
    await until('the tunnel stands', () => tunnel.received.endsWith('shop-1:'));
    await scene.say({ 'shop-1': 'draining' });
    await scene.say({ 'shop-2': 'down' });
    tunnel.send('still here');
    await until('the tunnel works', () => tunnel.received.endsWith('still here'));
  });
}

function webSocketTests({ start, test }: Suite): void {
  test('P7: a WebSocket whose instance is killed is opened again by its client, and goes on', async (t) => {
    const scene = await setScene(t, start);
    const open = async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${scene.port}/websocket`, {
        headers: belongsTo('shop-1'),
      });
      t.after(() => socket.close());
      await once(socket, 'open');
      return socket;
    };
    const say = async (socket: WebSocket, text: string) => {
      const answer = once(socket, 'message');
      socket.send(text);
      return ((await answer) as [{ data: unknown }])[0].data;
    };
    const first = await open();
    assert.equal(await say(first, 'one'), 'shop-1: one');
    const closed = once(first, 'close');
    await scene.backend('shop-1').kill();
    await closed;
    const second = await open();
    assert.equal(await say(second, 'two'), 'shop-2: two');
    assert.equal(await say(second, 'x'.repeat(100_000)), `shop-2: ${'x'.repeat(100_000)}`);
  });

  test('a WebSocket that its client closes is closed for the instance, with its code', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const socket = new WebSocket(`ws://127.0.0.1:${scene.port}/websocket`);
    await once(socket, 'open');
    socket.close(4001, 'enough');
    await scene.untilRecorded('shop-1', (entry) => entry.webSocketClosed === 4001);
    await until('the tunnel is counted out', () => scene.inFlight === 0);
  });

  test('a tunnel on which nothing moves is cut, and one on which something moves is not', async (t) => {
    const scene = await setScene(t, start, { engine: { limits: { tunnelIdleMs: 500 } } });
    const [quiet, lively] = [1, 2].map(() => connectRaw(t, scene.port, handshake('/socket')));
    assert.ok(quiet && lively);
    for (const tunnel of [quiet, lively]) await tunnel.untilReceived(/shop-[12]:$/);
    await until('the quiet one is cut', async () => {
      lively.send('.');
      await sleep(50);
      return quiet.isClosed;
    });
    assert.equal(lively.isClosed, false);
  });

  test('P10: an upgrade to HTTP/2 is not passed on: the request is answered without it', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const bytes = 'GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n';
    const reply = await writeRaw(scene.port, `${bytes}HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`, 700);
    assert.match(reply, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(reply, /h2c|http2-settings/i);
  });
}
