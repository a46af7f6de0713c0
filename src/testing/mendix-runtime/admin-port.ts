/**
 * The admin port: one address, a POST with an action. Everything that the API itself can say comes as status 200 with a
 * result; a GET is answered with 200 whenever the process lives, which says nothing of the application.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { type Container, perform } from './actions.ts';
import { type Answer, refused, type StandInRuntime } from './runtime.ts';

export interface AdminPortOptions {
  readonly runtime: StandInRuntime;
  readonly container: Container;
  readonly password: string;
  shutdown(): void;
}

export function adminServer(options: AdminPortOptions): Server {
  return createServer((request, response) => {
    void answer(request, response, options);
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: AdminPortOptions,
): Promise<void> {
  const body = await text(request).catch(() => '');
  const asked = request.method === 'GET' ? undefined : readRequest(request, body, options.password);
  if (asked === undefined) {
    response.end('stand-in for the Mendix administration port\n');
    return;
  }
  if ('action' in asked && asked.action === 'shutdown') {
    // The runtime answers nothing: it is gone before it could.
    request.socket.destroy();
    options.shutdown();
    return;
  }
  const result = 'result' in asked ? asked : await performed(asked, options);
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(result));
}

interface Asked {
  readonly action: string;
  readonly params: Readonly<Record<string, unknown>>;
}

function readRequest(request: IncomingMessage, body: string, password: string): Asked | Answer {
  if (request.method !== 'POST') return refused(-3, 'Only HTTP method POST is supported.');
  if (!request.headers['content-type']?.startsWith('application/json'))
    return refused(-2, 'Content type should be application/json.');
  const given = Buffer.from(String(request.headers['x-m2ee-authentication'] ?? ''), 'base64').toString(
    'utf8',
  );
  if (given !== password) return refused(-4, 'Forbidden');
  let asked: unknown;
  try {
    asked = JSON.parse(body);
  } catch (error) {
    return refused(-6, 'Could not read the request.', (error as Error).message);
  }
  if (asked === null || typeof asked !== 'object') return refused(-1, 'The request is null.');
  const { action, params } = asked as { action?: unknown; params?: unknown };
  if (typeof action !== 'string') return refused(-5, 'No action given.');
  return { action, params: params !== null && typeof params === 'object' ? { ...params } : {} };
}

async function performed({ action, params }: Asked, options: AdminPortOptions): Promise<Answer> {
  try {
    return await perform(options.runtime, options.container, action, params);
  } catch (error) {
    return { ...refused(1, `${action} failed.`, (error as Error).message), feedback: {} };
  }
}
