import { appendFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { answers, type BackendSelf } from './backend-answers.ts';
import { readProxyHeader } from './proxy-header.ts';

/**
 * A small application behind a balancer under test, run as a process of its own so that SIGKILL and SIGSTOP are the
 * real thing. It writes down every request before it does anything else, so that the test can count afterwards what
 * really arrived, even at an instance that was killed. What arrives and is no request is written down as well.
 */
const recordFile = process.env.BACKEND_RECORD ?? '/dev/null';
const proxied = new WeakMap<object, object>();

const self: BackendSelf = {
  name: process.env.BACKEND_NAME ?? 'backend',
  health: { status: 200, body: '' },
  record: (entry) => appendFileSync(recordFile, `${JSON.stringify(entry)}\n`),
  proxied: (socket) => proxied.get(socket as object),
};

const handle = (request: http.IncomingMessage, response: http.ServerResponse) => {
  const url = new URL(request.url ?? '/', 'http://backend');
  request.on('error', () => undefined); // a balancer that goes away is part of the tests
  understood.add(request.socket);
  if (url.pathname !== '/health') {
    self.record({ method: request.method, url: request.url, peerPort: request.socket.remotePort });
  }
  const answer = answers[url.pathname];
  if (answer) answer(self, request, response, url);
  else response.writeHead(404).end();
};

const server = http.createServer({ keepAliveTimeout: 5_000 }, handle);

const understood = new WeakSet<net.Socket>();
server.on('connection', (socket: net.Socket) => {
  socket.on('close', () => {
    if (!understood.has(socket) && socket.bytesRead > 0) self.record({ unreadable: socket.bytesRead });
  });
});
server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
  if (error.code?.startsWith('HPE_')) self.record({ unreadable: error.code });
  socket.destroy();
});

// Agrees to take a body only where the path says so.
server.on('checkContinue', (request, response) => {
  self.record({ expects: request.url });
  understood.add(request.socket);
  if (request.url?.startsWith('/refuse')) {
    response.writeHead(413).end();
    return;
  }
  response.writeContinue();
  handle(request, response);
});

server.on('upgrade', (request, socket: Duplex, head) => {
  self.record({ upgrade: request.url });
  understood.add(request.socket);
  socket.on('error', () => undefined); // see above
  if (request.url === '/websocket') {
    void echoMessages(request, socket, head);
  } else if (request.url === '/forbidden') {
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
  } else {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.write(`${self.name}:`);
    socket.write(head);
    socket.pipe(socket);
  }
});

/** A real WebSocket, which sends every message back with the name of the instance. */
async function echoMessages(request: http.IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  const { WebSocketServer } = await import('ws');
  const sockets = new WebSocketServer({ noServer: true });
  sockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSocket.on('message', (message) => webSocket.send(`${self.name}: ${message}`));
    webSocket.on('close', (code) => self.record({ webSocketClosed: code }));
    webSocket.on('error', () => undefined); // see above
  });
}

/** In front of the server where the balancer is to name its client: a connection without the header is cut. */
const front = net.createServer((socket) => {
  let received = Buffer.alloc(0);
  const read = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const header = readProxyHeader(received);
    if (header === null) socket.destroy();
    if (!header) return;
    socket.off('data', read);
    socket.pause();
    proxied.set(socket, header);
    socket.unshift(received.subarray(header.bytes));
    server.emit('connection', socket);
    socket.resume();
  };
  socket.on('data', read);
  socket.on('error', () => undefined); // see above
});

process.on('message', (message) => {
  self.health = message as BackendSelf['health'];
  process.send?.('heard');
});
// The test is gone: so are we.
process.on('disconnect', () => process.exit(0));

const listener = process.env.BACKEND_PROXIED === 'yes' ? front : server;
listener.listen(Number(process.env.BACKEND_PORT ?? 0), '127.0.0.1', () => {
  process.send?.({ port: (listener.address() as { port: number }).port });
});
