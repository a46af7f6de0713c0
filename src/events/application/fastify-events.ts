/** The handlers as a Fastify plugin, in a scope of its own: the application's parsers have no say in what arrives. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Answer, EventHandlers } from './event-handlers.ts';
import { bodyLimitBytes, disconnection } from './express-events.ts';
import { payloadOf } from './run-request.ts';

/** Fits `app.register(…)`. */
export type FastifyEventsPlugin = (app: FastifyInstance) => Promise<void>;

type EventRequest = FastifyRequest<{ Params: { name: string } }>;

export function fastifyEvents(handlers: EventHandlers, basePath: string): FastifyEventsPlugin {
  async function plugin(app: FastifyInstance): Promise<void> {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
    app.post<{ Params: { name: string } }>(
      `${basePath}/:name`,
      {
        bodyLimit: bodyLimitBytes,
        // Before the body of a stranger is read.
        onRequest: async (request, reply) => {
          const refusal = handlers.refusal(callOf(request));
          return refusal ? send(reply, refusal) : undefined;
        },
      },
      async (request, reply) => {
        const answer = await handlers.serve({
          ...callOf(request),
          disconnected: disconnection(reply.raw),
          payload: () => payloadOf(typeof request.body === 'string' ? request.body : ''),
        });
        return send(reply, answer);
      },
    );
  }
  return Object.assign(plugin, { [Symbol.for('fastify.display-name')]: 'holdfast-events' });
}

const callOf = (request: EventRequest) => ({ name: request.params.name, headers: request.headers });

function send(reply: FastifyReply, { status, text }: Answer): FastifyReply {
  return reply.code(status).type('text/plain; charset=utf-8').header('cache-control', 'no-store').send(text);
}
