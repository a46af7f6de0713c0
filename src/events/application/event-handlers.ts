/**
 * The handlers, and what becomes of a call: who may call, which handler, and what the agent is told afterwards.
 * An answer says that the work has stopped, so there is none before the handler has ended, aborted or not.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Arbiter } from '../../database/arbiter.ts';
import type { Clock } from '../../support/clock.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';
import type { AgentClient } from './agent-client.ts';
import { beginRun, type EventRun, type RunControl } from './event-run.ts';
import { withoutAgent } from './events-options.ts';
import { RunAbortedError, StaleRunError } from './run-errors.ts';
import { BadRequest, carriesSecret, readHeaders } from './run-request.ts';
import { messageOf, resultText } from './run-result.ts';

/** What it returns, text or JSON, is kept as the result of the run. What it throws is its failure. */
export type EventHandler = (run: EventRun) => unknown;

/** A request for a run, whatever framework it came through. */
export interface Call {
  /** The last part of the path. */
  readonly name: string;
  readonly headers: IncomingHttpHeaders;
  /** The parsed body. */
  payload(): unknown;
  /** Aborted when the connection closes. */
  readonly disconnected: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export interface HandlersOptions {
  readonly secret: string | undefined;
  readonly agent: AgentClient | undefined;
  readonly clock: Clock;
  readonly log: Log;
  arbiter(): Arbiter;
}

export class EventHandlers {
  readonly #options: HandlersOptions;
  readonly #handlers = new Map<string, EventHandler>();
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  constructor(options: HandlersOptions) {
    this.#options = options;
  }

  add(name: string, handler: EventHandler): void {
    if (!/^[\w.-]+$/.test(name)) {
      throw new HoldfastError('USAGE', `"${name}" is no name of an event: letters, digits, dots and dashes.`);
    }
    if (this.#handlers.has(name)) {
      throw new HoldfastError('USAGE', `There is a handler for the event ${name} already.`, {
        remedy: 'Register one handler for each event.',
      });
    }
    this.#handlers.set(name, handler);
  }

  /** Why this call gets nowhere, as far as its headers show; nothing of its body need be read. */
  refusal({ name, headers }: Pick<Call, 'name' | 'headers'>): Answer | undefined {
    const { secret, agent } = this.#options;
    if (secret === undefined || agent === undefined) return { status: 503, text: withoutAgent };
    if (!carriesSecret(headers, secret)) {
      return { status: 403, text: 'Only the Holdfast agent of this instance may call this.' };
    }
    if (this.#closed) return { status: 503, text: 'This instance is stopping.' };
    if (this.#handlers.has(name)) return undefined;
    const known = [...this.#handlers.keys()].toSorted().join(', ') || 'none';
    return { status: 404, text: `There is no handler for the event "${name}". Handlers: ${known}.` };
  }

  async serve(call: Call): Promise<Answer> {
    const refusal = this.refusal(call);
    if (refusal) return refusal;
    const serving = this.#serve(call);
    this.#running.add(serving);
    try {
      return await serving;
    } finally {
      this.#running.delete(serving);
    }
  }

  /** No more calls; those under way are waited for. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
  }

  async #serve(call: Call): Promise<Answer> {
    const { agent, clock, log, arbiter } = this.#options;
    const handler = this.#handlers.get(call.name);
    if (!agent || !handler) return { status: 503, text: withoutAgent };
    try {
      const { facts, leaseMs } = readHeaders(call.headers);
      const payload = call.payload();
      try {
        const control = await beginRun({ ...facts, payload }, { clock, agent, arbiter, leaseMs });
        return await this.#work(control, handler, call.disconnected);
      } finally {
        if (!facts.appointment) await tellEnded(agent, facts.token, call.disconnected);
      }
    } catch (error) {
      if (error instanceof BadRequest) return { status: 400, text: error.message };
      log.warn({ event: call.name, reason: messageOf(error) }, `run of ${call.name} was not begun`);
      return failure(error);
    }
  }

  async #work(control: RunControl, handler: EventHandler, disconnected: AbortSignal): Promise<Answer> {
    const onClose = () =>
      control.abort(
        new RunAbortedError(
          'disconnected',
          'The agent closed the connection: it aborted the run, or has died.',
        ),
      );
    disconnected.addEventListener('abort', onClose, { once: true });
    if (disconnected.aborted) onClose();
    const { answer, error } = await workOut(control, handler);
    disconnected.removeEventListener('abort', onClose);
    control.end();
    if (error !== undefined) this.#report(control.run, error);
    return answer;
  }

  #report(run: EventRun, error: unknown): void {
    const { event, attempt } = run;
    const fields = { err: error, event, due: run.due.toISOString(), attempt, token: String(run.token) };
    this.#options.log.error(fields, `run of ${event} failed: ${messageOf(error)}`);
  }
}

/** Whoever closed the connection gets no answer, and waits to hear that nothing works on the run any more (P1). */
async function tellEnded(agent: AgentClient, token: bigint, disconnected: AbortSignal): Promise<void> {
  if (disconnected.aborted) return agent.ended(token);
  disconnected.addEventListener('abort', () => void agent.ended(token), { once: true });
}

/** Runs the handler to its end and says what its end means. */
export async function workOut(
  control: RunControl,
  handler: EventHandler,
): Promise<{ answer: Answer; error?: unknown }> {
  let result: unknown;
  try {
    if (!control.abortedBecause()) result = await handler(control.run);
  } catch (error) {
    if (control.committed()) return { answer: { status: 200, text: '' }, error };
    // What a handler throws once it was aborted is mostly the abortion in other words.
    const reason = control.abortedBecause() ?? error;
    return { answer: failure(reason), error };
  }
  const aborted = control.committed() ? undefined : control.abortedBecause();
  if (aborted) return { answer: failure(aborted), error: aborted };
  return { answer: { status: 200, text: resultText(result) ?? '' } };
}

function failure(error: unknown): Answer {
  return { status: error instanceof StaleRunError ? 409 : 500, text: messageOf(error) };
}
