/**
 * What an application may ask its own agent, over loopback and with the secret that only the two of them have: to
 * renew and to finish a run, to say that nothing works on one any more, and whether it may run an event that its own scheduler has fired.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { excerptOf } from '../events/execution/excerpt.ts';
import type { RunOrder } from '../events/execution/execution.ts';
import type { GateResult } from '../events/execution/gate.ts';
import type { GateAnswer } from '../events/gate-desk.ts';

export interface LoopbackApi {
  /** For how long the lease of this run is proved from now; undefined: it is not this agent's (any more). */
  renew(token: string): number | undefined;
  finish(token: string, result: GateResult): boolean;
  /** The application does nothing more for this run, whoever's it is by now. */
  ended(token: string): void;
  ask(event: string): Promise<GateAnswer>;
  /** The run that was begun under this token. */
  order(token: string): RunOrder | undefined;
}

export interface Loopback {
  /** Without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly body: object;
  /** The run that is the asker's from now on. */
  readonly granted?: string;
}

const bodyLimitBytes = 65_536;

/** On the loopback interface alone, at a port of its own: nobody on another host can even try. */
export async function openLoopback(secret: string, api: LoopbackApi): Promise<Loopback> {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000 },
    async (request, response) => {
      const { status, body, granted } = await answerTo(request, secret, api).catch((error: Error) =>
        refused(500, error.message),
      );
      if (granted !== undefined && response.destroyed) {
        // It waited no longer, so it does not know: nobody works on the run.
        api.finish(granted, {
          outcome: 'lost',
          reason: 'the application had gone when told yes',
          result: null,
        });
        return;
      }
      response.writeHead(status, {
        'content-type': 'application/json',
        'cache-control': 'no-store',
        ...(status === 405 ? { allow: 'POST' } : {}),
      });
      response.end(`${JSON.stringify(body)}\n`);
    },
  );
  return {
    url: `http://127.0.0.1:${await listening(server)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
}

async function answerTo(request: IncomingMessage, secret: string, api: LoopbackApi): Promise<Answer> {
  if (!isAuthorized(request.headers.authorization, secret))
    return refused(401, 'the secret of this agent is missing or wrong (HOLDFAST_AGENT_SECRET)');
  const [, kind, name = '', ...verb] = (request.url ?? '').split('?')[0]?.split('/') ?? [];
  const route = `${kind}/${verb.join('/')}`;
  if (!['runs/renew', 'runs/finish', 'runs/ended', 'events/ask'].includes(route))
    return refused(404, 'no such address');
  if (request.method !== 'POST') return refused(405, 'POST it');
  const body = await bodyOf(request);
  if (body === undefined) return refused(413, `the body is larger than ${bodyLimitBytes} bytes`);
  const subject = decoded(name);
  if (subject === undefined) return refused(400, 'the address is not properly encoded');
  if (route === 'events/ask') return ask(subject, api);
  if (route === 'runs/renew') {
    const remainingMs = api.renew(subject);
    return remainingMs === undefined ? fenced() : { status: 200, body: { remainingMs } };
  }
  if (route === 'runs/ended') {
    api.ended(subject);
    return { status: 200, body: { outcome: 'noted' } };
  }
  const result = gateResultOf(body);
  if (typeof result === 'string') return refused(400, result);
  return api.finish(subject, result) ? { status: 200, body: { outcome: 'done' } } : fenced();
}

const refused = (status: number, error: string): Answer => ({ status, body: { error } });
const fenced = (): Answer => ({
  status: 409,
  body: { error: 'fenced', reason: 'this run is not, or no longer, the one that this agent works on' },
});

async function ask(event: string, api: LoopbackApi): Promise<Answer> {
  const answer = await api.ask(event);
  switch (answer.outcome) {
    case 'unknown':
      return refused(404, `no event of this name is run by asking: ${event}`);
    case 'away':
      return {
        status: 503,
        body: { error: 'away', reason: 'the arbiter does not answer, so nobody may start' },
      };
    case 'no':
      return { status: 200, body: { run: false, reason: answer.reason } };
    case 'yes': {
      const { token } = answer.grant;
      const order = api.order(token);
      const remainingMs = api.renew(token);
      if (!order || remainingMs === undefined)
        return { status: 200, body: { run: false, reason: 'the lease ran out in the meantime' } };
      return {
        status: 200,
        granted: token,
        body: {
          run: true,
          token,
          due: new Date(order.dueMs).toISOString(),
          attempt: order.attempt,
          cause: order.cause,
          remainingMs,
          timeoutMs: order.timeoutMs,
          payload: order.payload,
        },
      };
    }
  }
}

/** Compares digests, so that neither the content nor the length of the secret shows in the time it takes. */
function isAuthorized(header: string | undefined, secret: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(header ?? ''), digest(`Bearer ${secret}`));
}

/** Undefined where there is too much of it. Read to its end all the same, or the answer would not get through. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= bodyLimitBytes) chunks.push(chunk);
  }
  return size <= bodyLimitBytes ? Buffer.concat(chunks).toString('utf8') : undefined;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // a lone per cent sign
  }
}

/** The result, or why the body is none. */
function gateResultOf(body: string): GateResult | string {
  let given: unknown;
  try {
    given = JSON.parse(body);
  } catch (error) {
    return `the body is not JSON: ${(error as Error).message}`;
  }
  const { outcome, reason = null, result = null } = (given ?? {}) as Record<string, unknown>;
  if (outcome !== 'succeeded' && outcome !== 'failed') return '"outcome" must be succeeded or failed';
  if (!isTextOrNull(reason)) return '"reason" must be a text';
  if (!isTextOrNull(result)) return '"result" must be a text';
  return { outcome, reason: excerptOf(reason ?? ''), result: excerptOf(result ?? '') };
}

const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === 'string';
