/**
 * A run as a request to the own instance. Its connection is what tells the application that the run goes on: when
 * the agent aborts, the connection ends. What counts as the answer is decided here alone: 2xx succeeded, 409 means
 * that the application itself found the run fenced, anything else failed.
 *
 * A connection that breaks does not say why. If the instance's process is dead, or turns out to be within a moment,
 * the run is lost, and free for another instance at once (P5); else it has failed.
 */
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AppointmentChange } from '../appointments.ts';
import type { Executor, WorkResult } from './execution.ts';
import { headersOf } from './order-facts.ts';

export interface PostOptions {
  readonly address: () => { readonly host: string; readonly port: number } | null;
  /** Resolves when the present process of the instance has ended; at once when there is none. */
  readonly instanceDied: () => Promise<void>;
  /** Proves to the application that its agent calls. */
  readonly secret: string;
  readonly path: string;
  readonly appointment?: AppointmentChange;
}

const resultLimitBytes = 4_096;
/** How long after a broken connection a death may be seen. */
const deathWithinMs = 1_000;

export function postExecutor(options: PostOptions): Executor {
  return (order, proof) => {
    const address = options.address();
    const settled = Promise.withResolvers<WorkResult>();
    let sent: ClientRequest | undefined;
    let aborted: string | undefined;
    const end = (result: WorkResult): void => {
      settled.resolve(result);
      sent?.destroy();
    };
    if (!address) {
      end(lost('the instance has no address'));
    } else {
      const died = options.instanceDied();
      sent = request({
        ...address,
        path: options.path,
        method: 'POST',
        agent: false,
        headers: {
          ...headersOf(order, proof.remainingMs(), options.appointment),
          authorization: `Bearer ${options.secret}`,
          'content-type': 'application/json',
        },
      });
      sent.once('response', (response) => {
        void excerptOf(response).then(
          (body) => end(judge(response.statusCode ?? 0, body)),
          (error: Error) => void afterBreak(error).then(end),
        );
      });
      sent.once('error', (error) => void afterBreak(error).then(end));
      void died.then(() => end(lost('its instance died')));
      const afterBreak = async (error: Error): Promise<WorkResult> => {
        if (aborted !== undefined) return failed(aborted);
        const isDead = await Promise.race([died.then(() => true), delay(deathWithinMs, false)]);
        return isDead ? lost('its instance died') : failed(`the request failed: ${error.message}`);
      };
      sent.end(JSON.stringify(order.payload));
    }
    return {
      finished: settled.promise,
      abort(why) {
        aborted ??= why;
        end(failed(why));
      },
    };
  };
}

const lost = (reason: string): WorkResult => ({ outcome: 'lost', reason, result: null });
const failed = (reason: string): WorkResult => ({ outcome: 'failed', reason, result: null });

function judge(status: number, body: string): WorkResult {
  const result = body === '' ? null : body;
  if (status >= 200 && status < 300) return { outcome: 'succeeded', reason: null, result };
  if (status === 409) return { outcome: 'failed', reason: 'fenced by the application', result, isFinal: true };
  const hint = status >= 300 && status < 400 ? '; redirects are not followed' : '';
  return { outcome: 'failed', reason: `the application answered ${status}${hint}`, result };
}

/** The beginning of the body; what is beyond the limit is read and forgotten. */
async function excerptOf(response: IncomingMessage): Promise<string> {
  const kept: Buffer[] = [];
  let room = resultLimitBytes;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (room > 0) kept.push(chunk.subarray(0, room));
    room = Math.max(0, room - chunk.length);
  }
  // Streaming, the decoder keeps a character that the limit cut in two to itself.
  return new TextDecoder().decode(Buffer.concat(kept), { stream: true }).replaceAll('\0', '�');
}
