/**
 * The agent's page for load balancers that are not ours: `GET /health` is `200 OK` while the instance should get
 * traffic, else 503 with the state and the reason as JSON. It answers from memory, so it says what the agent knows
 * even while the arbiter is away.
 */
import { createServer, type Server } from 'node:http';
import type { InstanceState } from '../protocol/instance-state.ts';
import { HoldfastError } from '../support/errors.ts';

export interface Verdict {
  readonly instance: string;
  readonly state: InstanceState;
  readonly reason: string | null;
  /** Is the lease held, and does the configuration ask for that? */
  readonly lease: { readonly held: boolean; readonly required: boolean };
}

export interface HealthPage {
  readonly url: string;
  close(): Promise<void>;
}

/** What the page answers; pure, so that each case is one line of a test. */
export function pageFor(verdict: Verdict): { status: 200 | 503; body: string } {
  const withoutLease = verdict.lease.required && !verdict.lease.held;
  if (verdict.state === 'up' && !withoutLease) return { status: 200, body: 'OK\n' };
  const reason = withoutLease ? 'the lease is not held' : verdict.reason;
  return {
    status: 503,
    body: `${JSON.stringify({ instance: verdict.instance, state: verdict.state, reason })}\n`,
  };
}

/** Rejects with LISTEN_FAILED. */
export async function openHealthPage(
  listen: { readonly host: string; readonly port: number },
  verdict: () => Verdict,
): Promise<HealthPage> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    const path = (request.url ?? '/').split('?')[0];
    if (path !== '/health') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('The page is /health\n');
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD', 'content-type': 'text/plain' }).end('GET or HEAD\n');
    } else {
      const { status, body } = pageFor(verdict());
      const type = status === 200 ? 'text/plain' : 'application/json';
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    }
  });
  const { host, port } = await listening(server, listen);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}/health`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listening(
  server: Server,
  at: { host: string; port: number },
): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new HoldfastError(
          'LISTEN_FAILED',
          `The health page cannot listen on ${at.host}:${at.port}: ${cause.message}.`,
          {
            cause,
            remedy: 'Choose another address as `app.health.listen`; port 0 takes a free one.',
          },
        ),
      ),
    );
    server.listen(at.port, at.host, () => {
      const address = server.address();
      resolve({ host: at.host, port: typeof address === 'object' && address ? address.port : at.port });
    });
  });
}
