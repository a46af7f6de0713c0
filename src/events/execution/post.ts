/**
 * A run as a request to the own instance. Its connection is what tells the application that the run goes on: when
 * the agent aborts, the connection ends. What counts as the answer is decided here alone: 2xx succeeded, 409 means
 * that the application itself found the run fenced, anything else failed.
 *
 * A connection that has ended stops nobody at once. An application that renews the lease of its runs also says when
 * a handler has ended, and until then its run is not over: else the next attempt would work beside it (P1).
 *
 * A connection that breaks does not say why. If the instance's process is dead, or turns out to be within a moment,
 * the run is lost, and free for another instance at once (P5); else it has failed.
 */
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AppointmentChange } from '../appointments.ts';
import { excerptLimitBytes, excerptOf } from './excerpt.ts';
import type { Executor, Proof, RunOrder, WorkResult } from './execution.ts';
import { onInstanceDeath } from './instance-death.ts';
import { headersOf } from './order-facts.ts';

export interface PostOptions {
  readonly address: () => { readonly host: string; readonly port: number } | null;
  /** Resolves when the present process of the instance has ended; at once when there is none. */
  readonly instanceDied: () => Promise<void>;
  /** Proves to the application that its agent calls. */
  readonly secret: string;
  readonly path: string;
  readonly appointment?: AppointmentChange;
  readonly handlers: HandlerWatch;
  /** How long a handler that was told to stop is waited for. */
  readonly abortWaitMs?: number;
}

interface WatchedHandler {
  /** It has renewed its lease, so it works, and will say when it has ended. */
  readonly isAtWork: boolean;
  readonly ended: Promise<true>;
  /** It is given no more time. */
  stop(): void;
  close(): void;
}

/** What the application says of the handlers of its runs, each by the token of its run. */
export class HandlerWatch {
  readonly #open = new Map<string, { isAtWork: boolean; isStopping: boolean; end: () => void }>();

  open(order: RunOrder): WatchedHandler {
    const token = String(order.token);
    const ended = Promise.withResolvers<true>();
    const state = { isAtWork: false, isStopping: false, end: () => ended.resolve(true) };
    this.#open.set(token, state);
    return {
      get isAtWork() {
        return state.isAtWork;
      },
      ended: ended.promise,
      stop() {
        state.isStopping = true;
      },
      close: () => {
        if (this.#open.get(token) === state) this.#open.delete(token);
      },
    };
  }

  /** Whether it may go on, as far as is known here. */
  renewed(token: string): boolean {
    const state = this.#open.get(token);
    if (!state) return true; // no request of ours
    if (state.isStopping) return false;
    state.isAtWork = true;
    return true;
  }

  ended(token: string): void {
    this.#open.get(token)?.end();
  }
}

const defaultAbortWaitMs = 10_000;
/** How long after a broken connection a death may be seen. */
const deathWithinMs = 1_000;
/** What the instance sent before it died has arrived by then. */
const lastWordsMs = 100;

export function postExecutor(options: PostOptions): Executor {
  return (order, proof) => {
    const over = new AbortController();
    const settled = Promise.withResolvers<WorkResult>();
    let sent: ClientRequest | undefined;
    let aborted: string | undefined;
    let isStopping = false;
    // An appointment is no run: there is no lease to renew, and its token is of another kind.
    const handler = options.appointment ? undefined : options.handlers.open(order);
    const death = Promise.withResolvers<true>();
    const leave = onInstanceDeath(options.instanceDied, () => death.resolve(true));
    const end = (result: WorkResult): void => {
      settled.resolve(result);
      over.abort();
      leave();
      handler?.close();
      sent?.destroy();
    };
    /** Waits for that long, or until it no longer matters. */
    const pause = (ms: number) => delay(ms, undefined, { signal: over.signal }).catch(() => undefined);
    const diedWithin = (ms: number) => Promise.race([death.promise, pause(ms).then(() => false)]);
    const died = () => end(aborted === undefined ? lost('its instance died') : failed(aborted));
    /** Settles when the handler has ended; at once where nothing can be known of it. */
    const stop = async (why: string): Promise<void> => {
      if (isStopping) return;
      isStopping = true;
      handler?.stop();
      if (!handler?.isAtWork) return end(failed(why));
      // Half of it: an answer that is on its way says that the handler has ended.
      sent?.socket?.end();
      const limitMs = options.abortWaitMs ?? defaultAbortWaitMs;
      const hasEnded = await Promise.race([handler.ended, pause(limitMs).then(() => false)]);
      end(failed(hasEnded ? why : `${why}; its handler may still be working`));
    };
    const broken = async (why: string): Promise<void> => {
      if (isStopping) return;
      if (await diedWithin(deathWithinMs)) return died();
      await stop(why);
    };

    try {
      sent = send(options, order, proof);
      sent?.once('error', (error) => void broken(`the request failed: ${error.message}`));
      sent?.once('response', async (response) => {
        try {
          const body = await readBeginning(response);
          // Where nothing but the connection's end ends a body, a death looks like one.
          if (!isDelimited(response) && (await diedWithin(lastWordsMs))) return died();
          const answer = judge(response, body);
          if (aborted === undefined || answer.outcome === 'succeeded') return end(answer);
          end({ ...failed(aborted), result: answer.result });
        } catch (error) {
          await broken(`the answer broke off: ${(error as Error).message}`);
        }
      });
      if (!sent) end(lost('the instance has no address'));
    } catch (error) {
      end(failed(`the request cannot be sent: ${(error as Error).message}`));
    }
    void death.promise.then(() => pause(lastWordsMs)).then(died);
    return {
      finished: settled.promise,
      abort(why) {
        aborted ??= why;
        void stop(why);
      },
    };
  };
}

/** Undefined where there is nowhere to send it to. */
function send(options: PostOptions, order: RunOrder, proof: Proof): ClientRequest | undefined {
  const address = options.address();
  if (!address) return undefined;
  const sent = request({
    ...address,
    path: options.path.replace(/[^\x21-\x7e]+/g, encodeURIComponent),
    method: 'POST',
    agent: false, // a connection of its own: none that the instance may be closing just now
    headers: {
      ...headersOf(order, proof.remainingMs(), options.appointment),
      authorization: `Bearer ${options.secret}`,
      'content-type': 'application/json',
    },
  });
  sent.end(JSON.stringify(order.payload ?? null));
  return sent;
}

const lost = (reason: string): WorkResult => ({ outcome: 'lost', reason, result: null });
const failed = (reason: string): WorkResult => ({ outcome: 'failed', reason, result: null });

function judge({ statusCode: status = 0 }: IncomingMessage, body: string): WorkResult {
  const result = excerptOf(body);
  if (status >= 200 && status < 300) return { outcome: 'succeeded', reason: null, result };
  if (status === 409)
    return { outcome: 'failed', reason: 'fenced by the application', result, isFinal: true };
  const hint = status >= 300 && status < 400 ? '; redirects are not followed' : '';
  return { outcome: 'failed', reason: `the application answered ${status}${hint}`, result };
}

function isDelimited({ statusCode, headers }: IncomingMessage): boolean {
  const hasNoBody = statusCode === 204 || statusCode === 304;
  return hasNoBody || headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
}

/** The beginning of the body; what is beyond the limit is read and forgotten. */
async function readBeginning(response: IncomingMessage): Promise<string> {
  const kept: Buffer[] = [];
  let room = excerptLimitBytes;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (room > 0) kept.push(chunk.subarray(0, room));
    room = Math.max(0, room - chunk.length);
  }
  return new TextDecoder().decode(Buffer.concat(kept), { stream: room === 0 });
}
