/**
 * One look at an instance: a GET that must be answered, whole, within the limit. Every look has a connection of
 * its own. On a kept one a check could succeed while new users are refused; and the kernel accepts connections
 * for a frozen process, so it is the answer that counts and never that the connection came about.
 *
 * A status from 200 to 399 is healthy unless others are asked for: a redirect to a log-in page is an answer.
 */
import { type ClientRequest, type IncomingMessage, request, STATUS_CODES } from 'node:http';

export interface HealthCheck {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** For everything together: connecting, the headers and the body. */
  readonly timeoutMs: number;
  /** Lowest and highest status of a good answer; 200 to 399 where nothing is said. */
  readonly status?: readonly [lowest: number, highest: number];
  /** What the beginning of the body must match. */
  readonly body?: RegExp | undefined;
}

export type CheckResult =
  | { readonly ok: true; readonly latencyMs: number }
  | {
      readonly ok: false;
      readonly reason: string;
      /** False: no reason to start it again, however long it lasts. It changes a database, or says what is wrong. */
      readonly restartHelps?: false;
    };

/** What is read of a body: enough to quote it, or enough to look for something in it. */
const quotedBytes = 1_024;
const searchedBytes = 64 * 1_024;
const goodStatus = [200, 399] as const;
const excerptLength = 200;

/** Never rejects: what goes wrong is the reason. */
export function checkHealth(check: HealthCheck): Promise<CheckResult> {
  return new Promise((resolve) => {
    const startMs = performance.now();
    let stage = 'no connection';
    let sent: ClientRequest | undefined;
    const settle = (result: CheckResult): void => {
      clearTimeout(limit);
      resolve(result);
      sent?.destroy();
    };
    const fail = (reason: string): void => settle({ ok: false, reason });
    const limit = setTimeout(() => fail(`${stage} within ${check.timeoutMs} ms`), check.timeoutMs);

    try {
      sent = request({
        host: check.host,
        port: check.port,
        path: check.path,
        agent: false,
        headers: { 'user-agent': 'holdfast-health', accept: '*/*' },
      });
    } catch (error) {
      return fail(`the check cannot be made: ${messageOf(error)}`);
    }
    sent.on('error', (error) => fail(connectionReason(error)));
    // 101 and the like: an answer to a question that was not asked.
    sent.on('upgrade', () => fail('answered with an upgrade of the protocol'));
    sent.once('socket', (socket) => {
      socket.once('connect', () => {
        stage = 'connected, but no answer';
      });
    });
    sent.once('response', (response) => {
      stage = `answered ${response.statusCode}, but the body did not end`;
      readStart(response, check.body ? searchedBytes : quotedBytes, (body, error) => {
        if (error) return fail(connectionReason(error));
        settle(verdict(check, response.statusCode ?? 0, body, performance.now() - startMs));
      });
    });
    sent.end();
  });
}

function verdict(check: HealthCheck, status: number, body: string, latencyMs: number): CheckResult {
  const [lowest, highest] = check.status ?? goodStatus;
  const name = STATUS_CODES[status];
  const answered = `answered ${status}${name ? ` ${name}` : ''}`;
  const said = excerpt(body);
  if (status < lowest || status > highest) {
    const range = lowest === highest ? `${lowest}` : `${lowest} to ${highest}`;
    const expected = check.status === undefined ? '' : ` where ${range} was expected`;
    return { ok: false, reason: `${answered}${expected}${said === '' ? '' : `: ${said}`}` };
  }
  if (check.body?.test(body) === false)
    return { ok: false, reason: `${answered} with a body that does not match ${check.body}: ${said}` };
  return { ok: true, latencyMs };
}

/** The body up to the limit; what lies beyond is not waited for. Calls back once. */
function readStart(
  response: IncomingMessage,
  limitBytes: number,
  done: (body: string, error?: Error) => void,
): void {
  const pieces: Buffer[] = [];
  let length = 0;
  const finish = (error?: Error): void => {
    response.removeAllListeners('data').removeAllListeners('end').removeAllListeners('error');
    // Destroying the request below may still raise one on the response.
    response.on('error', () => undefined);
    done(Buffer.concat(pieces).subarray(0, limitBytes).toString('utf8'), error);
  };
  response.on('data', (bytes: Buffer) => {
    pieces.push(bytes);
    length += bytes.length;
    if (length >= limitBytes) finish();
  });
  response.on('end', () => finish());
  response.on('error', finish);
}

/** One printable line: the reason goes into logs and onto terminals. */
function excerpt(body: string): string {
  const line = body.replace(/[\p{C}\s]+/gu, ' ').trim();
  return line.length > excerptLength ? `${line.slice(0, excerptLength)}…` : line;
}

const connectionErrors: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections',
  ECONNRESET: 'closed the connection without a whole answer',
  EHOSTUNREACH: 'its host cannot be reached',
  ENETUNREACH: 'its network cannot be reached',
  ENOTFOUND: 'its host name is not known',
};

function connectionReason(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code.startsWith('HPE_')) return `did not answer in HTTP (${code})`;
  return connectionErrors[code] ?? messageOf(error);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
