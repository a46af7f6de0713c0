/** One answer in two forms: a page for people, JSON for scripts that ask for it. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Html } from './html.ts';
import { problemPage } from './pages.ts';
import { contentSecurityPolicy } from './style.ts';

export function wantsJson(request: FastifyRequest): boolean {
  const accept = request.headers.accept ?? '';
  if (accept.includes('text/html')) return false;
  if (accept.includes('application/json')) return true;
  // A script that sends JSON or a bare picture and does not say what it wants back.
  return /^(application\/json|image\/)/.test(request.headers['content-type'] ?? '');
}

export function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  data: object,
  page: () => Html,
): FastifyReply {
  return wantsJson(request) ? reply.send(data) : sendPage(reply, page());
}

/** After a change: JSON for a script; a person goes on to a page, which a reload does not send again. */
export function answerChange(
  request: FastifyRequest,
  reply: FastifyReply,
  data: object,
  change: { readonly statusCode?: number; readonly next: string },
): FastifyReply {
  if (wantsJson(request)) return reply.code(change.statusCode ?? 200).send(data);
  return reply.redirect(change.next, 303);
}

function sendPage(reply: FastifyReply, page: Html): FastifyReply {
  return reply
    .type('text/html; charset=utf-8')
    .header('content-security-policy', contentSecurityPolicy)
    .send(page.text);
}

/** Headers of every answer, and what is said when something is wrong. */
export function answerProblems(app: FastifyInstance, instance: string): void {
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      'x-content-type-options': 'nosniff',
      // With "no-referrer" browsers would hide the origin of our own forms as well.
      'referrer-policy': 'same-origin',
      'cache-control': 'no-store',
      vary: 'Accept',
    });
  });

  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const { statusCode, message } = problemOf(error);
    if (statusCode === 500) request.log.error({ err: error }, 'A request failed.');
    if (statusCode === 503) reply.header('retry-after', '1');
    return sendProblem(request, reply, statusCode, message);
  });

  app.setNotFoundHandler((request, reply) => sendProblem(request, reply, 404, 'There is no such page.'));

  function sendProblem(
    request: FastifyRequest,
    reply: FastifyReply,
    statusCode: number,
    message: string,
  ): FastifyReply {
    // What failed changes nothing: the session of this request is not saved, which could fail again.
    request.session = null as never;
    reply.code(statusCode).header('cache-control', 'no-store');
    return answer(request, reply, { error: message }, () => problemPage(instance, statusCode, message));
  }
}

function problemOf(error: FastifyError): { statusCode: number; message: string } {
  if (error.code === 'SESSION_UNAVAILABLE' || error.code === 'SESSION_READ_ONLY') {
    return { statusCode: 503, message: error.message };
  }
  const statusCode = error.statusCode ?? 500;
  if (statusCode >= 400 && statusCode < 500) return { statusCode, message: error.message };
  if (statusCode === 503 && error.name === 'Refusal') return { statusCode, message: error.message };
  return { statusCode: 500, message: 'Something went wrong on our side. Nothing was changed.' };
}
