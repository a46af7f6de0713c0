import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { findFreePort } from './free-port.ts';

test('the preferred port is taken where it is free', async () => {
  const port = await findFreePort();
  assert.ok(port > 0);
  assert.equal(await findFreePort({ preferred: port }), port);
});

test('another port is found where the preferred one is taken, also on every address of the host', async () => {
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const server = createServer();
    server.listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    assert.notEqual(await findFreePort({ preferred: port }), port);
    server.close();
  }
});

test('a preferred port that cannot be one does no harm', async () => {
  assert.ok((await findFreePort({ preferred: 70_000 })) > 0);
});
