/**
 * The probe in an application, mounted where the application sees its sessions:
 *
 *   const probe = openProbe({ database: () => pool.query('select 1') });
 *   app.use(session({ … }));
 *   app.use(probe.express());            // Fastify: await app.register(probe.fastify())
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { answerProbe, type ProbeAnswer } from './probe-answers.ts';
import { type ProbeOptions, type ProbeRequest, resolveProbe } from './probe-options.ts';

/** Fits `app.use(…)`. */
export type ExpressProbe = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;

/** Fits `app.register(…)`, in the scope in which sessions are registered, or below it. */
export type FastifyProbe = (app: FastifyInstance) => Promise<void>;

export interface Probe {
  /** After the session middleware, before whatever turns away those who are not logged in. */
  express(): ExpressProbe;
  fastify(): FastifyProbe;
}

/** Throws CONFIGURATION_INVALID. Without a secret it throws nothing, and answers nobody. */
export function openProbe(options: ProbeOptions = {}): Probe {
  const probe = resolveProbe(options, process.env);
  return {
    express: () => (request, response, next) => {
      const [path, query] = (request.url ?? '').split('?');
      if (request.method !== 'POST' || path !== probe.path) return next();
      answerProbe(probe, request as ProbeRequest, new URLSearchParams(query)).then(
        (answer) => send(response, answer),
        next,
      );
    },
    fastify: () => async (app) => {
      app.post(probe.path, async (request, reply) => {
        const [, query] = request.url.split('?');
        const { status, body } = await answerProbe(probe, request, new URLSearchParams(query));
        return reply.code(status).header('cache-control', 'no-store').send(body);
      });
    },
  };
}

function send(response: ServerResponse, { status, body }: ProbeAnswer): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('cache-control', 'no-store');
  response.end(`${JSON.stringify(body)}\n`);
}
