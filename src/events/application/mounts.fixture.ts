/** Handlers mounted on real servers, each way that an application may do it, and calls as the agent makes them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { fastify } from 'fastify';
import { runHeaders } from './claimed-run.fixture.ts';
import type { EventRun } from './event-run.ts';
import type { Events } from './open-events.ts';

const closing: (() => Promise<unknown>)[] = [];

/** To be closed after the test, the last one first. */
export function later(close: () => Promise<unknown>): void {
  closing.push(close);
}

export async function closeMounted(): Promise<void> {
  for (const close of closing.splice(0).reverse()) await close();
}

export async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  later(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export function expressWith(...handlers: unknown[]): Promise<string> {
  const app = express();
  for (const handler of handlers) app.use(handler as express.RequestHandler);
  app.use((_request, response) => {
    response.status(418).send('the application answers');
  });
  return listen(app);
}

export async function fastifyWith(mounted: Events): Promise<string> {
  const app = fastify();
  app.addHook('preHandler', async (request) => assert.ok(request.url));
  app.post('/own', async (request) => request.body);
  await app.register(mounted.fastify());
  await app.listen({ host: '127.0.0.1', port: 0 });
  later(() => app.close());
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
}

export const mounts: readonly [string, (events: Events) => Promise<string>][] = [
  ['Express', (events) => expressWith(events.express())],
  ['Express after express.json()', (events) => expressWith(express.json(), events.express())],
  ['Express after express.raw()', (events) => expressWith(express.raw({ type: '*/*' }), events.express())],
  ['Express after express.text()', (events) => expressWith(express.text({ type: '*/*' }), events.express())],
  ['Express after express.urlencoded()', (events) => expressWith(express.urlencoded(), events.express())],
  ['Express before express.json()', (events) => expressWith(events.express(), express.json())],
  ['Fastify', fastifyWith],
];

export async function call(
  url: string,
  options: {
    token?: bigint;
    name?: string;
    headers?: Record<string, string>;
    body?: string;
    signal?: AbortSignal;
  } = {},
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}/holdfast/events/${options.name ?? 'nightly'}`, {
    method: 'POST',
    headers: runHeaders(options.token ?? 7n, options.headers),
    body: options.body ?? 'null',
    ...(options.signal ? { signal: options.signal } : {}),
  });
  return { status: response.status, text: await response.text() };
}

/** Waits until it is told to stop, and says why it was. */
export async function untilAborted(run: EventRun): Promise<Error> {
  if (!run.signal.aborted) await once(run.signal, 'abort');
  return run.signal.reason;
}
