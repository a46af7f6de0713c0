/**
 * What is under way when an instance stops is finished; the connection it came on then has no more to do. Kept open
 * for a next request, as usual, it would hold up the end until it times out.
 */
import type { FastifyInstance } from 'fastify';

const lookEveryMs = 50;

export function closeConnectionsWhenStopping(app: FastifyInstance): void {
  let looking: NodeJS.Timeout | undefined;
  app.addHook('preClose', async () => {
    looking = setInterval(() => app.server.closeIdleConnections(), lookEveryMs);
  });
  app.addHook('onSend', async (_request, reply) => {
    if (looking) reply.header('connection', 'close');
  });
  app.addHook('onClose', async () => clearInterval(looking));
}
