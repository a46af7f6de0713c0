/**
 * The application's questions to its agent, over loopback. An agent may be frozen: its kernel accepts a connection
 * and nothing ever answers. So every question has a deadline, and no answer is an outcome like any other.
 */
import type { AgentAddress } from './events-options.ts';

type Renewal =
  /** From the moment just before the question was sent. */
  | { readonly outcome: 'renewed'; readonly remainingMs: number }
  | { readonly outcome: 'fenced'; readonly reason: string }
  | { readonly outcome: 'unanswered'; readonly reason: string };

type AskAnswer =
  | { readonly outcome: 'yes'; readonly grant: Readonly<Record<string, unknown>> }
  | { readonly outcome: 'no'; readonly reason: string }
  | { readonly outcome: 'unknown'; readonly reason: string }
  | { readonly outcome: 'refused'; readonly reason: string };

interface Finish {
  readonly outcome: 'succeeded' | 'failed';
  readonly reason: string | undefined;
  readonly result: string | undefined;
}

type FinishAnswer =
  | { readonly outcome: 'done' }
  | { readonly outcome: 'fenced'; readonly reason: string }
  | { readonly outcome: 'unanswered'; readonly reason: string };

export interface AgentClient {
  renew(token: bigint, deadlineMs: number): Promise<Renewal>;
  finish(token: bigint, finish: Finish, deadlineMs: number): Promise<FinishAnswer>;
  /** Nothing works on this run any more. Best effort: an agent that is not told waits, but not for ever. */
  ended(token: bigint): Promise<void>;
  ask(event: string): Promise<AskAnswer>;
}

const endedDeadlineMs = 2_000;

/** An agent may let a question wait for the due moment, where the application's clock is a little ahead. */
const askDeadlineMs = 20_000;

export function agentClient({ url, secret }: AgentAddress): AgentClient {
  async function post(path: string, body: object | undefined, deadlineMs: number) {
    try {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
        body: JSON.stringify(body ?? {}),
        redirect: 'error',
        signal: AbortSignal.timeout(Math.max(1, Math.floor(deadlineMs))),
      });
      return { status: response.status, body: fieldsOf(await response.text()) };
    } catch (error) {
      return { status: 0, body: { reason: whyUnanswered(error, deadlineMs) } };
    }
  }

  return {
    async renew(token, deadlineMs) {
      const { status, body } = await post(`/runs/${token}/renew`, undefined, deadlineMs);
      const { remainingMs } = body as { remainingMs?: unknown };
      if (status === 200 && typeof remainingMs === 'number' && Number.isFinite(remainingMs)) {
        return { outcome: 'renewed', remainingMs };
      }
      if (status === 409) return { outcome: 'fenced', reason: reasonOf(status, body) };
      return { outcome: 'unanswered', reason: reasonOf(status, body) };
    },
    async finish(token, { outcome, reason, result }, deadlineMs) {
      const { status, body } = await post(`/runs/${token}/finish`, { outcome, reason, result }, deadlineMs);
      if (status === 200) return { outcome: 'done' };
      return { outcome: status === 409 ? 'fenced' : 'unanswered', reason: reasonOf(status, body) };
    },
    async ended(token) {
      for (let tries = 0; tries < 2; tries++) {
        const { status } = await post(`/runs/${token}/ended`, undefined, endedDeadlineMs);
        if (status === 200) return;
      }
    },
    async ask(event) {
      const { status, body } = await post(
        `/events/${encodeURIComponent(event)}/ask`,
        undefined,
        askDeadlineMs,
      );
      const reason = reasonOf(status, body);
      if (status === 200 && 'run' in body) {
        return body.run === true ? { outcome: 'yes', grant: body } : { outcome: 'no', reason };
      }
      if (status === 404) return { outcome: 'unknown', reason };
      if (status === 401 || status === 403) return { outcome: 'refused', reason };
      return { outcome: 'no', reason };
    },
  };
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {}; // whatever answered there is not the agent; its status says as much
  }
}

function reasonOf(status: number, body: Readonly<Record<string, unknown>>): string {
  if (typeof body.reason === 'string' && body.reason !== '') return body.reason;
  if (body.error === 'away') return 'the agent holds no lease at the moment';
  return `the agent answered ${status}${typeof body.error === 'string' ? ` (${body.error})` : ''}`;
}

function whyUnanswered(error: unknown, deadlineMs: number): string {
  const { name, cause } = error as { name?: string; cause?: { code?: string } };
  if (name === 'TimeoutError') return `the agent did not answer within ${Math.floor(deadlineMs)} ms`;
  return `the agent cannot be reached${cause?.code ? ` (${cause.code})` : ''}`;
}
