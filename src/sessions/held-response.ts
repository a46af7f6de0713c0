/**
 * Holds a response back until something is done, so that nobody sees the answer before its session is saved: not
 * a redirect's headers, not a first byte. Calls made meanwhile are kept and made later, in order.
 *
 * express-session alone sends the headers and all but the last byte first, and saves then; a browser follows a
 * redirect as soon as it has the headers, and the next request may find the session as it was before.
 */
import type { ServerResponse } from 'node:http';

const heldMethods = ['writeHead', 'flushHeaders', 'write', 'end'] as const;
type HeldMethod = (typeof heldMethods)[number];
export type ResponseMethods = Record<HeldMethod, (...args: unknown[]) => unknown>;

/** The methods as they are now. */
export function responseMethods(response: ServerResponse): ResponseMethods {
  const target = response as unknown as ResponseMethods;
  return Object.fromEntries(heldMethods.map((name) => [name, target[name]])) as ResponseMethods;
}

/**
 * `prepare` runs before the first byte and once more before the end; undefined means that nothing needs waiting.
 * When it fails, what was held is forgotten, and the answer to the error goes out by the `plain` methods: who
 * patched the response in between would try to save the session again.
 */
export function holdResponse(
  response: ServerResponse,
  prepare: () => Promise<void> | undefined,
  onError: (error: unknown) => void,
  plain: ResponseMethods,
): void {
  const target = response as unknown as ResponseMethods;
  let below = responseMethods(response);
  let state: 'unsent' | 'holding' | 'sending' | 'over' = 'unsent';
  let held: { method: HeldMethod; args: unknown[] }[] = [];

  function hold(method: HeldMethod, args: unknown[]): unknown {
    held.push({ method, args });
    return method === 'write' ? false : response; // false: wait for 'drain'
  }

  function release(): void {
    state = held.some(({ method }) => method === 'end') ? 'over' : 'sending';
    showAsSent(response, false);
    const calls = held;
    held = [];
    let wantsDrain = false;
    for (const { method, args } of calls) {
      const result = below[method].apply(response, args);
      wantsDrain = method === 'write' && result === true;
    }
    if (wantsDrain) response.emit('drain');
  }

  function fail(error: unknown): void {
    state = 'over';
    held = [];
    below = plain;
    showAsSent(response, false);
    onError(error);
  }

  for (const method of heldMethods) {
    target[method] = (...args) => {
      if (state === 'holding') return hold(method, args);
      if (state === 'over' || (state === 'sending' && method !== 'end'))
        return below[method].apply(response, args);
      let waiting: Promise<void> | undefined;
      try {
        waiting = prepare();
      } catch (error) {
        waiting = Promise.reject(error);
      }
      if (!waiting) {
        state = method === 'end' ? 'over' : 'sending';
        return below[method].apply(response, args);
      }
      state = 'holding';
      showAsSent(response, true);
      waiting.then(release).catch(fail); // also when a held call throws, such as one with a bad header
      return hold(method, args);
    };
  }
}

/** An error handler must not take a response that is being held for one that it may still fill. */
function showAsSent(response: ServerResponse, sent: boolean): void {
  for (const property of ['headersSent', 'writableEnded'] as const) {
    if (sent) Object.defineProperty(response, property, { configurable: true, get: () => true });
    else delete (response as unknown as Record<string, unknown>)[property];
  }
}
