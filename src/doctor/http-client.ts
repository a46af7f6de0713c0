/**
 * One HTTP request, seen from below: which headers came back, from which local address it was sent, and always an
 * answer within the deadline. What cannot be reached is an answer too, because that is what a doctor looks for.
 */
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';

interface HttpQuestion {
  readonly url: string;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** The address to send from; where the system has none such, its own choice. */
  readonly from?: string;
  readonly deadlineMs?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly setCookies: readonly string[];
  /** At most 64 KiB of it. */
  readonly body: string;
  readonly tookMs: number;
  /** The address that the other side saw, unless there is a translation of addresses between. */
  readonly localAddress: string;
}

/** Why there was no answer, in words. */
interface NoAnswer {
  readonly noAnswer: string;
}

export type Ask = (question: HttpQuestion) => Promise<HttpAnswer | NoAnswer>;

const bodyLimit = 65_536;

export const askHttp: Ask = async (question) => {
  const answer = await once(question, question.from);
  const isForeign =
    'noAnswer' in answer && question.from !== undefined && /EADDRNOTAVAIL/.test(answer.noAnswer);
  return isForeign ? once(question, undefined) : answer;
};

function once(question: HttpQuestion, from: string | undefined): Promise<HttpAnswer | NoAnswer> {
  const { url, method = 'GET', headers = {}, deadlineMs = 3_000 } = question;
  const startedMs = performance.now();
  const request = url.startsWith('https:') ? tlsRequest : plainRequest;
  return new Promise((resolve) => {
    const refuse = (noAnswer: string) => {
      clearTimeout(timer);
      resolve({ noAnswer });
      sent.destroy();
    };
    const sent = request(url, {
      method,
      headers: { ...headers, ...(method === 'POST' ? { 'content-length': '0' } : {}) },
      agent: false,
      rejectUnauthorized: false, // certificates are a check of their own
      ...(from === undefined ? {} : { localAddress: from }),
    });
    const timer = setTimeout(() => refuse(`no answer within ${deadlineMs} ms`), deadlineMs);
    sent.on('error', (error: NodeJS.ErrnoException) => refuse(error.message || (error.code ?? 'refused')));
    sent.on('response', (response) => {
      const localAddress = (response.socket.localAddress ?? '').replace(/^::ffff:/, '');
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        if (body.length < bodyLimit) body += chunk.slice(0, bodyLimit - body.length);
      });
      response.on('error', (error) => refuse(error.message));
      response.on('end', () => {
        clearTimeout(timer);
        resolve({
          status: response.statusCode ?? 0,
          headers: Object.fromEntries(
            Object.entries(response.headers).map(([name, value]) => [name, value?.toString()]),
          ),
          setCookies: response.headers['set-cookie'] ?? [],
          body,
          tookMs: Math.round((performance.now() - startedMs) * 10) / 10,
          localAddress,
        });
      });
    });
    sent.end();
  });
}

/** A browser's cookies, and no more of a browser than that. */
export class CookieJar {
  readonly #cookies = new Map<string, string>();

  keep({ setCookies }: Pick<HttpAnswer, 'setCookies'>): void {
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=;]+)=([^;]*)/.exec(line) ?? [];
      if (/max-age=0|expires=thu, 01 jan 1970/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
  }

  get(name: string): string | undefined {
    return this.#cookies.get(name);
  }

  set(name: string, value: string): void {
    this.#cookies.set(name, value);
  }

  copy(): CookieJar {
    const copy = new CookieJar();
    for (const [name, value] of this.#cookies) copy.set(name, value);
    return copy;
  }

  /** Nothing without cookies. `own`: one that stands in place of whatever was kept under its name. */
  header(own?: readonly [name: string, value: string]): Record<string, string> {
    const sent = new Map([...this.#cookies, ...(own ? [own] : [])]);
    if (sent.size === 0) return {};
    return { cookie: [...sent].map(([name, value]) => `${name}=${value}`).join('; ') };
  }
}
