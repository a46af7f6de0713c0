import { appendFileSync } from 'node:fs';
import http from 'node:http';
import type { Duplex } from 'node:stream';

/**
 * A small application behind a balancer under test, run as a process of its own so that SIGKILL and SIGSTOP are the
 * real thing. It writes down every request before it does anything else, so that the test can count afterwards what
 * really arrived, even at an instance that was killed.
 */
const name = process.env.BACKEND_NAME ?? 'backend';
const recordFile = process.env.BACKEND_RECORD ?? '/dev/null';
let isHealthy = true;

const record = (entry: object) => appendFileSync(recordFile, `${JSON.stringify(entry)}\n`);

type Answer = (request: http.IncomingMessage, response: http.ServerResponse, url: URL) => void;

const answers: Record<string, Answer> = {
  '/health': (_request, response) => response.writeHead(isHealthy ? 200 : 503).end(),
  '/whoami': (_request, response) => response.end(name),
  /** Tells what arrived, body included. */
  '/echo': (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const { method, url, rawHeaders } = request;
      response.setHeader('Content-Type', 'application/json');
      response.end(
        JSON.stringify({
          instance: name,
          method,
          url,
          rawHeaders,
          body: body.toString(),
          bytes: body.length,
        }),
      );
      record({ done: url, bytes: body.length });
    });
  },
  /** Takes the body and never answers. */
  '/hang': (request) => {
    request.resume();
    request.on('close', () => record({ closed: request.url }));
  },
  '/slow': (_request, response, url) => {
    setTimeout(() => response.end(name), Number(url.searchParams.get('ms')));
  },
  /** Breaks the connection without a byte. */
  '/break': (request) => request.socket.destroy(),
  /** Begins a response and breaks off. */
  '/half': (request, response) => {
    response.writeHead(200, { 'Content-Length': '1000' });
    response.write('the beginning', () => setTimeout(() => request.socket.destroy(), 20));
  },
  '/garbage': (request) => request.socket.end('this is not HTTP\r\n\r\n'),
  '/status': (_request, response, url) => response.writeHead(Number(url.searchParams.get('code'))).end(),
  /** Three pieces, with a pause before each of the last two. */
  '/stream': (request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    let sent = 0;
    const timer = setInterval(() => {
      response.write(`data: ${++sent}\n\n`);
      if (sent === 3 && !request.url?.includes('endless')) response.end();
      if (response.writableEnded) clearInterval(timer);
    }, 30);
    request.on('close', () => clearInterval(timer));
    response.on('close', () => record({ closed: request.url, finished: response.writableFinished }));
  },
  '/big': (_request, response, url) => {
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let left = Number(url.searchParams.get('chunks'));
    const more = () => {
      while (left > 0) {
        left--;
        if (!response.write(chunk)) {
          response.once('drain', more);
          return;
        }
      }
      response.end();
    };
    more();
  },
  '/cookies': (_request, response) => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2']);
    response.end();
  },
};

const handle = (request: http.IncomingMessage, response: http.ServerResponse) => {
  const url = new URL(request.url ?? '/', 'http://backend');
  request.on('error', () => undefined); // a balancer that goes away is part of the tests
  if (url.pathname !== '/health') {
    record({ method: request.method, url: request.url, peerPort: request.socket.remotePort });
  }
  const answer = answers[url.pathname];
  if (answer) answer(request, response, url);
  else response.writeHead(404).end();
};

const server = http.createServer({ keepAliveTimeout: 5_000 }, handle);

// Agrees to take a body only where the path says so.
server.on('checkContinue', (request, response) => {
  record({ expects: request.url });
  if (request.url?.startsWith('/refuse')) {
    response.writeHead(413).end();
    return;
  }
  response.writeContinue();
  handle(request, response);
});

server.on('upgrade', (request, socket: Duplex, head) => {
  record({ upgrade: request.url });
  if (request.url === '/forbidden') {
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    return;
  }
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  socket.write(`${name}:`);
  socket.write(head);
  socket.pipe(socket);
  socket.on('error', () => undefined); // see above
});

process.on('message', (message) => {
  isHealthy = message !== 'sick';
  process.send?.('heard');
});
// The test is gone: so are we.
process.on('disconnect', () => process.exit(0));

server.listen(Number(process.env.BACKEND_PORT ?? 0), '127.0.0.1', () => {
  process.send?.({ port: (server.address() as { port: number }).port });
});
