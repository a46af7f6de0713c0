import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { arrivedHeaders, raw } from './client.ts';
import { connectRaw } from './raw-connection.ts';
import { setScene } from './scene.ts';
import type { Suite } from './suite.ts';

/** How messages are told from each other: interim responses, trailers, old clients, many requests in one packet. */
export function messagesTests(suite: Suite): void {
  interimTests(suite);
  trailerTests(suite);
  oldClientTests(suite);
  pipeliningTests(suite);
  responseTests(suite);
  crookedResponseTests(suite);
}

const bodyOf = (message: string): string => message.slice(message.indexOf('\r\n\r\n') + 4);

function interimTests({ start, test }: Suite): void {
  test('an interim response (103) passes to the client before the final one', async (t) => {
    const scene = await setScene(t, start);
    const reply = await scene.ask('/early');
    assert.deepEqual(
      reply.interim.map(({ statusCode, headers }) => [statusCode, headers.link]),
      [[103, '</style.css>; rel=preload; as=style']],
    );
    assert.equal(reply.status, 200);
    assert.equal(reply.body, 'late');
  });

  test('an HTTP/1.0 client gets no interim response', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(t, scene.port, 'GET /early HTTP/1.0\r\n\r\n');
    await connection.untilClosed();
    assert.deepEqual(connection.statuses, [200]);
    assert.equal(bodyOf(connection.received), 'late');
  });
}

function trailerTests({ start, test }: Suite): void {
  test('trailers of a response pass to the client', async (t) => {
    const scene = await setScene(t, start);
    const reply = await scene.ask('/trailers');
    assert.equal(reply.body, 'a body with a checksum');
    assert.deepEqual({ ...reply.trailers }, { 'x-checksum': 'abc123' });
  });

  test('trailers of a request pass to the instance, except those that only a head may hold', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const trailers = [
      'X-Checksum: abc123',
      'X-Forwarded-For: 10.0.0.1',
      'X_Forwarded_Proto: https',
      'X-Real-IP: 10.0.0.1',
      'Forwarded: for=10.0.0.1',
      'Host: evil.example',
      'Authorization: Basic YTpi',
      'Cookie: admin=1',
      'Keep-Alive: timeout=100',
      'TE: trailers',
    ];
    const head = 'POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
    const connection = connectRaw(
      t,
      scene.port,
      `${head}5\r\nhello\r\n0\r\n${trailers.join('\r\n')}\r\n\r\n`,
    );
    await connection.untilReceived(/"bytes":5\}/);
    const { rawTrailers } = JSON.parse(/\{.*\}/.exec(connection.received)?.[0] ?? '{}');
    assert.deepEqual(rawTrailers, ['X-Checksum', 'abc123']);
  });

  test('P10: a trailer that speaks of framing never reaches the instance', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    for (const name of ['Content-Length', 'Transfer-Encoding', 'transfer_encoding']) {
      const head =
        'POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
      const connection = connectRaw(t, scene.port, `${head}5\r\nhello\r\n0\r\n${name}: 5\r\n\r\n`);
      await connection.untilClosed(3_000);
      if (connection.statuses[0] === 400) continue; // refusing it is as good
      assert.deepEqual(connection.statuses, [200]);
      assert.match(connection.received, /"rawTrailers":\[\]/, name);
    }
  });
}

function oldClientTests({ start, test }: Suite): void {
  test('an HTTP/1.0 client needs no Host, and its connection ends with the response', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(t, scene.port, 'GET /whoami HTTP/1.0\r\n\r\n');
    await connection.untilClosed();
    assert.deepEqual(connection.statuses, [200]);
    assert.match(bodyOf(connection.received), /^shop-[12]$/);
  });

  test('an HTTP/1.0 client that asks for it keeps its connection', async (t) => {
    const scene = await setScene(t, start);
    const request = 'GET /whoami HTTP/1.0\r\nConnection: keep-alive\r\n\r\n';
    const connection = connectRaw(t, scene.port, request);
    await connection.untilReceived(/shop-[12]$/);
    assert.match(connection.received, /\r\nConnection: keep-alive\r\n/i);
    connection.send(request);
    await connection.untilReceived(/shop-[12]HTTP[\s\S]*shop-[12]$/);
    assert.equal(connection.isClosed, false);
  });

  test('an HTTP/1.0 client gets a chunked response without its chunks', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(t, scene.port, 'GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    await connection.untilClosed();
    assert.doesNotMatch(connection.received, /transfer-encoding/i);
    assert.doesNotMatch(connection.received, /\r\nConnection: keep-alive\r\n/i);
    assert.equal(bodyOf(connection.received), 'data: 1\n\ndata: 2\n\ndata: 3\n\n');
  });

  test('a client that says close is told close, and its connection ends', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(
      t,
      scene.port,
      'GET /whoami HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    await connection.untilClosed();
    assert.match(connection.received, /\r\nConnection: close\r\n/i);
    assert.match(bodyOf(connection.received), /^shop-[12]$/);
  });
}

function pipeliningTests({ start, test }: Suite): void {
  const order = (text: string) => [...text.matchAll(/"url":"\/echo\?(\w+)"/g)].map((match) => match[1]);

  test('many requests in one packet are answered in order', async (t) => {
    const scene = await setScene(t, start);
    const names = Array.from({ length: 60 }, (_, index) => String(index));
    const requests = names.map((name, index) => {
      const head = `/echo?${name} HTTP/1.1\r\nHost: a\r\n`;
      return index % 7 === 2 ? `POST ${head}Content-Length: 4\r\n\r\nbody` : `GET ${head}\r\n`;
    });
    const connection = connectRaw(t, scene.port, requests.join(''));
    await connection.untilReceived(/"url":"\/echo\?59"[\s\S]*"bytes":0\}/);
    assert.deepEqual(order(connection.received), names);
    assert.equal(connection.received.match(/"body":"body","bytes":4/g)?.length, 9);
  });

  test('a slow response holds back the ones behind it', async (t) => {
    const scene = await setScene(t, start);
    const slow = 'GET /slow?ms=250 HTTP/1.1\r\nHost: a\r\n\r\n';
    const connection = connectRaw(t, scene.port, `${slow}GET /echo?after HTTP/1.1\r\nHost: a\r\n\r\n`);
    await connection.untilReceived(/"bytes":0\}/);
    assert.match(connection.received, /^HTTP\/1\.1 200 [\s\S]*\r\n\r\nshop-[12]HTTP\/1\.1 200 /);
  });

  test('P10: a request that is refused in the middle ends the connection after the answers before it', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const bytes = [
      'GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\n',
      'POST /echo?2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
      'GET /echo?3 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'GET /echo?4 HTTP/1.1\r\nHost: a\r\n\r\n',
    ];
    const connection = connectRaw(t, scene.port, bytes.join(''));
    await connection.untilClosed(3_000);
    assert.deepEqual(connection.statuses, [200, 200, 400]);
    assert.deepEqual(order(connection.received), ['1', '2']);
    const urls = (await scene.allRecords()).flatMap(({ url }) => (url === undefined ? [] : [url]));
    assert.deepEqual(urls, ['/echo?1', '/echo?2']);
  });

  test('a request that arrives byte by byte is the same request', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(t, scene.port);
    const bytes =
      'POST /echo?slowly HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n';
    for (const byte of `${bytes}GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n`) {
      connection.send(byte);
      await sleep(1);
    }
    await connection.untilReceived(/shop-[12]$/);
    const body = /\{.*\}/.exec(connection.received)?.[0] ?? '{}';
    assert.equal(JSON.parse(body).body, 'hello');
    assert.deepEqual(arrivedHeaders(body)('x-kept'), ['1']);
  });
}

function responseTests({ start, test }: Suite): void {
  test('a response that ends with its connection arrives whole', async (t) => {
    const scene = await setScene(t, start);
    for (const version of ['1.0', '1.1']) {
      const reply = await scene.ask(
        raw(`HTTP/${version} 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end`, 'end'),
      );
      assert.equal(reply.status, 200);
      assert.equal(reply.body, 'to the end');
    }
  });

  test('a response that ends with its connection is not taken for whole when the connection breaks', async (t) => {
    const scene = await setScene(t, start);
    await assert.rejects(scene.ask(raw('HTTP/1.1 200 OK\r\n\r\nnot to the end', 'reset')));
  });

  test('HEAD gets the length of what GET would get, and nothing of it', async (t) => {
    const scene = await setScene(t, start);
    const connection = connectRaw(
      t,
      scene.port,
      'HEAD /whoami HTTP/1.1\r\nHost: a\r\n\r\nGET /whoami HTTP/1.1\r\nHost: a\r\n\r\n',
    );
    await connection.untilReceived(/shop-[12]$/);
    assert.match(
      connection.received,
      /^HTTP\/1\.1 200 [\s\S]*\r\nContent-Length: 6\r\n[\s\S]*\r\n\r\nHTTP\/1\.1 200 /i,
    );
  });

  test('304 with a length has no body, and its connection to the instance is used again', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const reply = await scene.ask('/status?code=304&length=100', { agent });
    assert.deepEqual([reply.status, reply.headers['content-length']], [304, '100']);
    assert.equal((await scene.ask('/whoami', { agent })).body, 'shop-1');
    const [first, second] = await scene.allRecords();
    assert.equal(first?.peerPort, second?.peerPort);
  });

  test('headers that concern the connection to the instance go no further', async (t) => {
    const scene = await setScene(t, start);
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kept: 2\r\n';
    const own = 'Connection: X-Once\r\nX-Once: 1\r\nKeep-Alive: timeout=99\r\nProxy-Connection: close\r\n';
    const { headers } = await scene.ask(raw(`${head}${own}\r\nok`));
    assert.equal(headers['x-kept'], '2');
    assert.equal(headers['x-once'], undefined);
    assert.notEqual(headers['keep-alive'], 'timeout=99');
    assert.equal(headers['proxy-connection'], undefined);
  });
}

function crookedResponseTests({ start, test }: Suite): void {
  test('P10: what an instance sends beyond its response is not taken for the next one', async (t) => {
    const scene = await setScene(t, start, { instances: ['shop-1'] });
    const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';
    const path = raw(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${poison}`);
    for (let i = 0; i < 3; i++) {
      await scene.ask(path).catch(() => undefined); // refusing the first response is as good
      assert.equal((await scene.ask('/whoami')).body, 'shop-1');
    }
  });

  for (const [what, head] of [
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n'],
    ['a length that is no number', 'Content-Length: two\r\n'],
    ['an unknown transfer coding', 'Transfer-Encoding: xchunked\r\n'],
    ['a zero byte in a header', 'X: a\0b\r\n'],
    ['a space before a colon', 'X-A : 1\r\n'],
  ] as const) {
    test(`P10: a response with ${what} is 502`, async (t) => {
      const scene = await setScene(t, start, { instances: ['shop-1'] });
      const reply = await scene.ask(raw(`HTTP/1.1 200 OK\r\n${head}\r\nok`, 'end'));
      assert.equal(reply.status, 502);
    });
  }

  test('P10: of a response with a length and chunks only the chunks count, and only they are passed on', async (t) => {
    const scene = await setScene(t, start);
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n';
    const reply = await scene.ask(raw(`${head}2\r\nok\r\n0\r\n\r\n`));
    if (reply.status === 502) return; // refusing it is as good
    assert.deepEqual([reply.body, reply.headers['content-length']], ['ok', undefined]);
  });

  test('P10: a chunked response that is broken in the middle breaks off at the client too', async (t) => {
    const scene = await setScene(t, start);
    const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n';
    await assert.rejects(scene.ask(raw(`${head}ZZ\r\nhello\r\n0\r\n\r\n`)));
    await assert.rejects(scene.ask(raw(head, 'end')));
  });
}
