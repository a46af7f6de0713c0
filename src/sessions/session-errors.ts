/** What a request gets when its session cannot be had: an HTTP error that Express and Fastify both understand. */
import { HoldfastError } from '../support/errors.ts';

export function unavailable(cause: unknown): HoldfastError {
  return answerable(
    new HoldfastError(
      'SESSION_UNAVAILABLE',
      'Your session cannot be read at the moment, because its database does not answer. Nothing is lost; please try again.',
      { cause },
    ),
  );
}

export function readOnly(cause: unknown): HoldfastError {
  return answerable(
    new HoldfastError(
      'SESSION_READ_ONLY',
      'Nothing can be changed at the moment, because the database of the sessions does not answer. Please try again.',
      { cause },
    ),
  );
}

/** An error as a request may show it: what an operator must know stays in its cause. */
export function asAnswer(error: unknown): unknown {
  if (!(error instanceof HoldfastError)) return error;
  return error.code.startsWith('SESSION_') ? answerable(error) : unavailable(error);
}

/** Error handlers read `statusCode` and `headers`; some print the stack, which would say nothing to a visitor. */
function answerable(error: HoldfastError): HoldfastError {
  if (error.code === 'SESSION_INVALID') return Object.assign(error, { statusCode: 500, status: 500 });
  error.stack = `${error.name}: ${error.message}`;
  return Object.assign(error, {
    statusCode: 503,
    status: 503,
    expose: true,
    headers: { 'Retry-After': '1' },
  });
}
