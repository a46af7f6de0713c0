import { type Ask, ask, type Reply } from './client.ts';

/** A user with a browser's memory: cookies are kept, sent, and forgotten when a response says so. */
export class Visitor {
  readonly port: number;
  readonly cookies = new Map<string, string>();
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(port: number, headers: Readonly<Record<string, string>> = {}) {
    this.port = port;
    this.headers = headers;
  }

  async ask(path: string, options: Omit<Partial<Ask>, 'port' | 'path'> = {}): Promise<Reply> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { ...this.headers, ...(cookie === '' ? {} : { Cookie: cookie }), ...options.headers };
    const reply = await ask({ ...options, port: this.port, path, headers });
    for (const line of reply.headers['set-cookie'] ?? []) this.#take(line);
    return reply;
  }

  /** The instance that serves this user now. */
  async whereabouts(): Promise<string> {
    return (await this.ask('/whoami')).body;
  }

  #take(line: string): void {
    const [, name = '', value = '', attributes = ''] = /^([^=]+)=([^;]*)(.*)$/.exec(line) ?? [];
    if (isExpired(attributes)) this.cookies.delete(name);
    else this.cookies.set(name, value);
  }
}

function isExpired(attributes: string): boolean {
  const maxAge = /;\s*max-age=(-?\d+)/i.exec(attributes)?.[1];
  if (maxAge !== undefined) return Number(maxAge) <= 0;
  const expires = /;\s*expires=([^;]+)/i.exec(attributes)?.[1];
  return expires !== undefined && Date.parse(expires) <= Date.now();
}
