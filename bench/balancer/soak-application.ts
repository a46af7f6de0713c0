/**
 * An instance of the soak: everything that an application does to a balancer, told by the path. Whatever it answers can
 * be checked by whoever asked: small answers repeat the request's id, large ones are a pattern that depends on it. What
 * must not happen twice is written down before it is answered, so that even a killed instance has said what it did.
 */
import { appendFileSync } from 'node:fs';
import http from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { patternOf } from './soak-pattern.ts';

const name = process.env.SOAK_INSTANCE ?? 'instance';
const journal = process.env.SOAK_JOURNAL ?? '/dev/null';
const stopWithinMs = 1_000;

type Answer = (request: http.IncomingMessage, response: http.ServerResponse, query: URLSearchParams) => void;

const id = (query: URLSearchParams): string => query.get('id') ?? '';

async function body(request: http.IncomingMessage): Promise<{ bytes: number; checksum: number }> {
  let bytes = 0;
  let checksum = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    checksum = crc32(chunk, checksum);
  }
  return { bytes, checksum };
}

function sendJson(response: http.ServerResponse, value: object): void {
  const text = JSON.stringify(value);
  response.setHeader('Content-Length', text.length);
  response.end(text);
}

const answers: Record<string, Answer> = {
  '/health': (_request, response) => response.end('well'),
  '/small': (_request, response, query) => sendJson(response, { id: id(query) }),
  '/slow': (_request, response, query) =>
    setTimeout(() => sendJson(response, { id: id(query) }), Number(query.get('ms'))),
  async '/large'(_request, response, query) {
    const bytes = Number(query.get('bytes'));
    response.setHeader('Content-Length', bytes);
    await writePattern(response, id(query), bytes);
  },
  /** The end of the connection is the end of the body. */
  async '/unframed'(_request, response, query) {
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
    await writePattern(response, id(query), Number(query.get('bytes')));
  },
  async '/pieces'(_request, response, query) {
    response.setHeader('Trailer', 'X-Id');
    for (let piece = 0; piece < 5; piece++) {
      response.write(`${id(query)}\n`);
      await delay(3);
    }
    response.addTrailers({ 'X-Id': id(query) });
    response.end();
  },
  async '/events'(_request, response, query) {
    response.setHeader('Content-Type', 'text/event-stream');
    for (let event = 0; event < Number(query.get('count')) && !response.closed; event++) {
      response.write(`data: ${id(query)} ${event}\n\n`);
      await delay(25);
    }
    response.end();
  },
  async '/take'(request, response, query) {
    sendJson(response, { id: id(query), ...(await body(request)) });
  },
  async '/once'(request, response, query) {
    const taken = await body(request);
    appendFileSync(journal, `${id(query)}\n`);
    sendJson(response, { id: id(query), ...taken });
  },
  /** Does not want the body, and says so before it came; takes it nevertheless. */
  '/reject'(request, response) {
    request.resume();
    response.writeHead(413, { 'Content-Length': 0 }).end();
  },
  /** Says so, and closes the connection in the face of whoever is still talking. */
  '/slam': (_request, response) => response.writeHead(413, { Connection: 'close' }).end(),
  '/break': (request) => request.socket.destroy(),
  '/half': (request, response) => {
    response.writeHead(200, { 'Content-Length': 1_000 });
    response.write('the beginning', () => setTimeout(() => request.socket.destroy(), 5));
  },
};

function* blocks(seed: string, bytes: number): Generator<Buffer> {
  const pattern = patternOf(seed);
  for (let left = bytes; left > 0; left -= pattern.length)
    yield left >= pattern.length ? pattern : pattern.subarray(0, left);
}

/** Ends the response, too. */
const writePattern = (response: http.ServerResponse, seed: string, bytes: number): Promise<void> =>
  pipeline(Readable.from(blocks(seed, bytes), { objectMode: false }), response);

const server = http.createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://soak');
  request.on('error', () => undefined); // clients that go away belong to the soak
  response.on('error', () => undefined);
  response.setHeader('X-Instance', name);
  const answer = answers[pathname];
  if (answer === undefined) response.writeHead(404).end();
  else void Promise.resolve(answer(request, response, searchParams)).catch(() => request.socket.destroy());
});

const sockets = new WebSocketServer({ noServer: true });
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => undefined); // see above
  sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.on('error', () => undefined);
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    ws.send(name);
  });
});

process.on('SIGTERM', () => {
  server.close(() => process.exit());
  server.closeIdleConnections();
  for (const ws of sockets.clients) ws.close(1001);
  setTimeout(() => process.exit(), stopWithinMs);
});
process.once('disconnect', () => process.exit());

server.listen(Number(process.env.SOAK_PORT ?? 0), '127.0.0.1', 1_024, () => {
  process.send?.({ port: (server.address() as { port: number }).port });
});
