import type http from 'node:http';

/** What the application behind a balancer under test answers, by path. */
export interface BackendSelf {
  readonly name: string;
  /** Its answer to `/health`, and how long it takes for `/whoami`. */
  health: { readonly status: number; readonly body: string; readonly delayMs?: number };
  /** Writes an entry that the test can read, even when this process is killed the moment after. */
  record(entry: object): void;
  /** What the PROXY header of this connection said. */
  proxied(socket: unknown): object | undefined;
}

export type Answer = (
  self: BackendSelf,
  request: http.IncomingMessage,
  response: http.ServerResponse,
  url: URL,
) => void;

const number = (url: URL, name: string): number => Number(url.searchParams.get(name));

/** Tells what arrived, body and trailers included. */
const echo: Answer = (self, request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    const { method, url, rawHeaders, rawTrailers } = request;
    const proxied = self.proxied(request.socket);
    const told = { method, url, rawHeaders, rawTrailers, proxied, body: body.toString(), bytes: body.length };
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ instance: self.name, ...told }));
    self.record({ done: url, bytes: body.length });
  });
};

/** Three pieces, with a pause before each; `?endless` goes on after them. */
const stream: Answer = (self, request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.flushHeaders();
  let sent = 0;
  const timer = setInterval(() => {
    response.write(`data: ${++sent}\n\n`);
    if (sent === 3 && !request.url?.includes('endless')) response.end();
    if (response.writableEnded) clearInterval(timer);
  }, 30);
  request.on('close', () => clearInterval(timer));
  response.on('close', () => self.record({ closed: request.url, finished: response.writableFinished }));
};

/** So many pieces of 64 KiB, as fast as they are taken. */
const big: Answer = (self, request, response, url) => {
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let left = number(url, 'chunks');
  let taken = 0;
  const more = () => {
    while (left > 0) {
      left--;
      const hasRoom = response.write(chunk, (error) => {
        if (!error) taken += chunk.length;
      });
      if (!hasRoom) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  response.on('close', () =>
    self.record({ closed: request.url, finished: response.writableFinished, taken }),
  );
  more();
};

/** Looks at the body only after a while, and tells its length. */
const sip: Answer = (_self, request, response, url) => {
  request.pause();
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  request.pause();
  request.on('end', () => response.end(String(bytes)));
  setTimeout(() => request.resume(), number(url, 'ms'));
};

export const answers: Readonly<Record<string, Answer>> = {
  '/health': ({ health }, _request, response) => response.writeHead(health.status).end(health.body),
  '/whoami': ({ name, health }, _request, response) => {
    setTimeout(() => {
      response.writeHead(200, { 'Content-Length': name.length }).end(name);
    }, health.delayMs ?? 0);
  },
  '/echo': echo,
  '/stream': stream,
  '/big': big,
  '/sip': sip,
  /** Takes the body and never answers. */
  '/hang': ({ record }, request) => {
    request.resume();
    request.on('close', () => record({ closed: request.url }));
  },
  '/slow': ({ name }, request, response, url) => {
    request.resume();
    setTimeout(() => response.end(name), number(url, 'ms'));
  },
  /** Breaks the connection without a byte. */
  '/break': (_self, request) => request.socket.destroy(),
  /** Begins a response and breaks off. */
  '/half': (_self, request, response) => {
    response.writeHead(200, { 'Content-Length': '1000' });
    response.write('the beginning', () => setTimeout(() => request.socket.destroy(), 20));
  },
  '/garbage': (_self, request) => request.socket.end('this is not HTTP\r\n\r\n'),
  /** These bytes (base64url) as they are, and then `end`, `reset`, or neither. */
  '/raw': (_self, request, _response, url) => {
    const { socket } = request;
    const then = url.searchParams.get('then');
    socket.write(Buffer.from(url.searchParams.get('bytes') ?? '', 'base64url'), () => {
      if (then === 'end') socket.end();
      if (then === 'reset') setTimeout(() => socket.resetAndDestroy(), 50);
    });
  },
  /** `?length=` claims a body where the status allows none. */
  '/status': (_self, _request, response, url) => {
    const length = url.searchParams.get('length');
    response.writeHead(number(url, 'code'), length === null ? {} : { 'Content-Length': length }).end();
  },
  /** With these headers: `/say?header=Set-Cookie:+a%3D1`. */
  '/say': ({ name }, _request, response, url) => {
    for (const line of url.searchParams.getAll('header')) {
      const colon = line.indexOf(':');
      response.appendHeader(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    response.end(name);
  },
  '/cookies': (_self, _request, response) => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2']);
    response.end();
  },
  '/early': (_self, _request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    setTimeout(() => response.end('late'), 30);
  },
  '/trailers': (_self, _request, response) => {
    response.writeHead(200, { Trailer: 'X-Checksum' });
    response.write('a body with ');
    response.addTrailers({ 'X-Checksum': 'abc123' });
    response.end('a checksum');
  },
};
