import assert from 'node:assert/strict';
import type { EngineOptions } from '../../balancer/engine.ts';
import { arrivedHeaders } from './client.ts';
import { proxyBlock, proxyLine } from './proxy-header.ts';
import { connectRaw, type RawConnection } from './raw-connection.ts';
import { quickHealth, type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';

const request = 'GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const fromHere: Partial<EngineOptions> = { proxyProtocol: { from: ['127.0.0.1/32'] } };

/** The PROXY protocol: who may, and must, say whose connection this is. */
export function proxyProtocolTests(suite: Suite): void {
  incomingTests(suite);
  outgoingTests(suite);
}

async function addressSeen(connection: RawConnection): Promise<string[]> {
  await connection.untilReceived(/"bytes":0\}/);
  return arrivedHeaders(/\{.*\}/.exec(connection.received)?.[0] ?? '{}')('x-forwarded-for');
}

async function isRefused(scene: Scene, connection: RawConnection): Promise<void> {
  await connection.untilClosed(3_000);
  assert.ok(!connection.statuses.includes(200), connection.received);
  assert.deepEqual(await scene.allRecords(), []);
}

function incomingTests({ start, test }: Suite): void {
  for (const [what, header, address] of [
    ['version 1', proxyLine('203.0.113.9'), '203.0.113.9'],
    ['version 1 with an IPv6 address', proxyLine('2001:db8::9'), '2001:db8::9'],
    ['version 1 that knows nobody', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
    ['version 2', proxyBlock('203.0.113.9'), '203.0.113.9'],
    ['version 2 for the proxy itself', proxyBlock(), '127.0.0.1'],
  ] as const) {
    test(`the client is whom the PROXY header names: ${what}`, async (t) => {
      const scene = await setScene(t, start, { engine: fromHere });
      const bytes = Buffer.concat([Buffer.from(header), Buffer.from(request)]);
      assert.deepEqual(await addressSeen(connectRaw(t, scene.port, bytes)), [address]);
    });
  }

  test('a PROXY header that arrives byte by byte is the same header', async (t) => {
    const scene = await setScene(t, start, { engine: fromHere });
    for (const header of [Buffer.from(proxyLine('203.0.113.9')), proxyBlock('203.0.113.9')]) {
      const connection = connectRaw(t, scene.port);
      for (const byte of [...header]) {
        connection.send(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      connection.send(request);
      assert.deepEqual(await addressSeen(connection), ['203.0.113.9']);
    }
  });

  test('the header counts for the whole connection', async (t) => {
    const scene = await setScene(t, start, { engine: fromHere });
    const kept = request.replace('Connection: close\r\n', '');
    const connection = connectRaw(t, scene.port, `${proxyLine('203.0.113.9')}${kept}`);
    assert.deepEqual(await addressSeen(connection), ['203.0.113.9']);
    connection.received = '';
    connection.send(kept);
    assert.deepEqual(await addressSeen(connection), ['203.0.113.9']);
  });

  for (const [what, bytes] of [
    ['no header at all', request],
    ['an address that is none', `PROXY TCP4 999.0.0.1 127.0.0.1 1 2\r\n${request}`],
    ['a family that is none', `PROXY TCP5 203.0.113.9 127.0.0.1 1 2\r\n${request}`],
    ['a line that does not end', `PROXY TCP4 ${'1'.repeat(300)}`],
    ['a bare line feed', `PROXY TCP4 203.0.113.9 127.0.0.1 1 2\n${request}`],
    ['two headers', `${proxyLine('203.0.113.9')}${proxyLine('203.0.113.8')}${request}`],
  ] as const) {
    test(`P10: who must send a PROXY header and sends ${what} is refused`, async (t) => {
      const scene = await setScene(t, start, { engine: fromHere });
      await isRefused(scene, connectRaw(t, scene.port, bytes));
    });
  }

  test('P10: a PROXY header from elsewhere is refused, and those without one are served', async (t) => {
    const engine = { proxyProtocol: { from: ['10.0.0.0/8'] }, trustedProxies: ['127.0.0.1'] };
    const scene = await setScene(t, start, { engine });
    await isRefused(scene, connectRaw(t, scene.port, `${proxyLine('203.0.113.9')}${request}`));
    await isRefused(scene, connectRaw(t, scene.port, Buffer.concat([proxyBlock('203.0.113.9')])));
    assert.equal((await scene.ask('/echo')).status, 200);
  });

  test('P10: connections are limited by the address that the PROXY header names', async (t) => {
    const engine = { ...fromHere, limits: { connectionsPerAddress: 1 } };
    const scene = await setScene(t, start, { engine });
    const connect = (source: string) =>
      connectRaw(t, scene.port, `${proxyLine(source)}${request.replace('Connection: close\r\n', '')}`);
    const first = connect('203.0.113.9');
    assert.deepEqual(await addressSeen(first), ['203.0.113.9']);
    assert.deepEqual(await addressSeen(connect('203.0.113.8')), ['203.0.113.8']);
    const second = connect('203.0.113.9');
    await second.untilClosed(2_000);
    assert.ok(!second.statuses.includes(200), second.received);
  });
}

function outgoingTests({ start, test }: Suite): void {
  for (const [to, version] of [
    ['v1', 1],
    ['v2', 2],
  ] as const) {
    test(`instances that want it are told the client by PROXY ${to}, and health checks speak it too`, async (t) => {
      const engine = { proxyProtocol: { to }, trustedProxies: ['127.0.0.1'], health: quickHealth };
      const scene = await setScene(t, start, { proxied: true, engine });
      for (const address of ['203.0.113.9', '203.0.113.8']) {
        for (const method of ['GET', 'POST']) {
          const headers = { 'X-Forwarded-For': address };
          const { proxied } = JSON.parse((await scene.ask('/echo', { method, headers })).body);
          assert.deepEqual([proxied.version, proxied.source], [version, address]);
        }
      }
      for (let i = 0; i < 10; i++) await scene.ask('/slow?ms=50');
      assert.deepEqual(
        scene.engine.status().instances.map(({ healthy }) => healthy),
        [true, true],
      );
    });
  }
}
