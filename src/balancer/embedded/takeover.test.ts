import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { certificatesFor } from '../../testing/balancer/certificates.ts';
import { connectRaw, connectSecure } from '../../testing/balancer/raw-connection.ts';
import { until } from '../../testing/balancer/until.ts';
import type { SocketShelf } from '../engine.ts';
import type { IdempotencyAnswer, IdempotencyLedger } from '../idempotency.ts';
import type { EmbeddedEngine } from './engine.ts';
import { answering, deadPort, startBalancer, startInstance } from './instance.fixture.ts';

/** What a keeper of several engines does, in one process. */
function shelf(): SocketShelf {
  const kept = new Map<string, object>();
  return { take: (name) => kept.get(name), keep: (name, socket) => void kept.set(name, socket) };
}

async function replaceWorkers(engine: EmbeddedEngine, spoil?: () => Promise<void>): Promise<void> {
  const before = engine.workerPids;
  await spoil?.();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await until('both have a successor', () => {
    const now = engine.workerPids;
    return now.length === before.length && now.every((pid) => !before.includes(pid));
  });
}

const connects = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1' }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });

test('an engine that has ended listens nowhere any more, though workers were replaced', async (t) => {
  const instance = await startInstance(t, answering('done'));
  const { engine, port, client } = await startBalancer(t, [instance.port], { workers: 2 });
  await replaceWorkers(engine);
  await client('GET / HTTP/1.1\r\nHost: a\r\n\r\n').untilReceived(/done$/);
  await engine.close({ graceMs: 0 });
  assert.equal(await connects(port), false);
});

test('what a worker asked is not answered to its successor', async (t) => {
  const answers = new Map<string, PromiseWithResolvers<IdempotencyAnswer>>();
  const nothing = async () => undefined;
  const idempotency: IdempotencyLedger = {
    claim({ key }) {
      const answer = Promise.withResolvers<IdempotencyAnswer>();
      answers.set(key, answer);
      return answer.promise;
    },
    finish: nothing,
    release: nothing,
    forget: nothing,
  };
  const { engine, client } = await startBalancer(t, [], { workers: 2, idempotency });
  const ask = (key: string) =>
    client(`POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ${key}\r\nContent-Length: 0\r\n\r\n`);
  ask('first');
  await until('the first is asked about', () => answers.has('first'));
  await replaceWorkers(engine);
  const others = Array.from({ length: 12 }, (_, index) => ask(`other-${index}`));
  await until('all are asked about', () => answers.size === 13);
  const response = { status: 200, headers: [], body: Buffer.from('for the first alone') };
  answers.get('first')?.resolve({ kind: 'done', response });
  await sleep(200);
  assert.deepEqual(others.map(({ received }) => received).join(''), '');
});

test('a worker whose successor cannot start is replaced as soon as one can', async (t) => {
  const [certificate] = await certificatesFor(t, 'shop.test');
  assert.ok(certificate);
  const instance = await startInstance(t, answering('done'));
  const tls = { certificates: [certificate] };
  const { engine, port } = await startBalancer(t, [instance.port], { workers: 2, tls });
  const good = await readFile(certificate.certificate);
  await replaceWorkers(engine, () => writeFile(certificate.certificate, 'no certificate'));
  await sleep(1_500); // so that they try it with what is there
  await writeFile(certificate.certificate, good);
  await until('clients are served again', async () => {
    const visit = connectSecure(t, port, { servername: 'shop.test', ca: certificate.ca });
    visit.send('GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n');
    return visit.untilReceived(/done$/, 500).then(
      () => true,
      () => false,
    );
  });
});

test('an engine takes over the address that redirects as well', async (t) => {
  const [certificate] = await certificatesFor(t, 'shop.test');
  assert.ok(certificate);
  const redirectFrom = { host: '127.0.0.1', port: await deadPort() };
  const options = { sockets: shelf(), tls: { certificates: [certificate], redirectFrom } };
  await startBalancer(t, [], options);
  await startBalancer(t, [], options);
  const visit = connectRaw(t, redirectFrom.port, 'GET /here HTTP/1.1\r\nHost: shop.test\r\n\r\n');
  await visit.untilReceived(/308[\s\S]*Location: https:\/\/shop\.test:\d+\/here/);
});

test('a successor with another address listens on that one', async (t) => {
  const sockets = shelf();
  await startBalancer(t, [], { sockets });
  const port = await deadPort();
  const second = await startBalancer(t, [], { sockets, listen: { host: '127.0.0.1', port } });
  assert.equal(second.port, port);
});

test('a connection that has not agreed on TLS ends with the engine', async (t) => {
  const [certificate] = await certificatesFor(t, 'shop.test');
  assert.ok(certificate);
  const { engine, client } = await startBalancer(t, [], { tls: { certificates: [certificate] } });
  const silent = client();
  await until('it is accepted', () => engine.status().clients.accepted === 1);
  await engine.close({ graceMs: 0 });
  await silent.untilClosed(2_000);
});
