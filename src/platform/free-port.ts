/**
 * A port that nobody listens on now. It stays free only by courtesy until the application listens there, so an
 * application that says "address in use" is simply started again, with another port. The preferred port is the
 * one from the last time: balancers then need not learn a new one.
 */
import { createServer } from 'node:net';

export async function findFreePort(options: { preferred?: number; host?: string } = {}): Promise<number> {
  const host = options.host ?? '127.0.0.1';
  if (options.preferred !== undefined) {
    const preferred = await tryPort(options.preferred, host).catch(() => undefined);
    if (preferred !== undefined) return preferred;
  }
  return tryPort(0, host);
}

/** Listens for a moment; rejects where that is not possible. */
function tryPort(port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      const taken = typeof address === 'object' && address ? address.port : port;
      server.close(() => resolve(taken));
    });
  });
}
