/**
 * Speaks to the admin port of a Mendix runtime. "200 OK" says nothing there: a plain GET gets it whenever the process
 * lives, and every refusal comes with it too. So only an answer that is one of the protocol counts, and its result.
 */
import { type IncomingMessage, request, STATUS_CODES } from 'node:http';
import { HoldfastError } from '../../support/errors.ts';
import { type AdminAction, adminActions, type Feedback, type ParamsOf } from './admin-actions.ts';
import { AdminRefusal } from './admin-refusal.ts';

export interface AdminAddress {
  readonly host: string;
  readonly port: number;
  readonly password: string;
}

interface CallOptions {
  /** Instead of the action's own limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Nobody answers, or somebody who is not a runtime. */
export class AdminUnreachable extends HoldfastError {
  /** True: nothing was heard, which may change; false: what was heard is no runtime. */
  readonly isSilent: boolean;

  constructor(message: string, options: { readonly remedy: string; readonly isSilent: boolean }) {
    super('RUNTIME_UNREACHABLE', message, options);
    this.isSilent = options.isSilent;
  }
}

/** Params only where the action takes some. */
type CallArguments<Action extends AdminAction> =
  ParamsOf<Action> extends undefined
    ? [params?: undefined, options?: CallOptions]
    : [params: ParamsOf<Action>, options?: CallOptions];

const maxAnswerBytes = 32 * 1_048_576;

export class AdminClient {
  readonly #address: AdminAddress;

  constructor(address: AdminAddress) {
    this.#address = address;
  }

  /** Rejects with AdminUnreachable, or with an AdminRefusal when the answer is not 0. */
  async call<Action extends AdminAction>(
    action: Action,
    ...[params, options = {}]: CallArguments<Action>
  ): Promise<Feedback<Action>> {
    const { feedback: shape, timeoutMs } = adminActions[action];
    const answer = await this.#ask(action, params, { timeoutMs, ...options });
    if (answer.result === -5) throw await this.#notFound(action, answer);
    if (answer.result !== 0) throw refusal(action, answer);
    const checked = shape.safeParse(answer.feedback ?? {});
    if (checked.success) return checked.data as Feedback<Action>;
    const where = checked.error.issues[0];
    throw this.#unreachable(
      `answered ${action} in a form that is not the documented one (${where?.path.join('.')}: ${where?.message})`,
      'This version of Mendix speaks another protocol than the one that Holdfast was written for.',
    );
  }

  /** Asks the runtime to end. It breaks the connection instead of answering, and that is as it should be. */
  async shutdown(timeoutMs: number): Promise<void> {
    await this.#ask('shutdown', undefined, { timeoutMs }).catch(() => undefined);
  }

  /** An action that is not found is one that does not exist yet while the application is not running. */
  async #notFound(action: string, answer: Answer): Promise<HoldfastError> {
    const status =
      action === 'runtime_status'
        ? 'running'
        : (await this.call('runtime_status').catch(() => undefined))?.status;
    if (status === undefined || status === 'running') return refusal(action, answer);
    return new HoldfastError(
      'RUNTIME_REFUSED',
      `The runtime is not fully running yet: it is ${status} (${action} answered -5).`,
      {
        remedy: 'Wait until it is running; `holdfast status` shows it.',
      },
    );
  }

  async #ask(action: string, params: unknown, options: CallOptions & { timeoutMs: number }): Promise<Answer> {
    const { status, body } = await this.#post(JSON.stringify({ action, params }), options);
    const elsewhere =
      'Something else listens on this port: free it, or set `app.mendix.adminPort` to another one.';
    if (status !== 200) {
      const name = STATUS_CODES[status] ?? '';
      throw this.#unreachable(
        `is answered by something else: ${`${status} ${name}`.trim()}${excerpt(body)}`,
        elsewhere,
      );
    }
    const answer = answerFrom(body);
    if (!answer) throw this.#unreachable(`is answered by something else${excerpt(body)}`, elsewhere);
    return answer;
  }

  #post(
    body: string,
    { timeoutMs, signal }: CallOptions & { timeoutMs: number },
  ): Promise<{ status: number; body: string }> {
    const { host, port, password } = this.#address;
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      const fail = (what: string, isSilent = true): void => {
        reject(this.#unreachable(what, 'See whether the runtime lives and what its log says.', isSilent));
        sent.destroy();
      };
      const sent = request({
        host,
        port,
        method: 'POST',
        path: '/',
        agent: false,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'x-m2ee-authentication': Buffer.from(password).toString('base64'),
        },
      });
      const limit = setTimeout(() => fail(`has not answered within ${timeoutMs} ms`), timeoutMs);
      const abort = (): void => fail('was not waited for any longer');
      signal?.addEventListener('abort', abort, { once: true });
      sent.once('close', () => {
        clearTimeout(limit);
        signal?.removeEventListener('abort', abort);
        if (!isAnswered) fail('closed the connection without an answer');
      });
      sent.on('error', (error) => fail(connectionReason(error), !isForeign(error)));
      sent.once('response', (response) => {
        isAnswered = true;
        readBody(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, body: text }),
          (error: Error) => fail(connectionReason(error)),
        );
      });
      sent.end(body);
      if (signal?.aborted) abort();
    });
  }

  #unreachable(what: string, remedy: string, isSilent = false): AdminUnreachable {
    const { host, port } = this.#address;
    return new AdminUnreachable(`The admin port ${host}:${port} ${what}.`, { remedy, isSilent });
  }
}

interface Answer {
  readonly result: number;
  readonly feedback?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
}

/** Undefined where it is none of the protocol. */
function answerFrom(body: string): Answer | undefined {
  try {
    const answer = JSON.parse(body) as Partial<Answer> | null;
    return Number.isInteger(answer?.result) ? (answer as Answer) : undefined;
  } catch {
    return undefined; // not JSON: a page of some other program
  }
}

function refusal(action: string, { result, feedback, message, cause }: Answer): AdminRefusal {
  const words = (text: unknown): string => (typeof text === 'string' ? oneLine(text) : '');
  return new AdminRefusal({ action, result, feedback, message: words(message), cause: words(cause) });
}

async function readBody(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > maxAnswerBytes) throw new Error(`sent more than ${maxAnswerBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function connectionReason(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'ECONNREFUSED') return 'refuses connections: the runtime does not run, or listens elsewhere';
  if (code === 'ECONNRESET') return 'closed the connection without an answer';
  if (isForeign(error)) return `is answered by something that does not speak HTTP (${code})`;
  return `cannot be asked: ${error.message}`;
}

const isForeign = (error: Error): boolean => ((error as NodeJS.ErrnoException).code ?? '').startsWith('HPE_');

/** Answers go into logs and onto terminals. */
const oneLine = (text: string): string =>
  text
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, 500);

function excerpt(body: string): string {
  const line = oneLine(body).slice(0, 120);
  return line === '' ? '' : `: ${line}`;
}
