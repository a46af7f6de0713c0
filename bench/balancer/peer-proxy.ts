/**
 * A peer in a process of its own, as its documentation says to use it, in turn to each instance, with connections
 * kept and forwarded headers on. Neither of them knows a sticky cookie, so they have a little less to do.
 * Arguments: name, port, ports of the instances.
 */
import http from 'node:http';
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);
const [name, port, ...instances] = process.argv.slice(2);
const targets = instances.map((one) => `http://127.0.0.1:${one}`);
let turn = 0;
const nextTarget = (): string => targets[turn++ % targets.length] ?? '';

interface HttpProxy {
  web(request: http.IncomingMessage, response: http.ServerResponse, options: { target: string }): void;
  on(event: 'error', handler: (error: Error, request: unknown, response: http.ServerResponse) => void): void;
}

function startHttpProxy3(): void {
  const { createProxyServer } = load('http-proxy-3') as { createProxyServer(options: object): HttpProxy };
  const proxy = createProxyServer({ xfwd: true, agent: new http.Agent({ keepAlive: true }) });
  proxy.on('error', (_error, _request, response) => response.writeHead(502).end());
  http
    .createServer((request, response) => proxy.web(request, response, { target: nextTarget() }))
    .listen(Number(port), '127.0.0.1');
}

interface Fastify {
  register(plugin: unknown, options: object): void;
  listen(options: { port: number; host: string }): Promise<string>;
}
type Headers = Record<string, string>;

async function startFastifyHttpProxy(): Promise<void> {
  const fastify = (load('fastify') as () => Fastify)();
  fastify.register(load('@fastify/http-proxy'), {
    upstream: '',
    replyOptions: {
      getUpstream: nextTarget,
      rewriteRequestHeaders: (request: { ip: string; host: string; protocol: string }, headers: Headers) => ({
        ...headers,
        'x-forwarded-for': request.ip,
        'x-forwarded-host': request.host,
        'x-forwarded-proto': request.protocol,
      }),
    },
  });
  await fastify.listen({ port: Number(port), host: '127.0.0.1' });
}

if (name === 'http-proxy-3') startHttpProxy3();
else await startFastifyHttpProxy();
process.once('disconnect', () => process.exit());
