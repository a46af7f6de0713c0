/**
 * The handlers as Express middleware. It may stand before or after body parsers: a body that was read already is
 * taken as it is, another is read here. express.json() refuses a JSON body that is no object, such as the null of an
 * event without payload; what it refused comes by as an error and is taken from there.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Answer, Call, EventHandlers } from './event-handlers.ts';
import { BadRequest, payloadOf } from './run-request.ts';

type Next = (error?: unknown) => void;

/** Fits `app.use(…)`. */
export type ExpressEvents = [
  (request: IncomingMessage, response: ServerResponse, next: Next) => void,
  (error: unknown, request: IncomingMessage, response: ServerResponse, next: Next) => void,
];

/** Far beyond any payload of a configuration. */
export const bodyLimitBytes = 1_048_576;

export function expressEvents(handlers: EventHandlers, basePath: string): ExpressEvents {
  return [
    (request, response, next) => {
      const name = eventOf(request, basePath);
      if (name === undefined) return next();
      void respond(handlers, name, request, response, () => readBody(request)).catch(next);
    },
    (error, request, response, next) => {
      const name = eventOf(request, basePath);
      const { type, body } = error as { type?: unknown; body?: unknown };
      if (name === undefined || type !== 'entity.parse.failed' || typeof body !== 'string')
        return next(error);
      void respond(handlers, name, request, response, async () => payloadOf(body)).catch(next);
    },
  ];
}

function eventOf({ method, url = '' }: IncomingMessage, basePath: string): string | undefined {
  const path = url.replace(/[?#].*$/s, '');
  if (method !== 'POST' || !path.startsWith(`${basePath}/`)) return undefined;
  const name = path.slice(basePath.length + 1);
  return /^[\w.-]+$/.test(name) ? name : undefined;
}

async function respond(
  handlers: EventHandlers,
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
  body: () => Promise<unknown>,
): Promise<void> {
  const { headers } = request;
  const refusal = handlers.refusal({ name, headers });
  if (refusal) return send(response, refusal);
  const disconnected = disconnection(response);
  let payload: unknown;
  try {
    payload = await body();
  } catch (error) {
    if (error instanceof BadRequest) return send(response, { status: 400, text: error.message });
    throw error;
  }
  const call: Call = { name, headers, disconnected, payload: () => payload };
  send(response, await handlers.serve(call));
}

/** Aborted when the connection closes before it was answered. */
export function disconnection(response: ServerResponse): AbortSignal {
  const closed = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) closed.abort();
  });
  if (response.destroyed) closed.abort();
  return closed.signal;
}

function send(response: ServerResponse, { status, text }: Answer): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('Cache-Control', 'no-store');
  response.end(text);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  if (request.readableEnded) return parsedBody((request as { body?: unknown }).body);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bodyLimitBytes) throw new BadRequest(`The payload has more than ${bodyLimitBytes} bytes.`);
    chunks.push(chunk);
  }
  return payloadOf(Buffer.concat(chunks).toString('utf8'));
}

/** What a parser of the application's made of it. */
function parsedBody(body: unknown): unknown {
  if (body === undefined) throw new BadRequest('The body was read before, and nobody kept what it was.');
  if (typeof body === 'string') return payloadOf(body);
  return Buffer.isBuffer(body) ? payloadOf(body.toString('utf8')) : body;
}
