/**
 * The runtime port, as users meet it: `/xas/` (401 without a session), `/file` to upload and download, and pages of
 * documentation that should not be public. Until the application runs it answers 503.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { StandInRuntime } from './runtime.ts';

export function webServer(runtime: StandInRuntime): Server {
  return createServer({ requestTimeout: 0 }, (request, response) => {
    serve(runtime, request, response).catch((error: Error) => {
      if (!response.headersSent) response.writeHead(500);
      response.end(`${error.message}\n`);
    });
  });
}

async function serve(
  runtime: StandInRuntime,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://runtime');
  count(runtime, pathname);
  const { sessions } = runtime;
  if (runtime.status !== 'running' || !sessions) {
    response.writeHead(503).end('the application is not running\n');
    return;
  }
  const session =
    cookieOf(request, cookieName(runtime)) ?? cookieOf(request, `__Host-${cookieName(runtime)}`);
  const user = session === undefined ? undefined : await sessions.userOf(session);
  if (pathname === '/xas/') {
    const asked = request.method === 'POST' ? await readAction(request) : undefined;
    if (asked?.action === 'login') {
      const id = await sessions.login(String(asked.params?.username ?? 'anonymous'));
      response.setHeader('set-cookie', cookies(runtime, request, id));
      return json(response, 200, { csrftoken: id.slice(0, 8) });
    }
    if (user === undefined || session === undefined) return json(response, 401, {});
    if (asked?.action === 'logout') await sessions.logout(session);
    return json(response, 200, { user, xasid: runtime.xasid, pid: process.pid });
  }
  if (pathname === '/file') {
    if (user === undefined) return json(response, 401, {});
    return transferFile(runtime, request, response, searchParams.get('name') ?? '');
  }
  const isPublic =
    pathname === '/' || /^\/(ws|rest|p|link|ws-doc|rest-doc|api-doc|odata-doc)\//.test(pathname);
  response.writeHead(isPublic ? 200 : 404, { 'content-type': 'text/plain' });
  response.end(`${pathname} of ${runtime.model.ModelVersion}\n`);
}

async function transferFile(
  runtime: StandInRuntime,
  request: IncomingMessage,
  response: ServerResponse,
  name: string,
): Promise<void> {
  const folder = String(runtime.configuration.UploadedFilesPath ?? join(runtime.appBase, 'data', 'files'));
  const path = join(folder, basename(name));
  if (request.method === 'POST') {
    await mkdir(folder, { recursive: true });
    await pipeline(request, createWriteStream(path));
    return json(response, 200, { name: basename(name) });
  }
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return json(response, 404, {});
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': found.size });
  await pipeline(createReadStream(path), response);
}

const cookieName = (runtime: StandInRuntime): string =>
  String(runtime.configuration['com.mendix.core.SessionIdCookieName'] ?? 'XASSESSIONID');

/** Secure where the proxy in front says that the user came by https. */
function cookies(runtime: StandInRuntime, request: IncomingMessage, id: string): string[] {
  const secure = request.headers['x-forwarded-scheme'] === 'https' ? '; Secure' : '';
  return [
    `${cookieName(runtime)}=${id}; Path=/; HttpOnly${secure}`,
    `XASID=0.${runtime.xasid}; Path=/; HttpOnly${secure}`,
  ];
}

function cookieOf(request: IncomingMessage, name: string): string | undefined {
  const pairs = (request.headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
  return pairs.find(([key]) => key === name)?.[1];
}

async function readAction(
  request: IncomingMessage,
): Promise<{ action?: string; params?: Record<string, unknown> } | undefined> {
  try {
    return JSON.parse(await text(request));
  } catch {
    return undefined; // no action, so nobody is logged in by it
  }
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

function count(runtime: StandInRuntime, path: string): void {
  const name = /^\/[a-z-]*\/?/.exec(path)?.[0] ?? '/';
  const before = runtime.requests.get(name)?.value ?? 0;
  runtime.requests.set(name, { value: before + 1, last_request_timestamp: Date.now() });
}
