import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { after, before, test } from 'node:test';
import { askHttp, CookieJar } from './http-client.ts';

let server: Server;
let url: string;

before(async () => {
  server = createServer((request, response) => {
    response.setHeader('set-cookie', ['a=1; Path=/', 'b=2; HttpOnly']);
    response.end(request.url === '/long' ? 'x'.repeat(200_000) : request.socket.remoteAddress);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

test('an answer says from where it was asked; an address that the machine lacks is not insisted on', async () => {
  const plain = await askHttp({ url });
  assert.ok('status' in plain);
  assert.equal(plain.localAddress, plain.body);
  const foreign = await askHttp({ url, from: '203.0.113.1' });
  assert.ok('status' in foreign);
  assert.equal(foreign.body, '127.0.0.1');
});

test('a body is read to its end and kept up to 64 KiB', async () => {
  const answer = await askHttp({ url: `${url}/long` });
  assert.ok('status' in answer);
  assert.equal(answer.body.length, 65_536);
});

test('whoever accepts and never answers is left at the deadline', async () => {
  const silent = createTcp().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const answer = await askHttp({
    url: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
    deadlineMs: 50,
  });
  silent.close();
  assert.deepEqual(answer, { noAnswer: 'no answer within 50 ms' });
});

test('a jar keeps what it is given, brings it back, and drops what has run out', () => {
  const jar = new CookieJar();
  assert.deepEqual(jar.header(), {});
  jar.keep({ setCookies: ['a=1; Path=/', 'b=x=y; HttpOnly'] });
  assert.deepEqual(jar.header(), { cookie: 'a=1; b=x=y' });
  jar.keep({ setCookies: ['a=; Max-Age=0', 'b=z'] });
  assert.deepEqual(jar.header(), { cookie: 'b=z' });
  assert.deepEqual(jar.header(['b', 'own']), { cookie: 'b=own' });
});
