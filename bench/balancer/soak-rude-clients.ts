/** Clients that nobody wants: garbage, half requests, silence, handshakes that stop. They must leave nothing behind. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import type { Random } from '../../src/testing/simulation/random.ts';
import { hostileRequest } from './hostile-requests.ts';
import type { Scene } from './soak-clients.ts';

/** What it opens the connection with, over TLS or not; and what it says. */
interface Rudeness {
  readonly secure?: 'http/1.1' | 'h2';
  readonly port: 'plain' | 'tls';
  readonly says: (random: Random) => Buffer;
}

const garbage = (random: Random): Buffer => randomBytes(Math.floor(random.between(1, 2_000)));
const hostile = (random: Random): Buffer =>
  Buffer.from(hostileRequest(1, Math.floor(random.between(0, 1e6))).pieces.join(''), 'latin1');
const text = (said: string) => (): Buffer => Buffer.from(said, 'latin1');

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const emptySettings = '\x00\x00\x00\x04\x00\x00\x00\x00\x00';

const rudenesses: readonly Rudeness[] = [
  { port: 'plain', says: garbage },
  { port: 'plain', says: hostile },
  { port: 'plain', says: hostile },
  { port: 'plain', says: text('') },
  { port: 'plain', says: text('GET /small HTTP/1.1\r\nHost: so') },
  {
    port: 'plain',
    says: text('POST /take HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\nhalf a bo'),
  },
  {
    port: 'plain',
    says: text('POST /take HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'),
  },
  {
    port: 'plain',
    says: text('GET /talk HTTP/1.1\r\nHost: soak\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
  },
  { port: 'tls', says: garbage },
  { port: 'tls', says: text('') },
  { port: 'tls', says: text('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03') },
  { port: 'tls', says: text('GET / HTTP/1.1\r\nHost: soak\r\n\r\n') },
  { port: 'tls', secure: 'http/1.1', says: garbage },
  { port: 'tls', secure: 'http/1.1', says: hostile },
  { port: 'tls', secure: 'h2', says: garbage },
  { port: 'tls', secure: 'h2', says: text(preface) },
  {
    port: 'tls',
    secure: 'h2',
    says: (random) => Buffer.concat([Buffer.from(preface + emptySettings, 'latin1'), garbage(random)]),
  },
];

/** It waits so long for the balancer to hang up, or for less. */
const mostPatienceMs = 4_000;

export async function rudeClient(scene: Scene): Promise<void> {
  const { random } = scene;
  while (!scene.isOver()) {
    const rudeness = random.pick(rudenesses);
    const port = rudeness.port === 'plain' ? scene.plainPort : scene.tlsPort;
    const socket: Socket = rudeness.secure
      ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: [rudeness.secure] })
      : connect({ port, host: '127.0.0.1' });
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined); // that is how it ends
    socket.resume();
    socket.write(rudeness.says(random));
    if (random.chance(0.3)) socket.end();
    await Promise.race([closed, delay(random.between(0, mostPatienceMs), undefined, { ref: false })]);
    if (rudeness.secure || random.chance(0.5)) socket.destroy();
    else socket.resetAndDestroy();
    await closed;
    scene.judge.done('rude client');
  }
}
