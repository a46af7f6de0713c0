/**
 * For applications with a scheduler of their own, which fires on every instance: each asks, one is told yes. It then
 * has a run like any other, and says itself how that ended.
 */
import type { Arbiter } from '../../database/arbiter.ts';
import type { Clock } from '../../support/clock.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';
import type { AgentClient } from './agent-client.ts';
import { type EventHandler, workOut } from './event-handlers.ts';
import { beginRun, type EventRun, type RunControl, type RunFacts } from './event-run.ts';
import { withoutAgent } from './events-options.ts';
import { StaleRunError } from './run-errors.ts';
import { messageOf, resultText } from './run-result.ts';

export interface GateRun extends EventRun {
  readonly run: true;
  /** Says how it ended: once. Rejects with StaleRunError when it counts no more. */
  finish(outcome: 'succeeded' | 'failed', result?: unknown): Promise<void>;
}

export interface GateRefusal {
  readonly run: false;
  readonly reason: string;
}

export type GateOutcome =
  | GateRefusal
  | { readonly run: true; readonly outcome: 'succeeded' | 'failed'; readonly result: string | undefined };

export interface GateOptions {
  readonly agent: AgentClient | undefined;
  readonly clock: Clock;
  readonly log: Log;
  arbiter(): Arbiter;
}

/** One try to say how a run ended. */
const finishWithinMs = 2_000;
const pauseMs = 100;

/** No answer is a no: another instance may have been told yes. Throws where the event or the secret is wrong. */
export async function askGate(event: string, options: GateOptions): Promise<GateRefusal | GateRun> {
  const begun = await openGate(event, options);
  if ('reason' in begun) return begun;
  const finish: GateRun['finish'] = (outcome, result) => {
    const text = resultText(result);
    const reason = outcome === 'failed' ? text : undefined;
    return finishRun(begun, options, { outcome, reason, result: reason === undefined ? text : undefined });
  };
  return Object.defineProperties(
    { run: true, finish } as GateRun,
    Object.getOwnPropertyDescriptors(begun.run),
  );
}

/** Asks, runs the handler, and says how it ended. */
export async function throughGate(
  event: string,
  handler: EventHandler,
  options: GateOptions,
): Promise<GateOutcome> {
  const begun = await openGate(event, options);
  if ('reason' in begun) return begun;
  const { answer, error } = await workOut(begun, handler);
  if (error !== undefined) {
    const fields = { err: error, event, token: String(begun.run.token) };
    options.log.error(fields, `run of ${event} failed: ${messageOf(error)}`);
  }
  const outcome = answer.status === 200 ? 'succeeded' : 'failed';
  const text = answer.text || undefined;
  await finishRun(begun, options, {
    outcome,
    reason: outcome === 'failed' ? text : undefined,
    result: outcome === 'failed' ? undefined : text,
  }).catch((unfinished: unknown) => {
    options.log.error({ err: unfinished, event }, `the end of a run of ${event} could not be told`);
  });
  return { run: true, outcome, result: text };
}

async function openGate(
  event: string,
  { agent, clock, arbiter }: GateOptions,
): Promise<GateRefusal | RunControl> {
  if (!agent) return { run: false, reason: withoutAgent };
  const answer = await agent.ask(event);
  switch (answer.outcome) {
    case 'unknown':
      throw new HoldfastError(
        'USAGE',
        `The configuration of the cluster has no event "${event}" to ask for.`,
        {
          remedy: `Add it under events: with run: gate.`,
        },
      );
    case 'refused':
      throw new HoldfastError('USAGE', `The agent does not know this application: ${answer.reason}.`, {
        remedy: 'Use the HOLDFAST_AGENT_SECRET that the agent put into the environment.',
      });
    case 'no':
      return { run: false, reason: answer.reason };
    case 'yes': {
      const { facts, leaseMs } = readGrant(event, answer.grant);
      try {
        return await beginRun(facts, { clock, agent, arbiter, leaseMs });
      } catch (error) {
        return { run: false, reason: messageOf(error) };
      }
    }
  }
}

/** Tries until it is heard, or until the run may not go on. */
async function finishRun(
  { run, end, committed }: RunControl,
  { agent, clock }: GateOptions,
  finish: Parameters<AgentClient['finish']>[1],
): Promise<void> {
  if (!agent) throw new Error(withoutAgent);
  try {
    for (;;) {
      const answer = await agent.finish(run.token, finish, finishWithinMs);
      if (answer.outcome === 'done' || committed()) return; // a commit needs nobody's word
      if (answer.outcome === 'fenced') throw new StaleRunError(run.token, answer.reason);
      if (run.signal.aborted) throw run.signal.reason;
      await clock.sleep(pauseMs, run.signal);
    }
  } finally {
    end();
  }
}

function readGrant(
  event: string,
  grant: Readonly<Record<string, unknown>>,
): { facts: RunFacts; leaseMs: number } {
  const { token, due, attempt, timeoutMs, remainingMs, payload = null, cause, place, idempotencyKey } = grant;
  const at = new Date(due as string | number);
  const whole = /^\d{1,19}$/.test(String(token));
  if (
    !whole ||
    Number.isNaN(at.getTime()) ||
    typeof timeoutMs !== 'number' ||
    typeof remainingMs !== 'number'
  ) {
    throw new HoldfastError('USAGE', `What the agent answered about ${event} cannot be understood.`, {
      remedy: 'Use the same version of Holdfast in the application and in its agent.',
    });
  }
  const where = typeof place === 'string' && place !== '' ? place : '-';
  const asked = cause === 'manual' ? '/manual' : '';
  return {
    facts: {
      event,
      due: at,
      attempt: Number(attempt ?? 1),
      token: BigInt(String(token)),
      cause: cause === 'manual' ? 'manual' : 'schedule',
      appointment: undefined,
      payload,
      idempotencyKey:
        typeof idempotencyKey === 'string' ? idempotencyKey : `${event}/${where}/${at.toISOString()}${asked}`,
      timeoutMs,
    },
    leaseMs: remainingMs,
  };
}
