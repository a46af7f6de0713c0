/** A user's browser, as far as these tests need one: a cookie jar, JSON, and a note of every answer. */
import { Agent, request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly tookMs: number;
}

export interface Client {
  get(path: string): Promise<Answer>;
  post(path: string, body?: object): Promise<Answer>;
  /** The cookies as they are now, for another browser of the same user. */
  copy(): Client;
  close(): void;
}

export function openClient(baseUrl: string, jar = new Map<string, string>()): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 50 });
  const call = (method: string, path: string, body?: object): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const startMs = performance.now();
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const sent = request(
        new URL(path, baseUrl),
        {
          method,
          agent,
          timeout: 20_000,
          headers: {
            accept: 'application/json',
            cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '),
            ...(payload === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
          },
        },
        (response) => {
          for (const cookie of response.headers['set-cookie'] ?? []) {
            const [pair = ''] = cookie.split(';');
            const at = pair.indexOf('=');
            if (/max-age=0|expires=thu, 01 jan 1970/i.test(cookie)) jar.delete(pair.slice(0, at));
            else jar.set(pair.slice(0, at), pair.slice(at + 1));
          }
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk) => {
            text += chunk;
          });
          response.on('error', reject);
          response.on('end', () => {
            const json = response.headers['content-type']?.includes('json') && text !== '';
            resolve({
              status: response.statusCode ?? 0,
              body: json ? JSON.parse(text) : { text },
              tookMs: performance.now() - startMs,
            });
          });
        },
      );
      sent.on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer within 20 s`)));
      sent.on('error', reject);
      sent.end(payload);
    });
  return {
    get: (path) => call('GET', path),
    post: (path, body) => call('POST', path, body),
    copy: () => openClient(baseUrl, new Map(jar)),
    close: () => agent.destroy(),
  };
}
