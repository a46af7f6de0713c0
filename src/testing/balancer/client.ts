import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Clients of a balancer under test: one that asks once, one that writes bytes as it likes, and a crowd. */
export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  /** The interim responses before it. */
  readonly interim: readonly http.InformationEvent[];
  readonly body: string;
  readonly tookMs: number;
}

export interface Ask {
  readonly port: number;
  readonly path: string;
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly agent?: http.Agent;
  /** The address to come from. */
  readonly localAddress?: string;
  /** By TLS. The certificate is verified. */
  readonly secure?: { readonly ca: string; readonly servername: string };
}

/** One request; rejects when the connection breaks. */
export function ask({ port, path, method = 'GET', headers = {}, body, agent, ...rest }: Ask): Promise<Reply> {
  const startedMs = performance.now();
  const { secure, ...source } = rest;
  const options = { host: '127.0.0.1', port, path, method, headers, agent: agent ?? false, ...source };
  const interim: http.InformationEvent[] = [];
  return new Promise((resolve, reject) => {
    const answered = (response: http.IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const { statusCode = 0, headers, trailers } = response;
        const tookMs = performance.now() - startedMs;
        resolve({ status: statusCode, headers, trailers, interim, body: text, tookMs });
      });
    };
    const request = secure
      ? https.request({ ...options, ...secure }, answered)
      : http.request(options, answered);
    request.on('information', (event) => interim.push(event));
    request.on('error', reject);
    request.end(body);
  });
}

/** Writes bytes and returns everything that came back until the connection closed, or the patience was over. */
export function writeRaw(port: number, bytes: string, patienceMs = 1_500): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'));
    let received = '';
    const timer = setTimeout(() => socket.destroy(), patienceMs);
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      received += text;
    });
    socket.on('error', () => undefined); // 'close' follows; what was received until then is the answer
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(received);
    });
  });
}

/** Where an instance answers with exactly these bytes. */
export const raw = (bytes: string, then: 'end' | 'reset' | 'stay' = 'stay'): string =>
  `/raw?then=${then}&bytes=${Buffer.from(bytes, 'latin1').toString('base64url')}`;

/** The headers that arrived at an instance, from the reply of `/echo`: all values under a name in lower case. */
export function arrivedHeaders(body: string): (name: string) => string[] {
  const { rawHeaders } = JSON.parse(body) as { rawHeaders: string[] };
  return (name) => rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name);
}

/** The cookie that a reply sets under this name: `name=value`. */
export function setCookieOf(reply: Reply, name: string): string | undefined {
  const line = reply.headers['set-cookie']?.find((text) => text.startsWith(`${name}=`));
  return line?.split(';')[0];
}

export interface CrowdReport {
  readonly requests: number;
  readonly failures: readonly string[];
  readonly slowestMs: number;
}

/** Clients with a cookie each, asking one GET after the other over kept connections, until told to stop. */
export function startCrowd(
  port: number,
  clients: number,
  path = '/whoami',
): { stop(): Promise<CrowdReport> } {
  const agent = new http.Agent({ keepAlive: true });
  const failures: string[] = [];
  let requests = 0;
  let slowestMs = 0;
  let isStopped = false;
  const client = async () => {
    let cookie: string | undefined;
    while (!isStopped) {
      requests++;
      try {
        const reply = await ask({ port, path, agent, headers: cookie ? { Cookie: cookie } : {} });
        cookie = setCookieOf(reply, 'holdfast') ?? cookie;
        slowestMs = Math.max(slowestMs, reply.tookMs);
        if (reply.status !== 200) failures.push(`${reply.status} ${reply.body.trim()}`);
      } catch (error) {
        failures.push(String(error));
      }
      await sleep(5);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    async stop() {
      isStopped = true;
      await all;
      agent.destroy();
      return { requests, failures, slowestMs };
    },
  };
}
