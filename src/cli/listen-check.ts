import { createServer } from 'node:net';
import { HoldfastError } from '../support/errors.ts';

/**
 * Says at once that an address is taken or not allowed, before anything is started: a person at a prompt is better
 * served by one error than by a part that is started again and again. Rejects with LISTEN_FAILED.
 */
export function checkListen(
  at: { readonly host: string; readonly port: number },
  setting: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const reasons: Record<string, string> = {
        EADDRINUSE: 'another program listens there',
        EACCES: 'this user may not listen there',
        EADDRNOTAVAIL: 'this machine has no such address',
      };
      const reason = reasons[cause.code ?? ''] ?? cause.message;
      reject(
        new HoldfastError(
          'LISTEN_FAILED',
          `The balancer cannot listen on ${at.host}:${at.port}: ${reason}.`,
          {
            cause,
            remedy: `End that program, or choose another address as \`${setting}\`.`,
          },
        ),
      );
    });
    server.listen({ ...at, exclusive: true }, () => server.close(() => resolve()));
  });
}
