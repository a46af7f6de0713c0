/**
 * The shop in real processes, and visitors with a cookie jar each: what its tests are written in. Every process that
 * was started is known, so that `endProcesses` leaves none behind.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const tinyPng = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

export interface Instance {
  readonly name: string;
  readonly url: string;
  readonly process: ChildProcess;
}

/** A browser's cookie jar, and no more of a browser than that. */
export class Visitor {
  readonly cookies = new Map<string, string>();

  async ask(instance: Instance, path: string, options: RequestInit = {}): Promise<Response> {
    const headers = new Headers(options.headers);
    if (!headers.has('accept')) headers.set('accept', 'application/json');
    headers.set('cookie', [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; '));
    const response = await fetch(instance.url + path, { redirect: 'manual', ...options, headers });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === '') this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  async get(instance: Instance, path: string): Promise<unknown> {
    const response = await this.ask(instance, path);
    assert.equal(response.status, 200, `GET ${path}`);
    return response.json();
  }

  page(instance: Instance, path: string): Promise<Response> {
    return this.ask(instance, path, { headers: { accept: 'text/html' } });
  }

  post(
    instance: Instance,
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const options = { method: 'POST', body: JSON.stringify(body) };
    return this.ask(instance, path, {
      ...options,
      headers: { 'content-type': 'application/json', ...headers },
    });
  }

  submit(instance: Instance, path: string, fields: Record<string, string>, headers = {}): Promise<Response> {
    const body = new URLSearchParams(fields);
    return this.ask(instance, path, { method: 'POST', body, headers: { accept: 'text/html', ...headers } });
  }

  /** Another browser with the same cookies. */
  copy(): Visitor {
    const copy = new Visitor();
    for (const [name, value] of this.cookies) copy.cookies.set(name, value);
    return copy;
  }

  static async loggedIn(instance: Instance, user: string): Promise<Visitor> {
    const visitor = new Visitor();
    assert.equal((await visitor.post(instance, '/login', { user })).status, 200);
    return visitor;
  }
}

const started: ChildProcess[] = [];
const temporary: string[] = [];

export function spawnServer(environment: Record<string, string>): ChildProcess {
  const server = spawn(process.execPath, [fileURLToPath(new URL('server.ts', import.meta.url))], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(server);
  return server;
}

export async function startInstance(
  name: string,
  databaseUrl: string,
  files: string,
  environment: Record<string, string> = {},
): Promise<Instance> {
  const own = mkdtempSync(join(tmpdir(), 'holdfast-shop-own-'));
  temporary.push(own);
  const server = spawnServer({
    PORT: '0',
    HOLDFAST_INSTANCE: name,
    HOLDFAST_CLUSTER: 'shop',
    HOLDFAST_DATABASE: databaseUrl,
    HOLDFAST_SESSIONS: JSON.stringify({ idleMs: 60_000, absoluteMs: 600_000, away: 'defer' }),
    HOLDFAST_FILES: files,
    TMPDIR: own,
    ...environment,
  });
  server.stderr?.pipe(process.stderr);
  assert.ok(server.stdout);
  for await (const line of createInterface(server.stdout)) {
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
    if (!url) continue;
    server.stdout.resume(); // nobody reads the rest
    return { name, url, process: server };
  }
  throw new Error(`${name} ended before it listened`);
}

export function endProcesses(): void {
  for (const server of started) server.kill('SIGKILL');
  for (const folder of temporary) rmSync(folder, { recursive: true, force: true });
}

/** Settling takes the time that it takes; what counts is that it ends. */
export async function eventually(isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!(await isSo())) assert.ok(performance.now() < deadlineMs, 'settled within ten seconds');
}

export async function errorOf(response: Response): Promise<string> {
  const { error } = (await response.json()) as { error: string };
  return error;
}
